"""Many microphones, one call of the model."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import UsageError
from edge_ser.events import Event
from edge_ser.frontend import LogMel
from edge_ser.pack import Manifest
from edge_ser.runtime.backends import Engine, EngineGroup
from edge_ser.runtime.hook_faults import HookFaults
from edge_ser.runtime.stream import FULL_SCALE, Stream
from edge_ser.runtime.timing import Hook, clock

if TYPE_CHECKING:
    from edge_ser.frontend.group import GroupLogMel

__all__ = ["StreamGroup"]


class StreamGroup:
    """Streams that take their steps together; used by one thread at a time.

    Made by ``Recognizer.group``. Every stream says what it would say alone, to the last bits
    of floating point. A step is taken when a stream has the samples for one; those that have
    not rest meanwhile, which costs as much as stepping, so feed all of them equally.

    An engine that takes one stream at a time steps them in turn. As a context manager it ends
    all streams without a word and tells hooks what they were not told yet.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        front_end: LogMel,
        stream_ids: Sequence[str],
        *,
        hooks: Sequence[Hook],
        every: int,
        faults: HookFaults,
    ) -> None:
        if not stream_ids or len(set(stream_ids)) != len(stream_ids):
            raise UsageError(
                f"a group needs one or more streams with names of their own, got {len(stream_ids)} "
                f"with {len(set(stream_ids))} names"
            )
        n_streams = len(stream_ids)
        self._hooked = bool(hooks)
        self._mel = front_end.group(n_streams, FULL_SCALE)
        self._engine = engine.group(n_streams)
        self._members = [
            Stream(
                manifest,
                _MemberEngine(engine, self._engine, index),
                _MemberFrontEnd(self._mel, index),
                name,
                hooks=hooks,
                every=every,
                faults=faults,
            )
            for index, name in enumerate(stream_ids)
        ]

    @property
    def at_once(self) -> bool:
        """Whether one call of the model serves all streams."""
        return self._engine.at_once

    def __len__(self) -> int:
        return len(self._members)

    def push(self, chunks: Sequence[NDArray[Any]]) -> list[list[Event]]:
        """Take samples of every stream, run every step that they complete.

        Args:
            chunks: one for each stream, as ``Stream.push`` takes them; any lengths, also none.

        Returns:
            For each stream the events that became due, oldest first.

        Raises:
            InputError: a chunk cannot be used; nothing of any chunk was taken.
            UsageError: there is not one chunk for each stream, or one for a finished stream.
        """
        members = self._members
        if len(chunks) != len(members):
            raise UsageError(f"{len(members)} streams need as many chunks, got {len(chunks)}")
        for member, chunk in zip(members, chunks, strict=True):
            member.check(chunk)
            if len(chunk):
                member.check_open()
        events: list[list[Event]] = [[] for _ in members]
        taken = [0] * len(members)
        while True:
            ready = []
            for index, member in enumerate(members):
                taken[index] += member.fill(chunks[index], taken[index])
                if member.full:
                    ready.append(index)
            if not ready:
                return events
            for index, event in zip(ready, self._step(ready, None), strict=True):
                if event is not None:
                    events[index].append(event)

    def finish(self, index: int) -> Event | None:
        """End one stream; what is left of a step is filled up with silence.

        Returns:
            The final event, which speaks for the whole utterance; None if nothing was heard.
        """
        member = self._members[index]
        if member.end():
            return self._step([index], "speech_ended")[0]
        return member.last_word()

    def restart(self, index: int, utterance_id: str, begin: int) -> None:
        """Begin another utterance of one stream, as ``Stream.restart`` does."""
        self._members[index].restart(utterance_id, begin)

    def settle(self) -> None:
        """Tell hooks that take blocks of steps what they were not told yet."""
        for member in self._members:
            member.settle()

    def __enter__(self) -> StreamGroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for member in self._members:
            member.__exit__(kind, error, traceback)

    def _step(self, ready: Sequence[int], trigger: str | None) -> list[Event | None]:
        resting: Sequence[int] = ()
        if len(ready) < len(self._members):
            resting = sorted(set(range(len(self._members))) - set(ready))
        begin = clock()
        self._mel.advance(self._engine.mel, resting)
        featured = clock()
        rows = self._engine.step(resting).tolist()
        inferred = clock()
        # Hooks are called when all events are there: what they take is no part of any step.
        events, turn = [], inferred
        for i in ready:
            member = self._members[i]
            events.append(member.conclude_step(trigger, rows[i], begin, featured, inferred, turn))
            turn = member.done_ns
        if self._hooked:
            for i in ready:
                self._members[i].tell()
            for i in resting:
                self._members[i].settle_old()
        return events


class _MemberEngine:
    """What a stream needs of an engine, for one stream of a group."""

    def __init__(self, engine: Engine, group: EngineGroup, index: int) -> None:
        self.backend, self.precision = engine.backend, engine.precision
        self.mel = group.mel[index : index + 1]
        self._group, self._index = group, index

    def stream(self) -> _MemberEngine:
        return self

    def group(self, n_streams: int) -> EngineGroup:
        raise UsageError("a stream of a group makes no group")

    def step(self) -> NDArray[np.float32]:
        raise UsageError("the streams of a group take their steps together, see StreamGroup.push")

    def reset(self) -> None:
        self._group.reset(self._index)


class _MemberFrontEnd:
    """What a stream needs of a front end, for one stream of a group."""

    def __init__(self, mel: GroupLogMel, index: int) -> None:
        self.samples = mel.samples[index]
        self._mel, self._index = mel, index

    def stream(self, full_scale: float) -> _MemberFrontEnd:
        return self  # the group's front end was made for this scale

    def advance(self, out: NDArray[np.float32]) -> None:
        raise UsageError("the streams of a group take their steps together, see StreamGroup.push")

    def reset(self) -> None:
        self._mel.reset(self._index)
