"""The causal log-mel front end: one implementation for training, calibration and live audio."""

from __future__ import annotations

from edge_ser.frontend.logmel import LogMel, StreamingLogMel
from edge_ser.frontend.spec import LogMelSpec, mel_filterbank

__all__ = ["LogMel", "LogMelSpec", "StreamingLogMel", "mel_filterbank"]
