"""A speech encoder from transformers: wav2vec 2.0, HuBERT, WavLM and their kin."""

from __future__ import annotations

import copy
import hashlib
import inspect
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError, MissingExtra, UsageError

if TYPE_CHECKING:
    from edge_ser.models.tuned_top import TunedTop

__all__ = ["TransformersEncoder"]

RATE_HZ = 16_000
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin", "*.index.json")
_SHORTEST_S = 0.1


class TransformersEncoder:
    """Hidden states of a frozen transformers model, layer 0 being its convolutions' output.

    Args:
        name: a hub name or a local folder.
        layers: indices of the hidden states to give, default all.
        device: torch device of the model.

    Raises:
        MissingExtra: transformers or torch is not installed.
        InputError: nothing of that name, no weights, no speech encoder, another sample rate.
        UsageError: a layer that the model does not have.
    """

    rate_hz = RATE_HZ

    def __init__(
        self, name: str, *, layers: Sequence[int] | None = None, device: str = "cpu"
    ) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise MissingExtra(
                error.name or "transformers", "semantic", f"use the encoder {name!r}"
            ) from None
        self._torch, self._device = torch, device
        self.name = name
        folder = Path(name).expanduser()
        if folder.is_dir():
            _check_folder(folder)
        self.model: Any = _load(transformers, str(folder) if folder.is_dir() else name)
        config = self.model.config
        if not getattr(config, "conv_stride", None):
            raise InputError(
                f"encoder {name}: a {config.model_type} model takes no waveform; "
                "wav2vec2, hubert, wavlm and the like do"
            )
        self._standardise = _wants_unit_variance(folder, config, name)
        n_states = config.num_hidden_layers + 1
        self.layers = tuple(range(n_states) if layers is None else layers)
        for layer in self.layers:
            if not 0 <= layer < n_states:
                raise UsageError(f"encoder {name} has layers 0 to {n_states - 1}, not {layer}")
        self.model.eval().requires_grad_(False).to(device)
        self.width = int(config.hidden_size)
        self.frame_rate_hz = RATE_HZ / float(np.prod(config.conv_stride))
        self.identity = (
            f"transformers:{config.model_type}:{_weights_hash(self.model)}:{list(self.layers)}:"
            f"{self._standardise}"
        )

    @property
    def n_layers(self) -> int:
        """Layers whose states are given."""
        return len(self.layers)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float16]:
        """States ``(layers, frames, width) float16`` of ``(n,) float32`` samples."""
        short = round(_SHORTEST_S * RATE_HZ) - len(samples)
        wave = np.pad(samples, (0, max(0, short))).astype(np.float32)
        if self._standardise:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        torch = self._torch
        with torch.inference_mode():
            values = torch.from_numpy(wave)[None].to(self._device)
            states = self.model(values, output_hidden_states=True).hidden_states
            chosen = torch.cat([states[layer] for layer in self.layers])
        return np.asarray(chosen.float().cpu().numpy(), np.float16)

    def top(self, n: int) -> TunedTop:
        """A copy of its last ``n`` blocks that can be trained.

        Raises:
            UsageError: it has fewer, its last layers are not all taken, or its blocks cannot
                stand alone.
        """
        blocks = self.model.encoder.layers
        wanted = range(len(blocks) - n, len(blocks) + 1)
        if n > len(blocks) or self.layers[-len(wanted) :] != tuple(wanted):
            raise UsageError(
                f"encoder {self.name}: of its {len(blocks)} blocks the last {n} can only be "
                f"trained where layers {max(0, wanted[0])} to {len(blocks)} are taken; see --layers"
            )
        if "position_bias" in inspect.signature(blocks[0].forward).parameters:
            raise UsageError(
                f"encoder {self.name}: the blocks of a {self.model.config.model_type} model share "
                "their positions, so its last ones cannot be trained alone; wav2vec2 or hubert can"
            )
        from edge_ser.models.tuned_top import TunedTop

        norm = copy.deepcopy(self.model.encoder.layer_norm) if self._ends_with_norm() else None
        top = TunedTop(copy.deepcopy(blocks[len(blocks) - n :]), norm)
        return top.requires_grad_(True)

    def _ends_with_norm(self) -> bool:
        """Whether the state of the last layer is what a layer norm made of the last block's.

        Up to transformers 4 it is, of the models that have such a norm.
        """
        if not getattr(self.model.config, "do_stable_layer_norm", False):
            return False
        with self._torch.inference_mode():
            tone = self._torch.sin(self._torch.arange(RATE_HZ, device=self._device) / 7.0)
            heard = self.model(tone[None], output_hidden_states=True)
        return bool(self._torch.equal(heard.hidden_states[-1], heard.last_hidden_state))


def _load(transformers: Any, name: str) -> Any:
    """The model with all of its weights.

    Raises:
        InputError: it cannot be loaded, or the file lacks weights, which transformers would
            fill with chance.
    """
    logs = transformers.utils.logging
    level = logs.get_verbosity()
    logs.set_verbosity_error()  # what it would warn of is told here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, found = transformers.AutoModel.from_pretrained(name, output_loading_info=True)
    except Exception as error:  # what the readers of weights raise has no common type
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = said if isinstance(error, OSError) else f"{type(error).__name__}: {said}"
        raise InputError(
            f"encoder {name}: cannot be loaded ({reason}); give a folder with config.json "
            "and weights, or a hub name that can be reached"
        ) from error
    finally:
        logs.set_verbosity(level)
    # A frozen encoder is never masked, so what it would put in place of a mask may be missing;
    # the parametrised position weights have other names in older files, which are understood.
    harmless = ("masked_spec_embed", ".parametrizations.")
    lacking = sorted(
        key for key in found["missing_keys"] if not any(word in key for word in harmless)
    )
    if lacking:
        raise InputError(
            f"encoder {name}: its file lacks {len(lacking)} of the model's weights (first: "
            f"{lacking[0]}); it belongs to another config.json, or to another model"
        )
    return model


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").exists():
        raise InputError(f"encoder {folder}: has no config.json, so it is no transformers model")
    if not any(True for pattern in _WEIGHT_FILES for _ in folder.glob(pattern)):
        raise InputError(
            f"encoder {folder}: holds no weights (model.safetensors or pytorch_model.bin); "
            "copy the whole model folder"
        )


def _wants_unit_variance(folder: Path, config: Any, name: str) -> bool:
    """Whether samples are standardised, and that the sample rate is ours."""
    import json

    path = folder / "preprocessor_config.json"
    if path.exists():
        try:
            settings = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    elif folder.is_dir():
        settings = {}
    else:
        import transformers

        extractor: Any = transformers.AutoFeatureExtractor
        try:
            settings = extractor.from_pretrained(name).to_dict()
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"encoder {name}: its preprocessor_config.json cannot be loaded ({reason}); give a "
                "local folder of the model"
            ) from error
    if not isinstance(settings, dict):
        raise InputError(f"{path}: holds no settings by name")
    rate = settings.get("sampling_rate", getattr(config, "sampling_rate", RATE_HZ))
    if rate != RATE_HZ:
        raise InputError(
            f"encoder {name}: was trained at {rate} Hz; only encoders at {RATE_HZ} Hz can be "
            "used, take another one"
        )
    # The models with layer norm in their convolutions were all trained on unit variance.
    return bool(settings.get("do_normalize", config.feat_extract_norm == "layer"))


def _weights_hash(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
