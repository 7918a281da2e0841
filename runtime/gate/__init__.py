"""The speech gate: is somebody speaking?

A level gate that costs next to nothing keeps Silero's detector asleep while the room is quiet;
the detector keeps the model asleep while nobody speaks.
"""

from __future__ import annotations

from edge_ser.runtime.gate.level import LevelGate, LevelSettings
from edge_ser.runtime.gate.silero import SileroDetector
from edge_ser.runtime.gate.speech import Gate, SpeechGate

__all__ = ["Gate", "LevelGate", "LevelSettings", "SileroDetector", "SpeechGate"]
