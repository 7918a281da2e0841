"""From facts to findings, each with its fix."""

from __future__ import annotations

from edge_ser.runtime.doctor.answers import Answers
from edge_ser.runtime.doctor.audio import audio_checks
from edge_ser.runtime.doctor.board import board_checks
from edge_ser.runtime.doctor.check import Check
from edge_ser.runtime.doctor.model import choice_check, engines_checks, golden_checks, pack_checks
from edge_ser.runtime.doctor.nvidia import gpu_checks, jetson_checks, tensorrt_checks
from edge_ser.runtime.doctor.system import disk_checks, machine_checks, python_checks
from edge_ser.runtime.doctor.tree import Tree

__all__ = ["examine"]

_PARTS = (
    machine_checks,
    python_checks,
    jetson_checks,
    gpu_checks,
    tensorrt_checks,
    board_checks,
    audio_checks,
    disk_checks,
    pack_checks,
    engines_checks,
)


def examine(tree: Tree, answers: Answers) -> list[Check]:
    """Every finding on a machine, in the order of layers: hardware, system, libraries, model."""
    found = [check for part in _PARTS for check in part(tree, answers)]
    return [*found, *golden_checks(answers), choice_check(tree, answers)]
