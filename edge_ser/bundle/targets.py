"""What each kind of board needs in its bundle."""

from __future__ import annotations

from dataclasses import dataclass

from edge_ser.errors import UsageError

__all__ = ["PYTHONS", "TARGETS", "BundleTarget", "target_named"]

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
"""Pythons that edge-ser runs on."""

_SERVICE = ("mqtt", "serve", "signed")


@dataclass(frozen=True)
class BundleTarget:
    """One kind of board.

    Attributes:
        name: as ``--target`` takes it.
        machine: what ``uname -m`` says there.
        pythons: whose wheels are taken if nobody says otherwise.
        glibc: newest minor version of glibc 2 that wheels may ask for.
        extras: of edge-ser.
        engine: backend whose engine is built before the service starts, None for the CPU.
        groups: that own the devices it needs, where they exist.
        system_packages: whether Python sees the packages of the system (JetPack's TensorRT).
        pure: packages of pure Python that the registry has as a source only; their wheels are
            made on the host.
        compiled: packages that no registry has wheels of; their sources go along and are
            compiled on the board where it has the CUDA toolkit.
        build_needs: wheels that compiling them takes.
    """

    name: str
    machine: str
    pythons: tuple[str, ...]
    glibc: int
    extras: tuple[str, ...]
    engine: str | None
    groups: tuple[str, ...]
    system_packages: bool = False
    pure: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ()
    build_needs: tuple[str, ...] = ()

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags of the wheels that run there, newest first (PEP 600)."""
        newer = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, 4, -1)]
        older = [f"manylinux{year}_{self.machine}" for year in ("2014", "2010", "1")]
        return (*newer, *older, f"linux_{self.machine}")


_PYCUDA = {
    "compiled": ("pycuda",),
    "build_needs": ("mako", "platformdirs", "pytools", "setuptools", "wheel"),
}
TARGETS = (
    BundleTarget(
        "jetson-jp6",
        "aarch64",
        ("3.10",),
        35,
        (*_SERVICE, "engines"),
        "tensorrt",
        ("audio", "video", "render"),
        system_packages=True,
        compiled=_PYCUDA["compiled"],
        build_needs=_PYCUDA["build_needs"],
    ),
    BundleTarget("arm64-cpu", "aarch64", ("3.11", "3.13"), 36, _SERVICE, None, ("audio",)),
    BundleTarget("x86-cpu", "x86_64", ("3.10", "3.11", "3.12"), 35, _SERVICE, None, ("audio",)),
    BundleTarget(
        "x86-rtx",
        "x86_64",
        ("3.10", "3.12"),
        35,
        (*_SERVICE, "rtx"),
        "tensorrt-rtx",
        ("audio", "video", "render"),
        pure=("tensorrt-rtx-cu12",),
        compiled=_PYCUDA["compiled"],
        build_needs=_PYCUDA["build_needs"],
    ),
)
"""Every target."""


def target_named(name: str) -> BundleTarget:
    """The target called ``name``.

    Raises:
        UsageError: there is none.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    raise UsageError(f"no bundle target {name!r}; there are: {', '.join(t.name for t in TARGETS)}")
