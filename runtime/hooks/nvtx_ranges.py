"""NVTX ranges around front end and model, for Nsight Systems; without the package none.

Hooks are told of a stage when it is over, too late to open a range; so the engine and the
front end of a recognizer are wrapped instead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.runtime.backends import Engine, EngineGroup, EngineStream
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["with_nvtx_ranges"]

DOMAIN = "ser"


def with_nvtx_ranges(recognizer: Recognizer) -> Recognizer:
    """The same recognizer, whose new streams and groups put front end and model into ranges.

    Domain ``ser``, categories ``stage/frontend`` and ``stage/infer``, payload the number of
    the step, for a group that of the call that steps its streams together. The other stages
    have no range. Without the nvtx package, or with no tool listening, the streams do the same
    without ranges.
    """
    wrapped = copy.copy(recognizer)
    wrapped.engine = _Engine(recognizer.engine)
    wrapped._front_end = _FrontEnd(recognizer._front_end)  # type: ignore[assignment]
    return wrapped


Push = Callable[[str, int], None]
Pop = Callable[[], None]


class _Ranges:
    """Ranges of one stage of one stream or group, numbered by its steps.

    Each has its own attributes: streams step in threads of their own, and what is shared would
    carry the number of whoever wrote it last.
    """

    def __init__(self, stage: str) -> None:
        self._stage, self._step = stage, 0
        self._push, self._pop = _ranges()

    def __enter__(self) -> None:
        self._push(self._stage, self._step)

    def __exit__(self, *_: object) -> None:
        self._pop()
        self._step += 1


class _Engine:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.backend, self.precision = engine.backend, engine.precision

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(self) -> EngineStream:
        return _EngineStream(self._engine.stream())

    def group(self, n_streams: int) -> EngineGroup:
        return _EngineGroup(self._engine.group(n_streams))


class _EngineStream:
    def __init__(self, stream: EngineStream) -> None:
        self._stream, self._range = stream, _Ranges("infer")
        self.mel, self.reset = stream.mel, stream.reset

    def step(self) -> NDArray[np.float32]:
        with self._range:
            return self._stream.step()


class _EngineGroup:
    def __init__(self, group: EngineGroup) -> None:
        self._group, self._range = group, _Ranges("infer")
        self.mel, self.at_once, self.reset = group.mel, group.at_once, group.reset

    def step(self, resting: Sequence[int] = ()) -> NDArray[np.float32]:
        with self._range:
            return self._group.step(resting)


class _FrontEnd:
    def __init__(self, front_end: Any) -> None:
        self._front_end = front_end

    def stream(self, full_scale: float) -> _Advancing:
        return _Advancing(self._front_end.stream(full_scale))

    def group(self, n_streams: int, full_scale: float) -> _Advancing:
        return _Advancing(self._front_end.group(n_streams, full_scale))


class _Advancing:
    """Of one stream or of a group."""

    def __init__(self, frames: Any) -> None:
        self._frames, self._range = frames, _Ranges("frontend")
        self.samples, self.reset = frames.samples, frames.reset

    def advance(self, *arguments: Any) -> None:
        with self._range:
            self._frames.advance(*arguments)


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
