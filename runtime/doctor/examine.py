"""From facts to findings, each with its fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edge_ser.runtime.doctor.answers import Answers
from edge_ser.runtime.doctor.tree import Tree, jetpack_of

__all__ = ["Check", "examine"]

_OLDEST, _NEWEST = (3, 10), (3, 13)
_LEAST_FREE_MB = 300.0
_LEAST_MEMORY_MB = 250.0
_HOT_C = 85.0
_SLOW_GOVERNORS = ("powersave", "conservative")


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: of what was looked at.
        status: ``ok``, ``warn`` (works, but not as well as it could) or ``fail``.
        detail: what was found.
        fix: what to do; None where nothing is to be done.
    """

    name: str
    status: str
    detail: str
    fix: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def examine(tree: Tree, answers: Answers) -> list[Check]:
    """Every finding on a machine, in the order of layers: hardware, system, libraries, model."""
    parts = (_machine, _python, _jetson, _gpu, _tensorrt, _board, _audio, _disk, _pack, _engines)
    found = [check for part in parts for check in part(tree, answers)]
    return [*found, *_golden(answers), _choice(tree, answers)]


def _machine(tree: Tree, answers: Answers) -> Iterator[Check]:
    facts = [tree.model or "unknown board", answers.arch, tree.system or "unknown system"]
    if tree.kernel:
        facts.append(f"kernel {tree.kernel}")
    if answers.arch in ("aarch64", "x86_64"):
        yield Check("machine", "ok", ", ".join(facts))
    else:
        yield Check(
            "machine", "fail", ", ".join(facts),
            "edge-ser needs a 64-bit system (aarch64 or x86_64); ONNX Runtime has no wheels for "
            "others. Install the 64-bit image of this board's system",
        )  # fmt: skip


def _python(_: Tree, answers: Answers) -> Iterator[Check]:
    version = tuple(int(part) for part in answers.python.split(".")[:2])
    if not _OLDEST <= version <= _NEWEST:
        yield Check(
            "python", "fail", f"Python {answers.python}",
            "use Python 3.10 to 3.13: apt install python3.10-venv, or a build of your own",
        )  # fmt: skip
    else:
        yield Check("python", "ok", f"Python {answers.python}")
    known = ", ".join(f"{name} {version}" for name, version in answers.packages.items())
    missing = [name for name in ("numpy", "onnxruntime") if name not in answers.packages]
    if "onnxruntime" in missing and "onnxruntime-gpu" in answers.packages:
        missing.remove("onnxruntime")
    if missing:
        yield Check(
            "packages", "fail", f"{' and '.join(missing)} missing; there are {known or 'none'}",
            "pip install edge-ser, or run the bundle's install.sh again",
        )  # fmt: skip
    elif {"onnxruntime", "onnxruntime-gpu"} <= set(answers.packages):
        yield Check(
            "packages", "warn", f"onnxruntime and onnxruntime-gpu hide each other; {known}",
            "pip uninstall onnxruntime onnxruntime-gpu && pip install onnxruntime",
        )  # fmt: skip
    else:
        yield Check("packages", "ok", known)


def _jetson(tree: Tree, answers: Answers) -> Iterator[Check]:
    if tree.l4t is None:
        return
    jetpack = jetpack_of(tree.l4t)
    detail = f"L4T {tree.l4t}, JetPack {jetpack or 'unknown'}"
    if jetpack is None:
        yield Check("jetpack", "warn", detail, "not known to this edge-ser; look for a newer one")
    elif jetpack.startswith("4"):
        yield Check(
            "jetpack", "warn", f"{detail}: its TensorRT 8.2 has no tensor-name API",
            "use --backend onnxruntime; TensorRT needs JetPack 5.1 or later, and this may be the "
            "last JetPack of this board",
        )  # fmt: skip
    elif jetpack.startswith("5"):
        yield Check(
            "jetpack", "warn", f"{detail}: TensorRT's bindings are for its Python 3.8 only",
            "build the bindings for this Python (docs/engines/jetson-xavier.md), or use "
            "--backend onnxruntime",
        )  # fmt: skip
    else:
        yield Check("jetpack", "ok", detail)


def _gpu(tree: Tree, answers: Answers) -> Iterator[Check]:
    gpu = answers.gpu
    if gpu.get("compute_capability"):
        driver = f", driver {tree.driver}" if tree.driver else ""
        yield Check(
            "gpu", "ok",
            f"{gpu.get('gpu')}, compute capability {gpu['compute_capability']}, CUDA "
            f"{gpu.get('driver')}{driver}",
        )  # fmt: skip
    elif not tree.has_nvidia:
        yield Check("gpu", "ok", "no NVIDIA GPU; the model runs on the CPU")
        return
    else:
        yield Check(
            "gpu", "warn", f"NVIDIA hardware that cannot be used: {gpu.get('problem')}",
            _groups_fix(answers, ("video", "render")) or "install the driver and restart; in a "
            "container use --runtime nvidia or --gpus all",
        )  # fmt: skip
    cuda = tree.cuda
    if "pycuda" in answers.packages:
        yield Check("cuda", "ok", f"CUDA toolkit {cuda or 'not found'}, pycuda is installed")
    else:
        yield Check(
            "cuda", "warn", f"CUDA toolkit {cuda or 'not found'}, pycuda is missing",
            "PATH=/usr/local/cuda/bin:$PATH pip install pycuda"
            if cuda else "sudo apt install cuda-nvcc-12-6 cuda-cudart-dev-12-6 (the CUDA of your "
            "JetPack or driver), then pip install pycuda",
        )  # fmt: skip


