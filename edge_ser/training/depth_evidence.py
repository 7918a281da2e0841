"""Linear discriminants on each depth of a trained student, folded into its fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from edge_ser.training.shrinkage import fit_shrunken

__all__ = ["DepthEvidence", "add_depth_evidence", "fit_depth_evidence", "with_depth_evidence"]

_CLIPS_AT_ONCE = 32


@dataclass(frozen=True)
class DepthEvidence:
    """What the features of all depths say of each label of each corpus, as one linear layer.

    Attributes:
        weight: ``(votes, 3 * 2 * trunk)``, shallow, intermediate, then high-level features; the
            labels of the first corpus, then those of the next.
        bias: ``(votes,)``.
        deviation: ``(votes,)``, of what it says of single moments.
        shrinkage: of the covariance, chosen among the training speakers.
        temperature: chosen with it; ``weight`` and ``bias`` are divided by it.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    deviation: NDArray[np.float64]
    shrinkage: float
    temperature: float


def add_depth_evidence(
    student: Student, bank: FeatureBank, clips: Sequence[Clip], seed: int
) -> Student:
    """``student`` with the evidence of its depths, fitted on the clips that have a label.

    Where there are too few speakers to choose a shrinkage among, it stays as it is, and says so.
    """
    try:
        evidence = fit_depth_evidence(student, bank, clips, seed)
    except InputError as error:
        say(f"evidence of the depths left out: {error}")
        return student
    say(
        f"evidence of the depths: shrinkage {evidence.shrinkage:g}, "
        f"temperature {evidence.temperature:.1f}"
    )
    return with_depth_evidence(student, evidence)


def fit_depth_evidence(
    student: Student, bank: FeatureBank, clips: Sequence[Clip], seed: int
) -> DepthEvidence:
    """Discriminants on what the memory would keep of each depth of the clean clips.

    A network that descent has taught to tell a few speakers' clips apart has its verdict
    fitted to them more than its features. Discriminants with much shrinkage, on features of
    every depth, err in other clips than it does. Each label of each corpus is a class of its
    own, if every corpus has clips of every label.

    Args:
        clips: of training speakers; those with another label are passed over.
        seed: of the inner folds that choose shrinkage and temperature.

    Raises:
        InputError: a label has no clip, or too few speakers to choose among.
    """
    labels = student.config.labels
    labelled = [clip for clip in clips if clip.label in labels]
    truth, n_votes = _classes(labelled, labels)
    means, squares = _depth_means(student, bank, labelled)
    speakers = [clip.speaker for clip in labelled]
    chosen = fit_shrunken(means[:, None], truth, speakers, n_votes, seed)
    weight, bias = chosen.discriminant.folded()
    centre = means.mean(axis=0, dtype=np.float64)
    spread = squares - np.outer(centre, centre)
    return DepthEvidence(
        weight,
        bias,
        np.sqrt(np.maximum(np.einsum("li,ij,lj->l", weight, spread, weight), 1e-12)),
        chosen.shrinkage,
        chosen.temperature,
    )


def _classes(labelled: Sequence[Clip], labels: tuple[str, ...]) -> tuple[NDArray[np.int64], int]:
    """The class of each clip, ordered by corpus, then by label, and their number."""
    label = np.array([labels.index(clip.label) for clip in labelled], np.int64)
    corpora = sorted({clip.corpus for clip in labelled})
    corpus = np.array([corpora.index(clip.corpus) for clip in labelled], np.int64)
    apart = corpus * len(labels) + label
    if len(np.unique(apart)) == len(corpora) * len(labels):
        return apart, len(corpora) * len(labels)
    if len(np.unique(label)) < len(labels):
        raise InputError("a label has no training clip")
    return label, len(labels)


@torch.no_grad()
def with_depth_evidence(student: Student, evidence: DepthEvidence) -> Student:
    """The same student with ``evidence`` added to its own logits, domain by domain.

    The evidence is linear and so is the mean that the memory keeps, so it needs no layer of its
    own: each vote gets two more fused features, ``relu(z)`` and ``relu(-z)``, whose difference
    is the evidence ``z`` of a moment, and the classifier takes the one less the other. They are
    scaled to deviate by 1, as other features do, so that one INT8 grid serves all.

    Args:
        student: of one domain.
    """
    config = student.config
    votes, n_old, n_labels = len(evidence.bias), config.fused, len(config.labels)
    domains = votes // n_labels
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
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """What the memory keeps of the depths of each clean clip, and products of moments.

    Returns:
        ``(clips, 3 * 2 * trunk) float32``, and the mean over all moments, as the gate weighs
        them, of the products of all pairs of features.
    """
    student.eval()
    memory, step_frames = student.memory, student.config.step_frames
    width = 6 * student.config.trunk
    parts, products, opened = [], np.zeros((width, width)), 0.0
    for start in range(0, len(clips), _CLIPS_AT_ONCE):
        features = [bank.clean(clip) for clip in clips[start : start + _CLIPS_AT_ONCE]]
        mel, last = padded_clips(features, bank.spec.silence, step_frames)
        output = student(mel)
        depths = torch.cat(output.depths, dim=1)
        gate = torch.sigmoid(memory.gate(output.fused))
        kept = memory.gathered(depths, gate)[torch.arange(len(last)), :, torch.from_numpy(last)]
        parts.append((kept[:, :-1] / kept[:, -1:]).numpy())
        for row, end in enumerate(last):
            heard = slice((int(end) + 1) * student.config.step_tokens)
            x, weight = depths[row, :, heard].double(), gate[row, :, heard].double()
            products += ((x * weight) @ x.T).numpy()
            opened += float(weight.sum())
    return np.concatenate(parts), products / opened
