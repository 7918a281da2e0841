"""Engines in the user's cache directory: whole or not there, one builder at a time."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ser.engines.check import check_host, check_pack, read_whole
from edge_ser.engines.host import Host
from edge_ser.engines.sidecar import Sidecar, read_sidecar, sidecar_path
from edge_ser.errors import BackendError, InputError, MissingExtra
from edge_ser.files import replace_file, write_text
from edge_ser.pack import Pack

__all__ = ["EngineCache", "cache_folder", "store_engine"]

_VARIABLE = "EDGE_SER_ENGINES"


def cache_folder() -> Path:
    """``$EDGE_SER_ENGINES``, or ``edge-ser/engines`` in the user's cache directory.

    Raises:
        MissingExtra: platformdirs is not installed.
    """
    given = os.environ.get(_VARIABLE)
    if given:
        return Path(given)
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise MissingExtra("platformdirs", "tensorrt", "find the cache of engines") from error
    return user_cache_path("edge-ser") / "engines"


@dataclass(frozen=True)
class EngineCache:
    """Engines below one folder."""

    folder: Path

    def path(self, pack: Pack, backend: str, precision: str, facts: Mapping[str, Any]) -> Path:
        """Where the engine of exactly these ``facts`` stands.

        Plans are not reproducible bit by bit, so the name is made from what goes in.
        """
        text = json.dumps({"pack": pack.manifest.name, "backend": backend, **facts}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.folder / f"{pack.manifest.id}-{precision}-{backend}-{key}.engine"

    def find(
        self, pack: Pack, backend: str, version: str, host: Host, precision: str = "auto"
    ) -> Path:
        """The engine to run: the one that ``--precision auto`` chose, else the newest that fits.

        Raises:
            BackendError: none fits; the message says why the nearest one does not.
        """
        fitting: list[tuple[bool, str, Path]] = []
        nearest: BackendError | None = None
        for engine in sorted(self.folder.glob(f"{pack.manifest.id}-*.engine")):
            try:
                sidecar = read_sidecar(engine)
                if sidecar.backend != backend or precision not in ("auto", sidecar.precision):
                    continue
                check_pack(engine, sidecar, pack)
                check_host(engine, sidecar, backend, version, host)
            except BackendError as error:
                nearest = error
                continue
            fitting.append((sidecar.automatic, sidecar.built_at, engine))
        if fitting:
            return max(fitting)[2]
        if nearest is not None:
            raise nearest
        wanted = "" if precision == "auto" else f" --precision {precision}"
        raise BackendError(
            f"no {backend} engine of {pack.manifest.name} in {self.folder}; build one first: "
            f"edge-ser build {pack.path} --backend {backend}{wanted}"
        )

    def whole(self, engine: Path, pack: Pack) -> Sidecar | None:
        """The sidecar of ``engine`` if both are there and belong together, else None."""
        try:
            sidecar = read_sidecar(engine)
            check_pack(engine, sidecar, pack)
            read_whole(engine, sidecar)
        except BackendError:
            return None
        return sidecar

    @contextmanager
    def locked(self, engine: Path, timeout_s: float = 900.0) -> Iterator[None]:
        """Hold the lock of ``engine``; a builder that comes second waits and finds it built.

        The lock belongs to the process: a kill frees it.

        Raises:
            MissingExtra: filelock is not installed.
            InputError: the folder cannot be written to.
            BackendError: another process holds it for longer than ``timeout_s`` seconds.
        """
        try:
            from filelock import FileLock, Timeout
        except ImportError as error:
            raise MissingExtra("filelock", "tensorrt", "lock the cache of engines") from error
        path = engine.with_name(engine.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=timeout_s)
            lock.acquire()
        except Timeout:
            raise BackendError(
                f"another process has been building {engine.name} for {timeout_s:.0f} s; "
                "wait for it, or end it"
            ) from None
        except OSError as error:
            raise InputError(
                f"the engine cache {path.parent} cannot be written to ({error.strerror}); "
                f"set {_VARIABLE} or use --out"
            ) from error
        try:
            for left in path.parent.glob(f".{glob.escape(engine.name)}.*"):
                left.unlink(missing_ok=True)  # half-written by a builder that was killed
            yield
        finally:
            lock.release()


def store_engine(engine: Path, content: bytes, sidecar: Sidecar) -> None:
    """Write an engine and its sidecar so that no reader ever takes half of it.

    The engine comes first; until its sidecar is there too, the hash in the old one (or its
    absence) keeps everybody from loading it.

    Raises:
        InputError: the folder cannot be written to.
        OutputError: the disk is full.
    """
    with replace_file(engine) as file:
        file.write(content)
    write_text(sidecar_path(engine), sidecar.to_json())
