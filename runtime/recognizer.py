"""A loaded pack, ready for any number of streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_ser.errors import BackendError
from edge_ser.frontend import LogMel
from edge_ser.pack import Manifest, Pack, open_pack
from edge_ser.runtime.backends import Engine, load_engine
from edge_ser.runtime.hook_faults import HookFaults
from edge_ser.runtime.stream import Stream
from edge_ser.runtime.timing import Hook

if TYPE_CHECKING:
    from pathlib import Path

    from edge_ser.runtime.group import StreamGroup

__all__ = ["Recognizer"]


class Recognizer:
    """Immutable and shared by threads; every microphone gets its own :class:`Stream`."""

    def __init__(self, pack: Pack, engine: Engine) -> None:
        self.pack = pack
        self.engine = engine
        self._front_end = LogMel(pack.manifest.frontend)
        self._faults = HookFaults()

    @classmethod
    def open(
        cls,
        pack: Path | str | None = None,
        *,
        backend: str = "auto",
        precision: str = "auto",
        threads: int = 1,
        require_backend: str | None = None,
        allow_fallback: bool = False,
        node_profile: Path | None = None,
        engine: Path | str | None = None,
    ) -> Recognizer:
        """Open a pack and load its model.

        Args:
            pack: folder, ``.tar`` or id of a bundled pack; None for the bundled default.
            backend: ``auto``, ``onnxruntime``, ``tensorrt`` or ``tensorrt-rtx``.
            precision: ``auto`` for the pack's first choice, or ``int8``, ``fp16``, ``fp32``.
            threads: threads of one step; one is right for models of this size.
            require_backend: fail unless this engine is the one that computes.
            allow_fallback: take ONNX Runtime when ``backend`` cannot be used.
            node_profile: file name prefix for the engine's own profile of every node, which
                ``engine.node_events()`` then reads; it slows the engine down.
            engine: file of a built TensorRT engine; None to look in the cache.

        Raises:
            PackError: the pack is unknown or broken.
            BackendError: the engine is missing or not the required one.
            UsageError: an argument is unknown.
        """
        opened = open_pack(pack)
        loaded = load_engine(
            opened,
            backend,
            precision=precision,
            threads=threads,
            allow_fallback=allow_fallback,
            node_profile=node_profile,
            engine=engine,
        )
        if require_backend is not None and loaded.backend != require_backend:
            raise BackendError(
                f"{require_backend} is required, but {loaded.backend} would compute; "
                f"ask for it with --backend {require_backend}"
            )
        return cls(opened, loaded)

    @property
    def manifest(self) -> Manifest:
        """The contract of the pack."""
        return self.pack.manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of this pack, in the order of its probabilities."""
        return self.pack.manifest.labels

    @property
    def rate_hz(self) -> int:
        """Sample rate that streams take."""
        return self.pack.manifest.frontend.rate_hz

    def stream(
        self, stream_id: str = "stream0", *, hooks: Sequence[Hook] = (), every: int = 1
    ) -> Stream:
        """A new stream.

        Args:
            stream_id: name that its events carry.
            hooks: told of the time of every stage and step.
            every: steps from one event to the next.
        """
        return Stream(
            self.manifest,
            self.engine,
            self._front_end,
            stream_id,
            hooks=hooks,
            every=every,
            faults=self._faults,
        )

    def group(
        self, streams: int | Sequence[str], *, hooks: Sequence[Hook] = (), every: int = 1
    ) -> StreamGroup:
        """Several new streams that take their steps together, in one call of the model.

        Args:
            streams: how many, or the names that their events carry.
            hooks: told of the time of every stage and step of every stream.
            every: steps from one event of a stream to the next.

        Raises:
            UsageError: no stream is asked for, or two have one name.
        """
        from edge_ser.runtime.group import StreamGroup

        names = [f"stream{i}" for i in range(streams)] if isinstance(streams, int) else streams
        return StreamGroup(
            self.manifest,
            self.engine,
            self._front_end,
            names,
            hooks=hooks,
            every=every,
            faults=self._faults,
        )
