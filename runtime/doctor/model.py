"""Findings on the pack, its engines, and what would be used."""

from __future__ import annotations

from collections.abc import Iterator

from edge_ser.runtime.doctor.answers import Answers
from edge_ser.runtime.doctor.check import Check
from edge_ser.runtime.doctor.tree import Tree

__all__ = ["choice_check", "engines_checks", "golden_checks", "pack_checks"]


def pack_checks(_: Tree, answers: Answers) -> Iterator[Check]:
    """The pack in use, and those that are damaged."""
    pack, store = answers.pack, answers.store
    where = "installed" if pack.get("installed") else "bundled"
    if pack.get("problem"):
        yield Check(
            "pack", "fail", str(pack["problem"]),
            "edge-ser pack rollback, or edge-ser pack use bundled; if it is the bundled one, "
            "install edge-ser again",
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


def engines_checks(_: Tree, answers: Answers) -> Iterator[Check]:
    """Built engines."""
    for row in answers.engines:
        if row["problem"] is None:
            yield Check("engine", "ok", f"{row['file']}: {row['backend']} {row['precision']}")
        else:
            command = f"edge-ser build --backend {row['backend'] or 'tensorrt'} --force"
            yield Check("engine", "warn", f"{row['file']}: {row['problem']}", command)


def golden_checks(answers: Answers) -> Iterator[Check]:
    """Golden vectors of the pack through every backend."""
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


def choice_check(tree: Tree, answers: Answers) -> Check:
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
