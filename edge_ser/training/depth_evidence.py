"""Linear discriminants on each depth of a trained student, folded into its fusion."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_ser.corpora import Clip
from edge_ser.errors import InputError
from edge_ser.models.student import Student
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import padded_clips
from edge_ser.training.progress import say
from edge_ser.training.shrinkage import Shrunken, fit_shrunken

__all__ = ["DepthEvidence", "add_depth_evidence", "fit_depth_evidence", "with_depth_evidence"]

_CLIPS_AT_ONCE = 32
_PREFIXES_S = (1.0, 1.5, 2.0)
"""Seconds of a clip after which it is learnt from, beside its end: early verdicts count too."""
_FEWEST_SPEAKERS = 2  # of each label of a corpus that gets votes of its own


@dataclass(frozen=True)
class DepthEvidence:
    """What the features of all depths say of each label of each corpus, as one linear layer.

    Attributes:
        weight: ``(votes, 3 * 2 * trunk)``, shallow, intermediate, then high-level features; the
            labels of the first corpus, then those of the next.
        bias: ``(votes,)``.
        deviation: ``(votes,)``, of what it says of single moments.
        domains: the corpora that have votes of their own, in order; one name for all of them
            where they share their votes.
        shrinkages: of each domain, chosen among the training speakers, of the fits whose mean
            tells its labels apart: the one on all clips, then the one on its own, which is
            missing where they are too few or there is one domain.
        temperatures: chosen with them; the logits of each fit are divided by its own.
        level: shrinkage and temperature of the fit that tells the domains apart; None where
            there is only one.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    deviation: NDArray[np.float64]
    domains: tuple[str, ...]
    shrinkages: tuple[tuple[float, ...], ...]
    temperatures: tuple[tuple[float, ...], ...]
    level: tuple[float, float] | None = None


def add_depth_evidence(
    student: Student, bank: FeatureBank, clips: Sequence[Clip], seed: int
) -> tuple[Student, dict[str, Any] | None]:
    """``student`` with the evidence of its depths, fitted on the clips that have a label.

    Where there are too few speakers to choose a shrinkage among, it stays as it is, and says so.

    Returns:
        The student, and what was fitted for its record; None where it stayed as it was.
    """
    try:
        evidence = fit_depth_evidence(student, bank, clips, seed)
    except InputError as error:
        say(f"evidence of the depths left out: {error}")
        return student, None
    chosen = zip(evidence.domains, evidence.shrinkages, evidence.temperatures, strict=True)
    told = (
        f"{name} (shrinkage {_listed(a, 'g')}, temperature {_listed(t, '.1f')})"
        for name, a, t in chosen
    )
    say(f"evidence of the depths: votes for {', '.join(told)}")
    facts = {
        "domains": list(evidence.domains),
        "shrinkages": [list(values) for values in evidence.shrinkages],
        "temperatures": [list(values) for values in evidence.temperatures],
        "level": None if evidence.level is None else list(evidence.level),
    }
    return with_depth_evidence(student, evidence), facts


def _listed(values: Sequence[float], form: str) -> str:
    return " and ".join(format(value, form) for value in values)


