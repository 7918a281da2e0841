"""Fixtures that many tests share; nothing here needs torch to be imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from making.speech import speech, speech_pcm
from numpy.typing import NDArray

# benchmarks/ is not installed; behind all else, so that it lends nothing but itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))

# Threads that wait for each other by spinning make small torch models a hundred times slower
# on a machine with other work; the processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time, and no verdict on how long one takes: machines differ.
settings.register_profile("edge-ser", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("edge-ser")

# No test may see, or change, the packs that are installed on the machine it runs on.
os.environ["EDGE_SER_PACKS"] = "/nonexistent/edge-ser-packs"
os.environ.pop("EDGE_SER_PACK_KEY", None)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def clip() -> NDArray[np.float32]:
    """2.5 s of speech-like audio at 16 kHz, not a whole number of steps."""
    return speech(2.503)


@pytest.fixture(scope="session")
def pcm() -> NDArray[np.int16]:
    """The same as 16-bit samples."""
    return speech_pcm(2.503)


@pytest.fixture(scope="session")
def shared_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small pack; read only."""
    if find_spec("torch") is None or find_spec("onnx") is None:
        made = os.environ.get("EDGE_SER_TEST_PACK")
        if made is None:
            pytest.skip(
                "needs torch and onnx to make a pack, or EDGE_SER_TEST_PACK naming one made by "
                "tests/making/packs.py"
            )
        return Path(made)
    from making.packs import write_tiny_pack

    out = tmp_path_factory.mktemp("packs") / "tiny"
    write_tiny_pack(out)
    return out


@pytest.fixture
def pack_folder(shared_pack: Path, tmp_path: Path) -> Path:
    """An own copy of the small pack, to be damaged at will."""
    return Path(shutil.copytree(shared_pack, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def edge_ser_command() -> Run:
    """Runs ``edge-ser`` in a fresh process, as a user would."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command: Sequence[str] = [sys.executable, "-m", "edge_ser", *map(str, arguments)]
        settings: dict[str, object] = {"capture_output": True, "text": True, "timeout": 300}
        return subprocess.run(command, **(settings | options))  # type: ignore[call-overload,no-any-return]

    return run
