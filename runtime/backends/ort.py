"""ONNX Runtime on the CPU, with bound buffers that never move."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_ser.errors import BackendError
from edge_ser.pack import Pack, Target
from edge_ser.runtime.backends.base import EngineGroup, EngineStream, OneByOne
from edge_ser.runtime.backends.ort_group import OrtGroup, bind, runs

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["OrtEngine"]

_STREAMS = "streams"  # the axis of a model that is open for any number of streams


class OrtEngine:
    """A model in ONNX Runtime.

    Raises:
        BackendError: onnxruntime is missing or refuses the model.
    """

    backend = "onnxruntime"

    def __init__(
        self, pack: Pack, target: Target, threads: int, node_profile: Path | None = None
    ) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise BackendError(
                f"onnxruntime cannot be imported ({error}); pip install onnxruntime"
            ) from error
        self._ort, self._threads = ort, threads
        self._pack, self._target = pack, target
        self._profiled = node_profile is not None
        # The profile counts from a wall clock; ours is perf_counter.
        self._wall_ahead_ns = time.time_ns() - time.perf_counter_ns()
        self._session = self._load(fixed=True, node_profile=node_profile)
        self.precision = target.precision
        spec = pack.manifest.frontend
        self._mel_shape = (1, spec.n_mels, spec.step_frames)
        self._n_labels = len(pack.manifest.labels)
        self._check_contract(pack)
        # Streams that step together have a session of their own, made when first asked for.
        self._open_session: Any = None
        self._opening = threading.Lock()

    def stream(self) -> EngineStream:
        """Buffers and state of a new stream."""
        return _OrtStream(self._session, self._target, self._mel_shape, self._n_labels)

    def group(self, n_streams: int) -> EngineGroup:
        """Buffers and state of ``n_streams`` new streams, which one call steps.

        A model whose number of streams is fixed steps them one after the other.
        """
        with self._opening:
            if self._open_session is None:
                self._open_session = self._load(fixed=False, node_profile=None)
        if isinstance(self._open_session.get_inputs()[0].shape[0], int):
            return OneByOne(self, n_streams)
        return OrtGroup(
            self._open_session, self._target, n_streams, self._mel_shape, self._n_labels
        )

    def _load(self, *, fixed: bool, node_profile: Path | None) -> Any:
        """A session, for one stream if ``fixed``, for as many as it is given if not."""
        ort, content = self._ort, self._pack.read(self._target.file)
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # Idle threads must sleep between steps: a board has other work to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A form is rounded where convert found it good. ONNX Runtime would round the weights of
        # layers that stay in float, too, where their inputs and outputs are stored as integers.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        if fixed:
            options.add_free_dimension_override_by_name(_STREAMS, 1)
            # What a step of one stream needs is so little that malloc is quicker than an arena.
            options.enable_cpu_mem_arena = False
        if node_profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(node_profile)
        try:
            return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no base class
            raise BackendError(
                f"onnxruntime {ort.__version__} cannot load {self._target.file} of pack "
                f"{self._pack.manifest.name}: {error}"
            ) from error

    def node_events(self) -> Iterator[dict[str, Any]]:
        """What every node took, as trace events; profiling ends with it.

        Empty unless the engine was loaded with ``node_profile``.
        """
        if not self._profiled:
            return
        self._profiled = False
        from pathlib import Path

        from edge_ser.runtime.hooks.node_profile import node_events

        start_ns = self._session.get_profiling_start_time_ns() - self._wall_ahead_ns
        profile = Path(self._session.end_profiling())
        try:
            text = profile.read_text()
        except (OSError, ValueError):
            text = ""  # which is told of as a profile that cannot be read
        finally:
            profile.unlink(missing_ok=True)
        yield from node_events(text, start_ns)

    def _check_contract(self, pack: Pack) -> None:
        """The model must be what the manifest says before anything is bound to it."""
        for state in self._target.states:
            if not state.newest(np.empty(state.output_shape, np.uint8)).flags.c_contiguous:
                raise BackendError(
                    f"{self._target.file} of pack {pack.manifest.name}: state {state.input!r} does "
                    "not lie in one piece behind its past; convert the pack again"
                )
        names = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int8": "tensor(int8)"}
        states = self._target.states
        inputs = {"mel": (list(self._mel_shape), "float32")}
        inputs |= {state.input: (list(state.shape), state.dtype) for state in states}
        outputs = {"logits": ([1, self._n_labels], "float32")}
        outputs |= {state.output: (list(state.output_shape), state.dtype) for state in states}
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
        self._outputs = [[np.empty(s.output_shape, s.dtype) for s in self._specs] for _ in range(2)]
        self._turn = 0
        self.reset()
        self._runs = runs(session, [self._bind(session, old) for old in range(2)])

    def _bind(self, session: onnxruntime.InferenceSession, old: int) -> Any:
        binding = session.io_binding()
        bind(binding.bind_input, "mel", self.mel)
        bind(binding.bind_output, "logits", self._logits)
        for spec, before, after in zip(
            self._specs, self._outputs[old], self._outputs[1 - old], strict=True
        ):
            bind(binding.bind_input, spec.input, spec.newest(before))
            bind(binding.bind_output, spec.output, after)
        return binding

    def step(self) -> NDArray[np.float32]:
        """Run one step on ``mel``."""
        self._runs[self._turn]()
        self._turn ^= 1
        return self._logits

    def reset(self) -> None:
        """Put the initial state back."""
        for spec, output in zip(self._specs, self._outputs[self._turn], strict=True):
            spec.newest(output)[...] = spec.initial()
