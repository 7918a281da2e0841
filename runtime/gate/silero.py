"""Silero's speech detector on ONNX Runtime, which is there anyway."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edge_ser
from edge_ser.errors import BackendError
from edge_ser.runtime.backends.ort_group import bind, runs

__all__ = ["SileroDetector"]

_MODEL = Path(edge_ser.__file__).parent / "vad" / "silero_vad_16k.onnx"
_CONTEXT = 64  # samples of the previous window that the model sees again
_sessions: list[Any] = []
_loading = threading.Lock()


class SileroDetector:
    """Probability of speech, one window of 32 ms after the other.

    Silero VAD 6 (Silero Team, MIT, https://github.com/snakers4/silero-vad), the 16 kHz file
    with opset 15. One session serves all detectors of the process; the recurrent state is
    each detector's own.

    Raises:
        BackendError: onnxruntime is missing, or the file is missing or broken.
    """

    rate_hz = 16000
    window = 512

    def __init__(self) -> None:
        self._session = _session()
        self._heard: NDArray[np.float32] = np.zeros((1, _CONTEXT + self.window), np.float32)
        self._states = [np.zeros((2, 1, 128), np.float32) for _ in range(2)]
        self._p: NDArray[np.float32] = np.zeros((1, 1), np.float32)
        self._rate = np.array(self.rate_hz, np.int64)
        self._runs = runs(self._session, [self._bind(turn) for turn in range(2)])
        self._turn = 0

    def _bind(self, turn: int) -> Any:
        """Two bindings take turns, so that the new state is the next window's old in place."""
        binding = self._session.io_binding()
        for name, array in (
            ("input", self._heard),
            ("state", self._states[turn]),
            ("sr", self._rate),
        ):
            bind(binding.bind_input, name, array)
        for name, array in (("output", self._p), ("stateN", self._states[1 - turn])):
            bind(binding.bind_output, name, array)
        return binding

    def probability(self, window: NDArray[np.float32]) -> float:
        """Probability that ``window`` ``(512,) float32`` in -1..1 holds speech."""
        self.skip(window)
        self._runs[self._turn]()
        self._turn ^= 1
        return float(self._p[0, 0])

    def skip(self, window: NDArray[np.float32]) -> None:
        """Let ``window`` pass unheard; only its end is kept, as context of the next."""
        heard = self._heard[0]
        heard[:_CONTEXT] = heard[-_CONTEXT:]
        heard[_CONTEXT:] = window

    def reset(self) -> None:
        """Forget the stream."""
        self._heard.fill(0.0)
        for state in self._states:
            state.fill(0.0)


def _session() -> Any:
    with _loading:
        if not _sessions:
            _sessions.append(_load())
        return _sessions[0]


def _load() -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BackendError(
            f"the speech gate runs on onnxruntime, which cannot be imported ({error}); "
            "install it with: pip install onnxruntime"
        ) from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(_MODEL), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class
        raise BackendError(
            f"the speech gate's model cannot be loaded ({error}); install edge-ser again"
        ) from error
