"""Everything that can be known wrong about an engine file before it is deserialized."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from edge_ser.engines.host import Host
from edge_ser.engines.sidecar import Sidecar, read_sidecar
from edge_ser.errors import BackendError
from edge_ser.pack import Pack

__all__ = ["check_engine", "check_host", "check_pack", "check_plan", "read_whole"]

_RTX_MAGIC = b"vtrt"
_CLASSIC_MAGIC = b"ftrt"
_RTX_HEADER_BYTES = 64


def check_engine(engine: Path, backend: str, version: str, host: Host, pack: Pack) -> bytes:
    """The content of an engine file that fits this product, machine and pack.

    Args:
        version: of the installed product.

    Raises:
        BackendError: with the one thing that does not fit and how to build it again.
    """
    sidecar = read_sidecar(engine)
    check_host(engine, sidecar, backend, version, host)
    check_pack(engine, sidecar, pack)
    return read_whole(engine, sidecar)


def read_whole(engine: Path, sidecar: Sidecar) -> bytes:
    """The content of ``engine``, which is what its sidecar says.

    Raises:
        BackendError: it is missing, truncated, changed or no plan of that product.
    """
    try:
        content = engine.read_bytes()
    except OSError as error:
        raise BackendError(f"engine {engine} cannot be read ({error.strerror})") from error
    if len(content) != sidecar.engine_bytes:
        raise BackendError(
            f"engine {engine} has {len(content)} bytes, its sidecar says {sidecar.engine_bytes}: "
            f"it is truncated or was replaced. {_rebuild(sidecar)}"
        )
    if hashlib.sha256(content).hexdigest() != sidecar.engine_sha256:
        raise BackendError(
            f"engine {engine} was changed (its SHA-256 is not the one in its sidecar). "
            f"{_rebuild(sidecar)}"
        )
    check_plan(content, sidecar.backend, str(engine))
    return content


def check_host(engine: Path, sidecar: Sidecar, backend: str, version: str, host: Host) -> None:
    """Product, version, GPU and board.

    Raises:
        BackendError: the first that does not fit.
    """
    if sidecar.backend != backend:
        raise BackendError(
            f"engine {engine} was built with {sidecar.backend}, this is {backend}; "
            f"the two cannot read each other's engines. {_rebuild(sidecar, backend)}"
        )
    if sidecar.version != version:
        raise BackendError(
            f"engine {engine} was built with {backend} {sidecar.version}, here is {version}; "
            f"engines are not portable between versions. {_rebuild(sidecar)}"
        )
    if host.compute_capability is None:
        raise BackendError(f"{backend} cannot run engines here: {host.problem}")
    if host.compute_capability not in sidecar.compute_capabilities:
        made_for = ", ".join(sidecar.compute_capabilities)
        raise BackendError(
            f"engine {engine} was built for compute capability {made_for}, this GPU "
            f"({host.gpu}) has {host.compute_capability}. {_rebuild(sidecar)}"
        )
    if backend == "tensorrt":
        for what, built, here in (
            ("GPU", sidecar.gpu, host.gpu),
            ("L4T", sidecar.l4t, host.l4t),
        ):
            if built != here:
                raise BackendError(
                    f"engine {engine} was built on {what} {built}, this is {here}; "
                    f"kernels were chosen for the other. {_rebuild(sidecar)}"
                )


def check_pack(engine: Path, sidecar: Sidecar, pack: Pack) -> None:
    """The engine must come from this very model.

    Raises:
        BackendError: it was built from another one.
    """
    target = pack.manifest.targets.get(sidecar.target)
    record = None if target is None else pack.manifest.files.get(target.file)
    if record is None or record.sha256 != sidecar.onnx_sha256:
        raise BackendError(
            f"engine {engine} was built from another model ({sidecar.pack}, target "
            f"{sidecar.target}), not from this {pack.manifest.name}. {_rebuild(sidecar)}"
        )


def check_plan(content: bytes, backend: str, where: str) -> None:
    """The first bytes of a plan tell its product, and for RTX its size.

    The layout is observed, not documented, so only what is surely wrong is refused.

    Raises:
        BackendError: it is no plan of ``backend``, or truncated.
    """
    magic = content[:4]
    other = _CLASSIC_MAGIC if backend == "tensorrt-rtx" else _RTX_MAGIC
    if magic == other:
        raise BackendError(f"{where} is an engine of the other TensorRT product, not of {backend}")
    if backend == "tensorrt-rtx":
        if magic != _RTX_MAGIC or len(content) < _RTX_HEADER_BYTES:
            raise BackendError(f"{where} is no TensorRT-RTX engine; build it again")
        (size,) = struct.unpack_from("<Q", content, 16)
        if size != len(content):
            raise BackendError(
                f"{where} is incomplete: {len(content)} bytes, its header says {size}; "
                "copy or build it again"
            )


def _rebuild(sidecar: Sidecar, backend: str | None = None) -> str:
    return (
        f"Build it again: edge-ser build PACK --backend {backend or sidecar.backend} "
        f"--precision {sidecar.precision}"
    )
