"""A speech encoder from an ONNX or ORT file, with the states of its middle layers too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError, UsageError
from edge_ser.training.semantic.inner_states import with_inner_states

__all__ = ["OrtEncoder"]

_SHORTEST_S = 0.1  # shorter clips are padded with silence: the convolutions need a frame
_PROBE_S = 4


class OrtEncoder:
    """Runs a waveform encoder such as Moonshine's (Jeffries et al. 2024) with onnxruntime.

    The model takes ``(batch, n) float32`` samples and, if it has a second input, an
    ``attention_mask (batch, n) int64``; its output is ``(batch, frames, width)``. The states
    that enter each transformer block are given beside it: they are found by their layer
    norms and added to the model's outputs in memory, the file stays as it is.

    Args:
        path: the ``.ort`` or ``.onnx`` file.
        layers: indices of the states to give: 0 enters the first block, the last one is the
            model's own output. Default all.
        rate_hz: sample rate that the encoder was trained at.
        threads: threads of one call.

    Raises:
        InputError: the file is missing, no model, or takes something else than a waveform.
        UsageError: a layer that the model does not have.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        layers: Sequence[int] | None = None,
        rate_hz: int = 16_000,
        threads: int = 1,
    ) -> None:
        import onnxruntime

        self.path, self.rate_hz = Path(path), rate_hz
        if not self.path.is_file():
            raise InputError(f"encoder {self.path}: no such file")
        content = self.path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            model, inner = with_inner_states(content, self.path.suffix)
            self._session: Any = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except InputError:
            raise
        except Exception as error:  # onnxruntime raises its own types, all plain Exceptions
            reason = str(error).splitlines()[0]
            raise InputError(f"encoder {self.path}: not a model ({reason})") from error
        inputs = self._session.get_inputs()
        if len(inputs) > 2 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 2:
            shown = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise InputError(
                f"encoder {self.path}: takes {shown}; a waveform (batch, samples) and at most "
                "an attention mask are wanted"
            )
        self._inputs = [entry.name for entry in inputs]
        states = [*inner, self._session.get_outputs()[0].name]
        self.layers = tuple(range(len(states)) if layers is None else layers)
        for layer in self.layers:
            if not 0 <= layer < len(states):
                raise UsageError(
                    f"encoder {self.path.name} has layers 0 to {len(states) - 1}, not {layer}"
                )
        self._outputs = [states[layer] for layer in self.layers]
        digest = hashlib.sha256(content).hexdigest()
        self.identity = f"ort:{self.path.name}:{digest}:{list(self.layers)}:{rate_hz}"
        probe, longer = self._probe(_PROBE_S), self._probe(2 * _PROBE_S)
        self.width = probe[2]
        self.frame_rate_hz = (longer[1] - probe[1]) / _PROBE_S
        if self.frame_rate_hz <= 0:
            raise InputError(
                f"encoder {self.path}: gives {longer[1]} frames of {2 * _PROBE_S} s and {probe[1]} "
                f"of {_PROBE_S} s; an encoder with states over time is wanted"
            )

    def _probe(self, seconds: int) -> tuple[int, ...]:
        """Shape of the states of ``seconds`` of silence."""
        try:
            shape = self(np.zeros(seconds * self.rate_hz, np.float32)).shape
        except Exception as error:  # as above
            reason = str(error).splitlines()[0]
            raise InputError(
                f"encoder {self.path}: does not run on a waveform of {seconds} s ({reason})"
            ) from error
        if len(shape) != 3 or shape[0] != len(self.layers):
            raise InputError(
                f"encoder {self.path}: gives an array of shape {shape}; states (batch, frames, "
                "width) are wanted"
            )
        return shape

    @property
    def n_layers(self) -> int:
        """Layers whose states are given."""
        return len(self.layers)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float16]:
        """States ``(layers, frames, width) float16`` of ``(n,) float32`` samples."""
        short = round(_SHORTEST_S * self.rate_hz) - len(samples)
        wave = np.pad(samples, (0, max(0, short)))[None].astype(np.float32)
        feeds: dict[str, NDArray[Any]] = {self._inputs[0]: wave}
        if len(self._inputs) == 2:
            feeds[self._inputs[1]] = np.ones(wave.shape, np.int64)
        states = self._session.run(self._outputs, feeds)
        return np.concatenate(states).astype(np.float16)
