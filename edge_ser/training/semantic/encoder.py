"""The one small interface of every speech encoder, and the way to name one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError, MissingExtra, UsageError

if TYPE_CHECKING:
    from edge_ser.models.tuned_top import TunedTop

__all__ = ["SemanticEncoder", "moonshine_file", "open_encoder", "unfrozen_top"]


class SemanticEncoder(Protocol):
    """A frozen speech encoder; also an ``edge_ser.training.extract.Extractor``."""

    @property
    def identity(self) -> str:
        """Name, hash of the weights and layers: what the states depend on."""

    @property
    def rate_hz(self) -> int:
        """Sample rate it was trained at."""

    @property
    def frame_rate_hz(self) -> float:
        """States per second."""

    @property
    def n_layers(self) -> int:
        """Layers whose states are given."""

    @property
    def width(self) -> int:
        """Values of one state."""

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float16]:
        """States ``(layers, frames, width) float16`` of ``(n,) float32`` samples."""


def open_encoder(name: str, layers: Sequence[int] | None = None) -> SemanticEncoder:
    """The encoder that ``name`` means.

    Args:
        name: ``moonshine`` (tiny English, from the package moonshine-voice), a ``.ort`` or
            ``.onnx`` file, or a transformers model by hub name or local folder.
        layers: indices of the hidden states to give, 0 before the first block; default all.

    Raises:
        InputError: the file or folder is missing, or is no speech encoder at 16 kHz.
        UsageError: a layer that the encoder does not have.
        MissingExtra: the package that runs it is not installed.
    """
    from edge_ser.training.semantic.ort import OrtEncoder
    from edge_ser.training.semantic.transformers import TransformersEncoder

    if not name:
        raise UsageError("the encoder needs a name: moonshine, a file, a folder or a hub name")
    encoder: SemanticEncoder
    if name == "moonshine":
        encoder = OrtEncoder(moonshine_file(), layers=layers)
    elif Path(name).suffix in (".ort", ".onnx"):
        encoder = OrtEncoder(Path(name), layers=layers)
    else:
        encoder = TransformersEncoder(name, layers=layers)
    noise = 0.05 * np.random.default_rng(0).standard_normal(encoder.rate_hz // 2)
    if not np.isfinite(encoder(noise.astype(np.float32))).all():
        raise InputError(
            f"encoder {name}: its states of plain noise are no finite numbers, or too large for "
            "16 bits; its weights are damaged or of no use here"
        )
    return encoder


def unfrozen_top(name: str, n: int, layers: Sequence[int] | None) -> TunedTop:
    """The last ``n`` blocks of the encoder ``name``, to be trained.

    Raises:
        UsageError: it is no transformers model, or cannot be cut there.
        InputError, MissingExtra: as :func:`open_encoder`.
    """
    from edge_ser.training.semantic.transformers import TransformersEncoder

    encoder = open_encoder(name, layers)
    if not isinstance(encoder, TransformersEncoder):
        raise UsageError(f"encoder {name}: only a transformers model has blocks to unfreeze")
    return encoder.top(n)


def moonshine_file() -> Path:
    """Moonshine tiny English's encoder (MIT) in the installed package ``moonshine-voice``.

    Raises:
        MissingExtra: the package is not installed.
        InputError: the package is another version without this file.
    """
    import importlib.util

    found = importlib.util.find_spec("moonshine_voice")
    if found is None or found.origin is None:
        raise MissingExtra("moonshine-voice", "semantic", "use the encoder 'moonshine'")
    path = Path(found.origin).parent / "assets" / "tiny-en" / "encoder_model.ort"
    if not path.exists():
        raise InputError(f"moonshine-voice has no {path.name} at {path}; install 0.0.49 of it")
    return path