def _tensorrt(tree: Tree, answers: Answers) -> Iterator[Check]:
    if not tree.has_nvidia:
        return
    wanted = "tensorrt" if tree.l4t is not None else "tensorrt-rtx"
    for name, it in answers.bindings.items():
        if "version" in it:
            library = tree.tensorrt_library if name == "tensorrt" else None
            detail = f"{name} {it['version']}"
            if library is not None and not library.startswith(it["version"][:4].rstrip(".")):
                yield Check(
                    name, "fail", f"{detail} in Python, but the library is {library}",
                    "install the bindings of JetPack's own version: sudo apt install --reinstall "
                    "python3-libnvinfer",
                )  # fmt: skip
            else:
                yield Check(name, "ok", detail)
        elif name == wanted:
            problem = it.get("problem") or "not found"
            what, _, fix = problem.partition("; ")
            yield Check(name, "warn", what, fix or "see docs/engines")


def _board(tree: Tree, _: Answers) -> Iterator[Check]:
    condition = tree.condition
    mode = condition.power_mode
    if mode is not None:
        if mode.upper().startswith("MAXN"):
            yield Check("power mode", "ok", mode)
        else:
            yield Check("power mode", "warn", f"{mode}, not the fastest", "sudo nvpmodel -m 0")
    slow = [name for name in condition.governors if name in _SLOW_GOVERNORS]
    clocks = ", ".join(f"{name} {mhz:.0f} MHz" for name, mhz in condition.clocks_mhz.items())
    if slow:
        yield Check(
            "clocks", "warn", f"governor {slow[0]}; {clocks}",
            "sudo jetson_clocks" if tree.l4t else
            "echo schedutil | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )  # fmt: skip
    elif condition.governors or clocks:
        yield Check("clocks", "ok", f"{', '.join(condition.governors) or 'fixed'}; {clocks}")
    if condition.temperatures_c:
        name, hottest = max(condition.temperatures_c.items(), key=lambda row: row[1])
        if hottest >= _HOT_C:
            yield Check(
                "temperature", "warn", f"{name} {hottest:.0f} °C: it will slow itself down",
                "give it air, a heat sink or a fan, or a lower power mode",
            )  # fmt: skip
        else:
            yield Check("temperature", "ok", f"{name} {hottest:.0f} °C is the hottest")
    if tree.throttled:
        when = "is" if tree.throttled & 0xF else "was"
        yield Check(
            "power supply", "warn",
            f"there {when} under-voltage or throttling (0x{tree.throttled:x})",
            "use the official power supply and cable of the board",
        )  # fmt: skip
    used, total = condition.memory_used_mb, condition.memory_total_mb
    if used is not None and total is not None:
        free = total - used
        detail = f"{free:.0f} of {total:.0f} MB free"
        if free < _LEAST_MEMORY_MB:
            yield Check("memory", "warn", detail, "stop the desktop: sudo init 3")
        else:
            yield Check("memory", "ok", detail)


def _audio(tree: Tree, answers: Answers) -> Iterator[Check]:
    cards = ", ".join(tree.sound_cards) or "none"
    if answers.microphone_problem:
        what, _, fix = answers.microphone_problem.rpartition("; ")
        yield Check(
            "microphone", "warn", f"{what} (sound cards: {cards})",
            fix or "pip install 'edge-ser[audio]'",
        )  # fmt: skip
    elif answers.microphones:
        rates = ", ".join(str(it["rate_hz"]) for it in answers.microphones)
        yield Check("microphone", "ok", f"{len(answers.microphones)} inputs at {rates} Hz")
    elif tree.n_captures:
        yield Check(
            "microphone", "warn",
            f"{tree.n_captures} devices can record, but none can be opened (sound cards: {cards})",
            _groups_fix(answers, ("audio",)) or "apt install libasound2-plugins if PulseAudio or "
            "PipeWire owns the card",
        )  # fmt: skip
    else:
        yield Check(
            "microphone", "warn", f"no device can record (sound cards: {cards})",
            "plug in a USB microphone, then: edge-ser mic list",
        )  # fmt: skip
    wanted = ["audio"] if tree.n_captures else []
    if tree.has_nvidia:
        wanted += ["video", "render"] if tree.l4t else []
    joining = _groups_fix(answers, tuple(wanted))
    if joining is not None:
        missing = [name for name in wanted if name not in answers.groups]
        yield Check("groups", "warn", f"this user is not in {', '.join(missing)}", joining)
    elif wanted:
        yield Check("groups", "ok", "root" if answers.root_user else ", ".join(answers.groups))


def _groups_fix(answers: Answers, wanted: tuple[str, ...]) -> str | None:
    missing = [name for name in wanted if name not in answers.groups]
    if not missing or answers.root_user:
        return None
    return f"sudo usermod -aG {','.join(missing)} $USER, then log in again"


def _disk(tree: Tree, answers: Answers) -> Iterator[Check]:
    cache = answers.engine_cache
    for name, free in (
        ("disk of packs", answers.store.get("free_mb")),
        ("disk of engines", cache.get("free_mb")),
    ):
        if free is None:
            continue
        if free < _LEAST_FREE_MB:
            yield Check(
                name, "warn", f"{free:.0f} MB free",
                "make room: edge-ser pack remove, sudo apt clean",
            )  # fmt: skip
        else:
            yield Check(name, "ok", f"{free:.0f} MB free")
    if tree.has_nvidia and cache.get("writable") is False:
        yield Check(
            "engine cache", "fail", "the folder of engines cannot be written to, so every start "
            "would build again",
            "set EDGE_SER_ENGINES to a folder of this user",
        )  # fmt: skip


def _pack(_: Tree, answers: Answers) -> Iterator[Check]:
    pack, store = answers.pack, answers.store
    where = "installed" if pack.get("installed") else "bundled"
    if pack.get("problem"):
        yield Check(
            "pack", "fail", str(pack["problem"]),
            "edge-ser pack rollback, or edge-ser pack use bundled",
        )  # fmt: skip
    else:
        trial = "; the service has not come up with it yet" if store.get("on_trial") else ""
        yield Check("pack", "ok", f"{pack.get('name')}, {where}, every file whole{trial}")
    for name in store.get("damaged", ()):
        yield Check(
            "installed pack", "warn", f"{name} is damaged",
            f"edge-ser pack remove {name}, or install it again",
        )  # fmt: skip
    if store.get("problem"):
        yield Check("pack in use", "fail", str(store["problem"]), "edge-ser pack use bundled")


def _engines(_: Tree, answers: Answers) -> Iterator[Check]:
    for row in answers.engines:
        if row["problem"] is None:
            yield Check("engine", "ok", f"{row['file']}: {row['backend']} {row['precision']}")
        else:
            command = f"edge-ser build --backend {row['backend'] or 'tensorrt'} --force"
            yield Check("engine", "warn", f"{row['file']}: {row['problem']}", command)


def _golden(answers: Answers) -> Iterator[Check]:
    for backend, result in answers.golden.items():
        name = f"golden vectors, {backend}"
        if result["problem"]:
            text = str(result["problem"])
            fix = f"edge-ser build --backend {backend}"
            if backend == "onnxruntime":
                fix = "pip install --force-reinstall onnxruntime, or another pack"
            yield Check(name, "fail" if backend == "onnxruntime" else "warn", text, fix)
        for run in result["runs"]:
            detail = (
                f"{run['target']} ({run['precision']}): label right in {run['agreement']:.0%} of "
                f"{run['steps']} steps, scores off by {run['worst']:.5f}, a step "
                f"{run['p50_ms']:.2f} ms (p99 {run['p99_ms']:.2f})"
            )
            if run["agrees"]:
                yield Check(name, "ok", detail)
            else:
                yield Check(
                    name, "fail", detail,
                    f"do not use {backend} for this pack here; update it, and report this with "
                    "edge-ser doctor --support FILE.tar.gz",
                )  # fmt: skip


def _choice(tree: Tree, answers: Answers) -> Check:
    """What would be used, and why not something better."""
    right = [
        name
        for name, result in answers.golden.items()
        if result["runs"] and all(run["agrees"] for run in result["runs"])
    ]
    better = [name for name in ("tensorrt", "tensorrt-rtx") if name in right]
    if "onnxruntime" not in right and not better:
        return Check(
            "choice", "fail", "no backend computes this pack right on this machine",
            "mend the findings above",
        )  # fmt: skip
    used = "onnxruntime" if "onnxruntime" in right else better[0]
    if better:
        times = {name: answers.golden[name]["runs"][0]["p50_ms"] for name in (used, better[0])}
        said = ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.items())
        return Check(
            "choice", "ok", f"--backend auto takes {used}; {better[0]} works too ({said} a step)",
            f"--backend {better[0]} --require-backend {better[0]} if it is the faster one",
        )  # fmt: skip
    if not tree.has_nvidia:
        why = "there is no NVIDIA GPU"
    elif not answers.gpu.get("compute_capability"):
        why = "the GPU cannot be used (see gpu)"
    elif not any("version" in it for it in answers.bindings.values()):
        why = "there is no TensorRT for this Python (see tensorrt)"
    else:
        why = "no engine is built or it failed (see golden vectors)"
    return Check("choice", "ok", f"{used} on the CPU; TensorRT is not used because {why}")
