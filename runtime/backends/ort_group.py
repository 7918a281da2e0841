"""Several streams in one call of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_ser.errors import BackendError
from edge_ser.pack import StateSpec, Target

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["OrtGroup", "bind", "runs"]


class OrtGroup:
    """Streams side by side along the open axis of a model.

    Args:
        session: of a model whose inputs leave the number of streams open.
    """

    at_once = True

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        target: Target,
        n_streams: int,
        mel_shape: tuple[int, ...],
        n_labels: int,
    ) -> None:
        self.mel: NDArray[np.float32] = np.zeros((n_streams, *mel_shape[1:]), np.float32)
        self._logits: NDArray[np.float32] = np.zeros((n_streams, n_labels), np.float32)
        axes = {item.name: item.shape for item in session.get_inputs()}
        self._states = [_State(spec, axes[spec.input], n_streams) for spec in target.states]
        self._runs = runs(session, [self._bind(session, old) for old in range(2)])
        self._turn = 0
        for index in range(n_streams):
            self.reset(index)

    def _bind(self, session: onnxruntime.InferenceSession, old: int) -> Any:
        binding = session.io_binding()
        bind(binding.bind_input, "mel", self.mel)
        bind(binding.bind_output, "logits", self._logits)
        for state in self._states:
            bind(binding.bind_input, state.spec.input, state.before[old])
            bind(binding.bind_output, state.spec.output, state.outputs[1 - old])
        return binding

    def step(self, resting: Sequence[int] = ()) -> NDArray[np.float32]:
        """Run one step of every stream but those in ``resting``, which stay as they are."""
        old = self._turn
        self._runs[old]()
        self._turn = new = 1 - old
        for state in self._states:
            state.settle(old, new, resting)
        return self._logits

    def reset(self, index: int) -> None:
        """Put the initial state of one stream back."""
        for state in self._states:
            state.row(self._turn, index)[...] = state.spec.initial()


class _State:
    """A state of all streams, twice: bindings take turns as in a single stream.

    Where the newest part of an output lies in one piece it is the next input in place;
    elsewhere it is copied.
    """

    def __init__(self, spec: StateSpec, axes: Sequence[int | str], n_streams: int) -> None:
        self.spec = spec
        self._axis = next((i for i, size in enumerate(axes) if isinstance(size, str)), -1)
        if self._axis < 0:
            raise BackendError(
                f"state {spec.input!r} has room for one stream only; convert the pack again"
            )
        shape = list(spec.output_shape)
        shape[self._axis] *= n_streams
        self.outputs = [np.zeros(shape, spec.dtype) for _ in range(2)]
        parts = [spec.newest(output) for output in self.outputs]
        self._in_place = parts[0].flags.c_contiguous
        self.before = parts if self._in_place else [part.copy() for part in parts]

    def row(self, turn: int, index: int) -> NDArray[Any]:
        """State of one stream, a view."""
        return self.before[turn][(slice(None),) * self._axis + (slice(index, index + 1),)]

    def settle(self, old: int, new: int, resting: Sequence[int]) -> None:
        """Make what the step returned the next input, but for streams that took no step."""
        if not self._in_place:
            np.copyto(self.before[new], self.spec.newest(self.outputs[new]))
        for index in resting:
            self.row(new, index)[...] = self.row(old, index)


def bind(method: Any, name: str, array: NDArray[Any]) -> None:
    """Bind ``array``, where it lies, with a method of an ``IOBinding``."""
    method(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def runs(session: Any, bindings: Sequence[Any]) -> list[Callable[[], Any]]:
    """What runs each of ``bindings``.

    The public method makes run options anew in every call and asks about graph captures that a
    CPU never makes, 12 of the 226 us of a step here. So the method under it is called with
    options that stay, where this onnxruntime has it.
    """
    import onnxruntime

    run = getattr(getattr(session, "_sess", None), "run_with_iobinding", None)
    inside = [getattr(binding, "_iobinding", None) for binding in bindings]
    if run is None or None in inside:
        return [partial(session.run_with_iobinding, binding) for binding in bindings]
    options = onnxruntime.RunOptions()
    return [partial(run, binding, options) for binding in inside]
