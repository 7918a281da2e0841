"""NVTX ranges around the stages, for Nsight Systems; nothing happens without the package.

Hooks are told of a stage when it is over, too late to open a range; so the engine and the
front end of a recognizer are wrapped instead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.runtime.backends import Engine, EngineStream
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["with_nvtx_ranges"]

DOMAIN = "ser"


def with_nvtx_ranges(recognizer: Recognizer) -> Recognizer:
    """The same recognizer, whose new streams put every stage into a range.

    Domain ``ser``, categories ``stage/frontend`` and ``stage/infer``, payload the number of
    the step. Without the nvtx package the streams do the same without ranges.
    """
    push, pop = _ranges()
    wrapped = copy.copy(recognizer)
    wrapped.engine = _Engine(recognizer.engine, push, pop)
    wrapped._front_end = _FrontEnd(recognizer._front_end, push, pop)  # type: ignore[assignment]
    return wrapped


Push = Callable[[str, int], None]
Pop = Callable[[], None]


class _Engine:
    def __init__(self, engine: Engine, push: Push, pop: Pop) -> None:
        self._engine, self._push, self._pop = engine, push, pop
        self.backend, self.precision = engine.backend, engine.precision

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(self) -> EngineStream:
        return _EngineStream(self._engine.stream(), self._push, self._pop)


class _EngineStream:
    def __init__(self, stream: EngineStream, push: Push, pop: Pop) -> None:
        self._stream, self._push, self._pop, self._step = stream, push, pop, 0
        self.mel = stream.mel

    def step(self) -> NDArray[np.float32]:
        self._push("infer", self._step)
        try:
            return self._stream.step()
        finally:
            self._pop()
            self._step += 1

    def reset(self) -> None:
        self._stream.reset()


class _FrontEnd:
    def __init__(self, front_end: Any, push: Push, pop: Pop) -> None:
        self._front_end, self._push, self._pop = front_end, push, pop

    def stream(self, full_scale: float) -> _FrontEndStream:
        return _FrontEndStream(self._front_end.stream(full_scale), self._push, self._pop)


class _FrontEndStream:
    def __init__(self, stream: Any, push: Push, pop: Pop) -> None:
        self._stream, self._push, self._pop, self._step = stream, push, pop, 0
        self.samples = stream.samples

    def advance(self, out: NDArray[np.float32]) -> None:
        self._push("frontend", self._step)
        try:
            self._stream.advance(out)
        finally:
            self._pop()
            self._step += 1

    def reset(self) -> None:
        self._stream.reset()


def _ranges() -> tuple[Push, Pop]:
    def nothing(*_: object) -> None:
        return

    try:
        import nvtx
    except ImportError:
        return nothing, nothing
    domain = nvtx.get_domain(DOMAIN)
    # Attributes are made once: making them costs more than the range.
    attributes = {
        stage: domain.get_event_attributes(
            message=stage, category=f"stage/{stage}", color=color, payload=0
        )
        for stage, color in (("frontend", "green"), ("infer", "blue"))
    }
    if None in attributes.values():  # no tool is listening
        return nothing, nothing

    def push(stage: str, step: int) -> None:
        event = attributes[stage]
        event.payload = step
        domain.push_range(event)

    return push, domain.pop_range
