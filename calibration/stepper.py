"""Run a step model over audio as the runtime does, and look inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edge_ser.errors import InputError
from edge_ser.pack import StateSpec

__all__ = ["FloatStepper"]


class FloatStepper:
    """A step model whose inner activations can be read, with the state it really has.

    It is computed as it is written: ONNX Runtime puts no integer kernels in the place of Q/DQ
    pairs (their sums overflow on x86 without VNNI, a GPU's do not) and rounds no weights of
    layers that were left in float.

    Args:
        model: inputs ``mel`` and the states, outputs ``logits`` and the states' successors.
        states: the state contract.
        watch: names of inner float tensors to return as well.

    Raises:
        InputError: ONNX Runtime refuses the model, for an operator that it does not have, say.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        states: Sequence[StateSpec],
        watch: Sequence[str] = (),
    ) -> None:
        if watch:
            model = onnx.ModelProto.FromString(model.SerializeToString())
            model.graph.output.extend(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                for name in watch
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base class; it names node and operator
            raise InputError(
                f"onnxruntime {ort.__version__} does not take the model: {error}"
            ) from error
        self._states = tuple(states)
        self._watch = tuple(watch)

    def run(
        self, mel: NDArray[np.float32], step_frames: int
    ) -> Iterator[tuple[NDArray[np.float32], dict[str, NDArray[Any]]]]:
        """Step over a clip with fresh state.

        Args:
            mel: ``(n_mels, frames) float32``, frames a multiple of ``step_frames``.

        Yields:
            Per step the logits ``(labels,)`` and the watched activations.
        """
        for _, logits, inside in self.fed(mel, step_frames):
            yield logits, inside

    def fed(
        self, mel: NDArray[np.float32], step_frames: int
    ) -> Iterator[tuple[dict[str, NDArray[Any]], NDArray[np.float32], dict[str, NDArray[Any]]]]:
        """As :meth:`run`, with all inputs of the step in front; copy what is to be kept."""
        feed: dict[str, NDArray[Any]] = {spec.input: spec.initial() for spec in self._states}
        names = ["logits", *(spec.output for spec in self._states), *self._watch]
        for start in range(0, mel.shape[1], step_frames):
            feed["mel"] = np.ascontiguousarray(mel[None, :, start : start + step_frames])
            logits, *rest = self._session.run(names, feed)
            inside = dict(zip(self._watch, rest[len(self._states) :], strict=True))
            yield feed, logits[0], inside
            for spec, value in zip(self._states, rest, strict=False):
                feed[spec.input] = np.ascontiguousarray(spec.newest(value))

    def logits(self, mel: NDArray[np.float32], step_frames: int) -> NDArray[np.float32]:
        """Logits of every step, ``(steps, labels) float32``."""
        return np.stack([logits for logits, _ in self.run(mel, step_frames)])
