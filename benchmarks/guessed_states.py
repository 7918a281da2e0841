r"""How much of its teacher's states a student guesses, of speakers it learnt from and of others.

    python -m benchmarks.guessed_states runs/d/fold3 --data emodb=DIR --data ravdess=DIR \
        --data tess=DIR

The corpora are all that it learnt from, those without labels too.

Of the encoder's states in the speech of clean clips, standardised as in training, the share of
their variance that the student's throw-away heads guess (R squared), for each depth: moment by
moment, and of the mean over a clip. Where training and test speakers have the same, what is
missing is capacity or steps; where test speakers have less, it is voices.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge_ser.cli.bounds import whole
from edge_ser.cli.options import corpus_folders
from edge_ser.corpora import Clip, load_corpus
from edge_ser.errors import EdgeSerError, InputError
from edge_ser.models.checkpoint import Checkpoint, load_student
from edge_ser.models.student import Student, StudentConfig
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import padded_clips, speech_span
from edge_ser.training.distill import DistillLoss, StateScale, layer_of_depth
from edge_ser.training.distiller import STATE_DEPTHS, Distiller
from edge_ser.training.extract import Copies
from edge_ser.training.semantic import EncoderStates, encoder_states
from edge_ser.training.state import read_state

__all__ = ["guessed", "main"]

_DEPTHS = ("intermediate", "high", "fused")
_CLIPS_AT_ONCE = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.guessed_states",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("fold", type=Path, help="folder of a fold of edge-ser distill")
    parser.add_argument("--data", action="append", required=True, metavar="CORPUS=DIR")
    parser.add_argument("--teacher", default="moonshine", help="as of edge-ser distill")
    parser.add_argument("--clips", type=whole(1), default=100, metavar="N", help="of each group")
    parser.add_argument("--cache", type=Path, help="as of edge-ser distill")
    options = parser.parse_args(argv)
    try:
        checkpoint = load_student(options.fold / "checkpoint.safetensors")
        distiller = _distiller(checkpoint, options.fold / "state.pt")
        cache = options.cache or options.fold.parent / "cache"
        recipe, taught = checkpoint.training["recipe"], checkpoint.training["teacher"]
        seed = recipe["fit"]["seed"]
        clips = [
            clip
            for corpus, folder in corpus_folders(options.data).items()
            for clip in load_corpus(corpus, folder).clips
        ]
        states = encoder_states(
            clips,
            options.teacher,
            cache,
            layers=taught["layers"],
            copies=Copies(recipe["voices"], seed, rooms=False),
        )
        if states.identity != taught["encoder"]:
            raise InputError(f"{options.teacher} is not the encoder that taught {options.fold}")
        tested = set(checkpoint.training["test_speakers"])
        heard = [clip for clip in clips if clip.speaker not in tested]
        lacking = sorted(set(checkpoint.training["corpora"]) - {clip.corpus for clip in heard})
        if lacking:
            raise InputError(f"it learnt from {lacking[0]} too: give --data {lacking[0]}=DIR")
        scale = StateScale.over(states.values[clip][0] for clip in heard)
        groups: dict[tuple[str, str], list[Clip]] = defaultdict(list)
        for clip in clips:
            groups[clip.corpus, "test" if clip.speaker in tested else "training"].append(clip)
        print("| corpus | speakers | " + " | ".join(f"{d}: moments, clips" for d in _DEPTHS) + " |")
        print("|---" * 5 + "|")
        for (corpus, group), members in groups.items():
            rows = np.linspace(0, len(members) - 1, min(options.clips, len(members)))
            chosen = [members[round(row)] for row in rows]
            bank = FeatureBank.build(
                chosen, checkpoint.frontend, voices=0, rooms=0, seed=seed, cache=cache
            )
            moments, means = guessed(distiller, bank, states, chosen, scale)
            cells = " | ".join(f"{a:.2f}, {b:.2f}" for a, b in zip(moments, means, strict=True))
            print(f"| {corpus} | {group} | {cells} |", flush=True)
    except EdgeSerError as error:
        print(f"guessed_states: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _distiller(checkpoint: Checkpoint, path: Path) -> Distiller:
    """The student as it was when the descent ended, with its throw-away heads."""
    taught = checkpoint.training.get("teacher")
    if not taught or not taught["weights"]["states"]:
        raise InputError(f"{path.parent}: no student that learnt states; train it with distill")
    best = read_state(path, torch.device("cpu"))["best"]
    config = StudentConfig.from_dict(checkpoint.training["recipe"]["config"])
    distiller = Distiller(
        Student(config, checkpoint.frontend.silence),
        best["state_heads.0.weight"].shape[0],
        len(taught["layers"]),
        states=True,
        summary="summary_head.weight" in best,
        evidence="evidence_head.weight" in best,
    )
    distiller.load_state_dict(best)
    return distiller.eval()


@torch.no_grad()
def guessed(
    distiller: Distiller,
    bank: FeatureBank,
    states: EncoderStates,
    clips: Sequence[Clip],
    scale: StateScale,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the variance that each depth guesses, of moments and of means, ``(depths,)`` each.

    Args:
        bank: log-mel of the clean ``clips``.
        states: ``(layers, n, width)`` of each in its own voice.
        scale: that standardises them.
    """
    layers = layer_of_depth(len(states.layers))
    missed: NDArray[np.float64] = np.zeros((2, len(STATE_DEPTHS)))
    seen: list[list[list[NDArray[np.float32]]]] = [[[] for _ in layers] for _ in missed]
    for start in range(0, len(clips), _CLIPS_AT_ONCE):
        part = clips[start : start + _CLIPS_AT_ONCE]
        features = [bank.clean(clip) for clip in part]
        step_frames = distiller.student.config.step_frames
        guesses = distiller(padded_clips(features, bank.spec.silence, step_frames)[0])
        for row, (clip, feature) in enumerate(zip(part, features, strict=True)):
            heard = states.values[clip][0]
            tokens, index = _in_speech(feature, heard.shape[1], states.frame_rate_hz)
            for depth, layer in enumerate(layers):
                target = scale(heard[layer][index], layer)
                guess = guesses.states[depth][row].numpy().T[tokens]
                pairs = ((target, guess), (target.mean(axis=0), guess.mean(axis=0)))
                for kind, (a, b) in enumerate(pairs):
                    missed[kind, depth] += ((a - b) ** 2).sum()
                    seen[kind][depth].append(np.atleast_2d(a))
    # About the mean of these clips: to know how the corpus sounds is no guess of a clip.
    varied = [[len(x) * x.var(axis=0).sum() for x in map(np.concatenate, kind)] for kind in seen]
    moments, means = 1 - missed / np.array(varied)
    return moments, means


def _in_speech(
    feature: NDArray[np.float16], n_states: int, rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens that have just heard speech, and the states that they are to guess."""
    begin, end = speech_span(feature)
    frames = (np.arange(feature.shape[1] // 4) + 0.5) * 4 - DistillLoss.delay_frames
    index = (frames * rate_hz / 100).astype(np.int64)
    tokens = np.flatnonzero((frames >= begin) & (frames < end) & (index < n_states))
    return tokens, index[tokens]


if __name__ == "__main__":
    sys.exit(main())
