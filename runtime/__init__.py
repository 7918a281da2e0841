"""Stream audio through a model pack and get emotions, with the time of every step.

Needs numpy and one engine library; never torch, transformers, onnx or the converters.
"""

from __future__ import annotations

from edge_ser.events import Event, Latency
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.stream import Stream
from edge_ser.runtime.timing import Hook, StageTiming, StepTiming

__all__ = ["Event", "Hook", "Latency", "Recognizer", "StageTiming", "StepTiming", "Stream"]
