"""Findings on microphones and who may use them."""

from __future__ import annotations

from collections.abc import Iterator

from edge_ser.runtime.doctor.answers import Answers
from edge_ser.runtime.doctor.check import Check, groups_fix
from edge_ser.runtime.doctor.tree import Tree

__all__ = ["audio_checks"]


def audio_checks(tree: Tree, answers: Answers) -> Iterator[Check]:
    """Microphones, and the groups that devices need."""
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
            groups_fix(answers, ("audio",)) or "apt install libasound2-plugins if PulseAudio or "
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
    joining = groups_fix(answers, tuple(wanted))
    if joining is not None:
        missing = [name for name in wanted if name not in answers.groups]
        yield Check("groups", "warn", f"this user is not in {', '.join(missing)}", joining)
    elif wanted:
        yield Check("groups", "ok", "root" if answers.root_user else ", ".join(answers.groups))
