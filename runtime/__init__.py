"""Stream audio through a model pack and get emotions, with the time of every step.

Needs numpy and one engine library; never torch, transformers, onnx or the converters. Each name
is imported when it is first asked for, so that a program pays for what it uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_ser.events import Event, Latency
    from edge_ser.runtime.recognizer import Recognizer
    from edge_ser.runtime.stream import Stream
    from edge_ser.runtime.timing import Hook, StageTiming, StepTiming
else:
    _HOMES = {
        "Event": "edge_ser.events",
        "Hook": "edge_ser.runtime.timing",
        "Latency": "edge_ser.events",
        "Recognizer": "edge_ser.runtime.recognizer",
        "StageTiming": "edge_ser.runtime.timing",
        "StepTiming": "edge_ser.runtime.timing",
        "Stream": "edge_ser.runtime.stream",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = ["Event", "Hook", "Latency", "Recognizer", "StageTiming", "StepTiming", "Stream"]