def fit_depth_evidence(
    student: Student, bank: FeatureBank, clips: Sequence[Clip], seed: int
) -> DepthEvidence:
    """Discriminants on what the memory would keep of each depth of the clean clips.

    Each clip is learnt from as it stands after 1, 1.5 and 2 s and at its end, so that what is
    said of the first seconds is no guess of what a whole clip would have said.

    A network that descent has taught to tell a few speakers' clips apart has its verdict
    fitted to them more than its features. Discriminants with much shrinkage, on features of
    every depth, err in other clips than it does. If every corpus has clips of two speakers of
    every label, each has votes of its own. What tells its labels apart is the mean of two fits,
    one with the covariance of its own clips, which are few, one with that of all, which vary
    otherwise (the latter alone where its own cannot be fitted); what tells it from the others
    is fitted on all clips.

    Args:
        clips: of training speakers; those with another label are passed over.
        seed: of the inner folds that choose shrinkage and temperature.

    Raises:
        InputError: a label has no clip, or too few speakers to choose among.
    """
    labels = student.config.labels
    labelled = [clip for clip in clips if clip.label in labels]
    label = np.array([labels.index(clip.label) for clip in labelled], np.int64)
    if len(np.unique(label)) < len(labels):
        raise InputError("a label has no training clip")
    corpora = sorted({clip.corpus for clip in labelled})
    prefixes, centre, squares = _depth_means(student, bank, labelled)
    speakers = [clip.speaker for clip in labelled]
    every = np.ones(len(labelled), np.bool_)

    def fitted(
        heard: NDArray[np.bool_], truth: NDArray[np.int64], n: int, among: range | None = None
    ) -> Shrunken:
        who = [speaker for speaker, is_heard in zip(speakers, heard, strict=True) if is_heard]
        return fit_shrunken(prefixes[heard], truth[heard], who, n, seed, among)

    def evidence(
        parts: Sequence[tuple[Shrunken, ...]], domains: tuple[str, ...], joint: Shrunken | None
    ) -> DepthEvidence:
        weight, bias = _votes(parts, joint)
        spread = squares - np.outer(centre, centre)
        deviation = np.sqrt(np.maximum(np.einsum("li,ij,lj->l", weight, spread, weight), 1e-6))
        shrinkages = tuple(tuple(fit.shrinkage for fit in fits) for fits in parts)
        temperatures = tuple(tuple(fit.temperature for fit in fits) for fits in parts)
        level = None if joint is None else (joint.shrinkage, joint.temperature)
        return DepthEvidence(weight, bias, deviation, domains, shrinkages, temperatures, level)

    def apart() -> DepthEvidence:
        place = np.array([corpora.index(clip.corpus) for clip in labelled], np.int64)
        classes, n = place * len(labels) + label, len(corpora) * len(labels)
        joint = fitted(every, classes, n)

        def of_corpus(k: int) -> tuple[Shrunken, ...]:
            mine = range(k * len(labels), (k + 1) * len(labels))
            try:
                by_all = fitted(every, classes, n, mine)
            except InputError:  # too few speakers to judge by
                by_all = replace(joint, discriminant=joint.discriminant.among(mine))
            with suppress(InputError, np.linalg.LinAlgError):
                return by_all, fitted(place == k, label, len(labels))
            return (by_all,)

        return evidence([of_corpus(k) for k in range(len(corpora))], tuple(corpora), joint)

    try:
        if len(corpora) > 1 and _apart(labelled, labels, corpora):
            with suppress(InputError, np.linalg.LinAlgError):
                return apart()
        return evidence([(fitted(every, label, len(labels)),)], ("+".join(corpora),), None)
    except np.linalg.LinAlgError:
        raise InputError("the clips of each label are all alike") from None


