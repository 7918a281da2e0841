"""Linear discriminants whose shrinkage and temperature are chosen among the training clips."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError
from edge_ser.training.discriminant import Discriminant

__all__ = ["Shrunken", "fit_shrunken", "shrunken"]

SHRINKAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TEMPERATURES = tuple(float(t) for t in np.geomspace(1.0, 100.0, 25))
_INNER_FOLDS = 5


@dataclass(frozen=True)
class Shrunken:
    """Discriminants and what was chosen for them.

    Attributes:
        discriminant: with the temperature in its weights.
        shrinkage: share of the identity in the covariance.
        temperature: that its logits were divided by.
    """

    discriminant: Discriminant
    shrinkage: float
    temperature: float


def shrunken(
    vectors: NDArray[np.float32],
    truth: NDArray[np.int64],
    n: int,
    shrinkages: Sequence[float],
) -> list[Discriminant]:
    """Linear discriminant analysis for each of ``shrinkages``, all labels equally likely.

    The covariance within the labels is ``(1 - a) S + a tr(S)/d I`` on standardised values
    (Friedman 1989). With fewer clips than values the inverse is taken among the clips
    (Woodbury's identity), which keeps thousands of values cheap.

    Args:
        vectors: ``(clips, values)``.
        truth: label indices below ``n``; each label has a clip.
        n: number of labels.
        shrinkages: shares of the identity, above 0 and below 1.
    """
    mean, scale = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    scale[scale == 0] = 1.0
    x = (vectors - mean) / scale
    centres = np.stack([x[truth == label].mean(axis=0) for label in range(n)])
    within = x - centres[truth]
    spread = float((within**2).mean())
    clips, values = within.shape
    among_clips = clips < values
    gram = within @ within.T if among_clips else within.T @ within
    projected = within @ centres.T
    found = []
    for share in shrinkages:
        ridge = share * spread
        loaded = gram.copy()
        loaded[np.diag_indices_from(loaded)] += ridge * clips / (1 - share)
        if among_clips:
            weight = (centres.T - within.T @ np.linalg.solve(loaded, projected)) / ridge
        else:
            weight = np.linalg.solve(loaded, centres.T) * (clips / (1 - share))
        bias = -0.5 * np.einsum("ld,dl->l", centres, weight)
        found.append(Discriminant(mean, scale, weight.T, bias))
    return found


def fit_shrunken(
    voices: NDArray[np.float32],
    truth: NDArray[np.int64],
    groups: Sequence[Hashable],
    n: int,
    seed: int,
    among: range | None = None,
) -> Shrunken:
    """The shrinkage and temperature under which clips left out are least surprising.

    They are chosen together, by the mean log probability of the right label over inner folds
    of the training clips (those of ``among``), and the discriminants are then fitted on all.

    Args:
        voices: ``(clips, voices, values)``: each clip and its copies. All are learnt from;
            a clip's logits are the mean over its voices.
        truth: ``(clips,)`` label indices below ``n``.
        groups: of each clip; a group is left out as a whole. Speakers where those of the test
            clips are new, the clips themselves where they are known.
        n: number of labels.
        seed: of the inner folds.
        among: labels in a row, of which one is known to be right: only their clips are judged,
            and the discriminants keep only those; all by default.

    Raises:
        InputError: no group with a clip to judge can be left out without a label losing all its
            clips.
    """
    inner = _inner_folds(groups, seed)
    surprise = np.zeros((len(SHRINKAGES), len(TEMPERATURES)))
    kept = range(n) if among is None else among
    judged = np.isin(truth, kept)
    compared = False
    for index in np.unique(inner):
        learnt = inner != index
        left = ~learnt & judged
        if len(np.unique(truth[learnt])) < n or not left.any():
            continue  # nothing fitted without one of the labels could be compared
        judges = shrunken(*_spread(voices[learnt], truth[learnt]), n, SHRINKAGES)
        compared = True
        right = truth[left] - kept.start
        for row, judge in enumerate(judges):
            logits = _heard(judge.among(kept), voices[left])
            surprise[row] += [_surprise(logits / t, right) for t in TEMPERATURES]
    if not compared:
        raise InputError(
            "the linear classifier cannot choose its shrinkage: with any part of the training "
            "speakers left out, a label has no clip; train on more speakers or fewer labels"
        )
    best_row, best_column = np.unravel_index(surprise.argmin(), surprise.shape)
    share, temperature = SHRINKAGES[best_row], TEMPERATURES[best_column]
    (judge,) = shrunken(*_spread(voices, truth), n, (share,))
    return Shrunken(judge.softened(temperature).among(kept), share, temperature)


def _spread(
    voices: NDArray[np.float32], truth: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return voices.reshape(-1, voices.shape[-1]), np.repeat(truth, voices.shape[1])


def _heard(judge: Discriminant, voices: NDArray[np.float32]) -> NDArray[np.float64]:
    logits = judge(voices.reshape(-1, voices.shape[-1]))
    mean: NDArray[np.float64] = logits.reshape(*voices.shape[:2], -1).mean(axis=1)
    return mean


def _surprise(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    chosen = logits[np.arange(len(truth)), truth]
    return float((np.logaddexp.reduce(logits, axis=1) - chosen).sum())


def _inner_folds(groups: Sequence[Hashable], seed: int) -> NDArray[np.int64]:
    """The inner fold of each clip; there are at most as many as groups."""
    names = list(dict.fromkeys(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[which]: place % _INNER_FOLDS for place, which in enumerate(order)}
    return np.array([fold_of[group] for group in groups])
