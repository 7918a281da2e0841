"""Write api_names.json: every Python name of the TensorRT bindings wheels given.

``python tests/engines/read_api.py WHEEL... > tests/engines/api_names.json``

Get the wheels with ``pip download --no-deps tensorrt_bindings==8.6.1``,
``tensorrt_cu12_bindings==10.0.1`` and so on, for the Python that runs this. They are imported
without their 1 GB of libraries: the few C functions they call get stand-ins (needs gcc,
readelf and nm). An installed ``tensorrt_rtx`` is read as it is.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType


def names_of(module: ModuleType) -> dict[str, list[str]]:
    """Public names of the module (under ``""``) and of each of its classes."""
    found = {"": sorted(name for name in dir(module) if not name.startswith("_"))}
    for name in found[""]:
        value = getattr(module, name)
        if isinstance(value, type):
            found[name] = sorted(item for item in dir(value) if not item.startswith("_"))
    return found


def load_wheel(wheel: Path, folder: Path) -> ModuleType:
    """The extension module of a bindings wheel over stand-in libraries."""
    zipfile.ZipFile(wheel).extractall(folder)
    extension = next(folder.rglob("tensorrt.so"))
    sections = _output("readelf", "-d", extension)
    undefined = re.findall(r"^\s+U (\S+)$", _output("nm", "-D", "-u", extension), re.MULTILINE)
    wanted = re.compile(r"INTERNAL|Plugin|Parser|nvuff|nvcaffe")
    missing = [name for name in undefined if "@" not in name and wanted.search(name)]
    code = "\n".join(
        f'long f{i}(void) __asm__("{name}"); long f{i}(void) {{ return 0; }}'
        for i, name in enumerate(missing)
    )
    (folder / "stand_in.c").write_text(code)
    for library in re.findall(r"NEEDED.*\[(libnv\S+)\]", sections):
        command = ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{library}"]
        subprocess.run([*command, "-o", folder / library, folder / "stand_in.c"], check=True)
        ctypes.CDLL(str(folder / library), mode=ctypes.RTLD_GLOBAL)
    sys.setdlopenflags(os.RTLD_LAZY)
    loader = importlib.machinery.ExtensionFileLoader("tensorrt", str(extension))
    spec = importlib.util.spec_from_file_location("tensorrt", extension, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _output(*command: object) -> str:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True
    ).stdout


def main() -> None:
    """One process per wheel: two TensorRT modules cannot live in one."""
    if sys.argv[1] == "--one":
        with tempfile.TemporaryDirectory() as folder:
            names = names_of(load_wheel(Path(sys.argv[2]), Path(folder)))
        sys.stdout.write(json.dumps(names))
        sys.stdout.flush()
        os._exit(0)  # their destructors would call the stand-ins
    found = {}
    for wheel in sys.argv[1:]:
        version = Path(wheel).name.split("-")[1]
        found[f"tensorrt {version}"] = json.loads(_output(sys.executable, __file__, "--one", wheel))
    if importlib.util.find_spec("tensorrt_rtx"):
        import tensorrt_rtx

        found[f"tensorrt-rtx {tensorrt_rtx.__version__}"] = names_of(tensorrt_rtx)
    json.dump(found, sys.stdout, indent=0, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