def _votes(
    parts: Sequence[tuple[Shrunken, ...]], joint: Shrunken | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias of the votes of each part, the mean of its fits, one part after the other.

    Discriminants of one corpus are no measure of how well a clip fits it beside another: each
    part keeps only the differences between its labels, and ``joint``, of all labels of all
    parts, says by the mean over its labels how well the part fits.
    """
    folded = []
    for fits in parts:
        weights, biases = zip(*(fit.discriminant.folded() for fit in fits), strict=True)
        folded.append((np.mean(weights, axis=0), np.mean(biases, axis=0)))
    if joint is not None:
        of_all = zip(*(np.split(x, len(parts)) for x in joint.discriminant.folded()), strict=True)
        folded = [
            (weight - weight.mean(axis=0) + whole.mean(axis=0), bias - bias.mean() + level.mean())
            for (weight, bias), (whole, level) in zip(folded, of_all, strict=True)
        ]
    weights, biases = zip(*folded, strict=True)
    return np.concatenate(weights), np.concatenate(biases)


def _apart(labelled: Sequence[Clip], labels: tuple[str, ...], corpora: Sequence[str]) -> bool:
    """Whether every corpus has enough of every label for votes of its own."""
    return all(
        len({c.speaker for c in labelled if (c.corpus, c.label) == (corpus, label)})
        >= _FEWEST_SPEAKERS
        for corpus in corpora
        for label in labels
    )


@torch.no_grad()
def with_depth_evidence(student: Student, evidence: DepthEvidence) -> Student:
    """The same student with ``evidence`` added to its own logits, domain by domain.

    The evidence is linear and so is the mean that the memory keeps, so it needs no layer of its
    own: each vote gets two more fused features, ``relu(z)`` and ``relu(-z)``, whose difference
    is the evidence ``z`` of a moment, and the classifier takes the one less the other. They are
    scaled to deviate by 1, as other features do, so that one INT8 grid serves them all; what the
    classifier, which is never rounded, multiplies them with is far above its other weights.

    Args:
        student: of one domain.

    Raises:
        ValueError: it votes for several domains, which only evidence brings.
    """
    config = student.config
    if config.domains != 1:
        raise ValueError(f"this student votes for {config.domains} domains already")
    votes, n_old, domains = len(evidence.bias), config.fused, len(evidence.domains)
    wide = Student(replace(config, fused=n_old + 2 * votes, domains=domains), student.silence)
    state = wide.state_dict()
    own = student.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        own[name] = own[name].repeat(domains, *(1,) * (own[name].ndim - 1))
    for name, value in own.items():
        # What is new stands behind what was there.
        state[name][tuple(slice(size) for size in value.shape)] = value
    signs = torch.tensor([1.0, -1.0])
    scale = torch.from_numpy(1.0 / evidence.deviation).float()

    def pairs(values: NDArray[np.float64]) -> Tensor:
        """Scaled rows for ``+z`` of each vote, then those for ``-z``."""
        rows = torch.from_numpy(values).float() * scale.view(-1, *(1,) * (values.ndim - 1))
        return torch.cat([sign * rows for sign in signs])

    new, width = slice(n_old, None), 2 * config.trunk
    for index, name in enumerate(("fuse_shallow", "fuse_middle", "fuse_high")):
        rows = pairs(evidence.weight[:, index * width : (index + 1) * width])
        layer = state[f"{name}.weight"]
        layer[new] = 0.0
        layer[new, :width, 0] = rows / student.depth_weights()[index]
    state["fuse_norm.running_mean"][new] = 0.0
    state["fuse_norm.running_var"][new] = 1.0
    state["fuse_norm.weight"][new] = (1.0 + wide.fuse_norm.eps) ** 0.5
    state["fuse_norm.bias"][new] = pairs(evidence.bias)
    state["memory.gate.weight"][:, new] = 0.0
    # Before anything was heard the evidence is for nobody; it grows with what is heard.
    state["memory.rest"][new] = 0.0
    state["classifier.weight"][:, new] = 0.0
    back = torch.diag(1.0 / scale)
    state["classifier.weight"][:, new, 0] = torch.cat([sign * back for sign in signs], dim=1)
    wide.load_state_dict(state)
    return wide.eval()


@torch.no_grad()
def _depth_means(
    student: Student, bank: FeatureBank, clips: Sequence[Clip]
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """What the memory keeps of the depths of each clean clip, and how single moments vary.

    Returns:
        ``(clips, 4, 3 * 2 * trunk) float32``, after each of ``_PREFIXES_S`` and at the end; and
        of all moments, as the gate weighs them, the mean and the mean of all products of pairs.
    """
    student.eval()
    memory, config = student.memory, student.config
    width = 6 * config.trunk
    parts, opened = [], 0.0
    sums, products = np.zeros(width), np.zeros((width, width))
    early = [round(seconds * 100 / config.step_frames) - 1 for seconds in _PREFIXES_S]
    for start in range(0, len(clips), _CLIPS_AT_ONCE):
        features = [bank.clean(clip) for clip in clips[start : start + _CLIPS_AT_ONCE]]
        mel, last = padded_clips(features, bank.spec.silence, config.step_frames)
        output = student(mel)
        depths = torch.cat(output.depths, dim=1)
        gate = torch.sigmoid(memory.gate(output.fused))
        kept = memory.gathered(depths, gate)
        steps = torch.from_numpy(np.stack([np.minimum(s, last) for s in early] + [last], axis=1))
        rows = kept.transpose(1, 2)[torch.arange(len(last))[:, None], steps]
        parts.append((rows[..., :-1] / rows[..., -1:].clamp(min=1e-6)).numpy())
        for row, end in enumerate(last):
            heard = slice((int(end) + 1) * config.step_tokens)
            x, weight = depths[row, :, heard].double(), gate[row, :, heard].double()
            sums += (x * weight).sum(dim=1).numpy()
            products += ((x * weight) @ x.T).numpy()
            opened += float(weight.sum())
    return np.concatenate(parts), sums / opened, products / opened
