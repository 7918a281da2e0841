"""ONNX Runtime on the CPU, with bound buffers that never move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import BackendError
from edge_ser.pack import Pack, Target
from edge_ser.runtime.backends.base import EngineStream, initial_state

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OrtEngine"]


class OrtEngine:
    """A model in ONNX Runtime.

    Raises:
        BackendError: onnxruntime is missing or refuses the model.
    """

    backend = "onnxruntime"

    def __init__(
        self, pack: Pack, target: Target, threads: int, node_profile: Path | None = None
    ) -> None:
        content = pack.read(target.file)
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise BackendError(
                f"onnxruntime cannot be imported ({error}); pip install onnxruntime"
            ) from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # Idle threads must sleep between steps: a board has other work to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if node_profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(node_profile)
        self._profiled = node_profile is not None
        # The profile counts from a wall clock; ours is perf_counter.
        self._wall_ahead_ns = time.time_ns() - time.perf_counter_ns()
        try:
            self._session: Any = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base class
            raise BackendError(
                f"onnxruntime {ort.__version__} cannot load {target.file} of pack "
                f"{pack.manifest.name}: {error}"
            ) from error
        self.precision = target.precision
        self._target = target
        spec = pack.manifest.frontend
        self._mel_shape = (1, spec.n_mels, spec.step_frames)
        self._n_labels = len(pack.manifest.labels)
        self._check_contract(pack)

    def stream(self) -> EngineStream:
        """Buffers and state of a new stream."""
        return _OrtStream(self._session, self._target, self._mel_shape, self._n_labels)

    def node_events(self) -> Iterator[dict[str, Any]]:
        """What every node took, as trace events; profiling ends with it.

        Empty unless the engine was loaded with ``node_profile``.
        """
        if not self._profiled:
            return
        self._profiled = False
        from edge_ser.runtime.hooks.node_profile import node_events

        start_ns = self._session.get_profiling_start_time_ns() - self._wall_ahead_ns
        profile = Path(self._session.end_profiling())
        try:
            text = profile.read_text()
        finally:
            profile.unlink(missing_ok=True)
        yield from node_events(text, start_ns)

    def _check_contract(self, pack: Pack) -> None:
        """The model must be what the manifest says before anything is bound to it."""
        names = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int8": "tensor(int8)"}
        states = self._target.states
        inputs = {"mel": (list(self._mel_shape), "float32")}
        inputs |= {state.input: (list(state.shape), state.dtype) for state in states}
        outputs = {"logits": ([1, self._n_labels], "float32")}
        outputs |= {state.output: (list(state.shape), state.dtype) for state in states}
        for role, said, found in (
            ("input", inputs, self._session.get_inputs()),
            ("output", outputs, self._session.get_outputs()),
        ):
            real = {item.name: (item.shape, item.type) for item in found}
            promised = {name: (shape, names[dtype]) for name, (shape, dtype) in said.items()}
            if real != promised:
                wrong = sorted(
                    name
                    for name in real.keys() | promised.keys()
                    if real.get(name) != promised.get(name)
                )[0]
                raise BackendError(
                    f"{self._target.file} of pack {pack.manifest.name} is not what the pack says: "
                    f"{role} {wrong!r} is {real.get(wrong)}, should be {promised.get(wrong)}"
                )


class _OrtStream:
    """Two bindings take turns, so that a step's new state is the next one's old in place."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        target: Target,
        mel_shape: tuple[int, ...],
        n_labels: int,
    ) -> None:
        self.mel: NDArray[np.float32] = np.zeros(mel_shape, np.float32)
        self._logits: NDArray[np.float32] = np.zeros((1, n_labels), np.float32)
        self._specs = target.states
        self._states = [[initial_state(spec) for spec in target.states] for _ in range(2)]
        self._bindings = [self._bind(session, old, 1 - old) for old in range(2)]
        self._turn = 0
        self._run = session.run_with_iobinding

    def _bind(self, session: onnxruntime.InferenceSession, old: int, new: int) -> Any:
        binding = session.io_binding()

        def bind(method: Any, name: str, array: NDArray[Any]) -> None:
            method(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

        bind(binding.bind_input, "mel", self.mel)
        bind(binding.bind_output, "logits", self._logits)
        for spec, source, destination in zip(
            self._specs, self._states[old], self._states[new], strict=True
        ):
            bind(binding.bind_input, spec.input, source)
            bind(binding.bind_output, spec.output, destination)
        return binding

    def step(self) -> NDArray[np.float32]:
        """Run one step on ``mel``."""
        self._run(self._bindings[self._turn])
        self._turn ^= 1
        return self._logits

    def reset(self) -> None:
        """Put the initial state back."""
        for spec, state in zip(self._specs, self._states[self._turn], strict=True):
            state[:] = initial_state(spec)
