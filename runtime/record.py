"""What a stream computed, kept without the voice, and computed again bit for bit."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import GateMissed, InputError
from edge_ser.events import Event
from edge_ser.runtime.growing_file import GrowingFile, completing
from edge_ser.runtime.recognizer import Recognizer

if TYPE_CHECKING:
    from edge_ser.runtime.live import LiveStream
    from edge_ser.runtime.stream import Stream

__all__ = ["FORMAT", "Recording", "replay"]

FORMAT = "edge-ser.recording/1"
_LINES_A_MEMBER = 25
_GZIP = 31  # of zlib: gzip around the data, the largest window


class Recording:
    """Writes the log-mel frames of every step and every event to a file; no samples.

    The file is gzip with one JSON object a line: a head, ``{"utterance": ...}`` where the
    state begins anew, ``{"mel": HEX, "p": [...]}`` for each step (``float32`` little-endian,
    ``(n_mels, step_frames)``) and ``{"event": ...}``. Speech cannot be understood from the
    frames alone in the way samples can, but they are personal data all the same: a voice can
    be recognised, and roughly resynthesised, from them.

    Every 25 lines are a gzip member of their own, so that the file can be read to its end when
    the disk became full meanwhile; the stream goes on, and the end of the block raises.

    Args:
        path: written beside and put in place when closed.
        live: the stream to record, before its first sample.

    Raises:
        InputError: the file cannot be written.
        OutputError: at the end of the block, when it is incomplete because the disk was full.
    """

    def __init__(self, path: Path, live: LiveStream) -> None:
        self._file = GrowingFile(path)
        self._has_steps = False
        self._begin()
        live.record(self)

    def head(self, values: dict[str, Any]) -> None:
        """Who computed."""
        self._line({"format": FORMAT, **values})

    def utterance(self, utterance_id: str, begin: int) -> None:
        """State begins anew."""
        self._line({"utterance": utterance_id, "begin": begin})

    def step(self, mel: NDArray[np.float32], probabilities: list[float]) -> None:
        """One step: what went in and what came out."""
        self._has_steps = True
        self._line({"mel": mel.astype("<f4").tobytes().hex(), "p": probabilities})

    def event(self, event: Event) -> None:
        """An event as it was told."""
        self._line({"event": event.to_dict()})

    def _line(self, values: dict[str, Any]) -> None:
        if self._file.ended:
            return
        line = json.dumps(values, separators=(",", ":")).encode() + b"\n"
        self._member += self._gzip.compress(line)
        self._n += 1
        if self._n == _LINES_A_MEMBER:
            self._write()

    def _begin(self) -> None:
        self._gzip = zlib.compressobj(1, wbits=_GZIP)
        self._member, self._n = bytearray(), 0

    def _write(self) -> None:
        self._file.append(bytes(self._member + self._gzip.flush()))
        self._begin()

    def _finish(self) -> None:
        if self._n:
            self._write()
        self._file.finish()

    def _discard_empty(self) -> bool:
        if not self._has_steps:
            self._file.discard()
        return not self._has_steps

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        completing(self._finish, self._discard_empty)(kind, error, traceback)


def replay(path: Path, recognizer: Recognizer) -> Iterator[dict[str, Any]]:
    """The recorded events, each after the model said the same again.

    Raises:
        InputError: the file is no recording, is cut off, or was made with another pack.
        GateMissed: a step gives other probabilities than it did; the message says which.
    """
    lines = _lines(path)
    head = next(lines, {})
    if head.get("format") != FORMAT:
        raise InputError(f"{path}: is no recording of edge-ser ({FORMAT})")
    here = identity(recognizer)
    for key in ("pack", "model_sha256", "backend"):
        if head.get(key) != here[key]:
            raise InputError(
                f"{path}: was recorded with {key} {head.get(key)}, here is {here[key]}; "
                "name the same with --pack or --backend"
            )
    stream: Stream = recognizer.stream("replay")
    spec = recognizer.manifest.frontend
    shape = (spec.n_mels, spec.step_frames)
    n_steps = 0
    for number, line in enumerate(lines, 2):
        try:
            if "utterance" in line:
                if not isinstance(line["utterance"], str) or type(line["begin"]) is not int:
                    raise ValueError("an utterance needs a name and its first sample")
                stream.restart(line["utterance"], line["begin"])
            elif "mel" in line:
                mel = np.frombuffer(bytes.fromhex(line["mel"]), "<f4").reshape(shape)
                recorded = line["p"]
            elif "event" in line:
                if not isinstance(line["event"], dict) or "type" not in line["event"]:
                    raise ValueError("an event needs a type")
                yield line["event"]
                continue
            else:
                raise ValueError("unknown line")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: line {number} is broken ({error})") from error
        if "mel" in line:
            n_steps += 1
            again = stream.step_features(mel)
            if again != recorded:
                raise GateMissed(
                    f"{path}: step {n_steps} gave {recorded}, now gives {again}; "
                    "is it the same processor and version of onnxruntime?"
                )


def identity(recognizer: Recognizer) -> dict[str, Any]:
    """What must be the same for the same bits."""
    manifest, engine = recognizer.manifest, recognizer.engine
    fitting = [
        t
        for t in manifest.targets.values()
        if engine.backend in t.backends and t.precision == engine.precision
    ]
    file = manifest.files.get(fitting[0].file) if fitting else None
    digest = file.sha256 if file else hashlib.sha256(manifest.name.encode()).hexdigest()
    return {
        "pack": manifest.name,
        "model_sha256": digest,
        "backend": engine.backend,
        "precision": engine.precision,
    }


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, text in enumerate(file, 1):  # noqa: B007 - told in errors
                value = json.loads(text)
                if not isinstance(value, dict):
                    raise ValueError("not an object")
                yield value
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read as a recording after line {number} ({error})"
        ) from error
