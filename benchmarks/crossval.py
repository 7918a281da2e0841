"""Cross-validated accuracy of the deployed model: convert every fold, stream its test clips.

    python -m benchmarks.crossval RUN --data emodb=DIR --data ravdess=DIR

RUN is the folder of a cross-validation by `edge-ser train student` or `edge-ser distill`. Each
fold's checkpoint is converted with ranges from its training speakers only and streamed step by
step, as INT8 and as float, over the clips of its test speakers. The pooled figures and their
JSON go to RUN/deployed.json, which `edge-ser convert --metrics` takes for the model card.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration import METHODS
from edge_ser.calibration.confidence import cross_calibrated, softmax
from edge_ser.cli.bounds import whole
from edge_ser.cli.options import corpus_folders
from edge_ser.converters.convert import Request, convert
from edge_ser.corpora import Clip, load_corpus
from edge_ser.errors import EdgeSerError, InputError
from edge_ser.files import check_writable, write_text
from edge_ser.metrics import score
from edge_ser.models.checkpoint import load_student, read_description
from edge_ser.runtime import Recognizer
from edge_ser.runtime.evaluate import evaluate

FORMS = {"int8": "cpu", "fp32": "float"}
_RESAMPLES = 10_000
_FEWEST_SPEAKERS = 5


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", action="append", required=True, metavar="CORPUS=DIR")
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="CORPUS=DIR",
        help="a corpus that was trained on only: ranges come from it too, as in the training",
    )
    parser.add_argument("--context", type=whole(1), metavar="N", help="as of edge-ser convert")
    parser.add_argument(
        "--calibration-method", default="minmax", choices=METHODS, help="as of edge-ser convert"
    )
    options = parser.parse_args()
    numbers = {
        int(path.parent.name.removeprefix("fold")): path
        for path in options.run.glob("fold*/checkpoint.safetensors")
        if path.parent.name.removeprefix("fold").isdigit()
    }
    checkpoints = [numbers[number] for number in sorted(numbers)]
    if len(checkpoints) < 2:
        found = (
            f"only {checkpoints[0].parent.name}" if checkpoints else "no checkpoint in fold0/, …"
        )
        print(
            f"{options.run}: {found}; a cross-validation has two folds or more: run `edge-ser "
            "distill` or `train student` without --fold",
            file=sys.stderr,
        )
        return 2
    place = options.run / "deployed.json"
    try:
        check_writable(place)
        clips, extra = _clips(options.data, "--data"), _clips(options.extra, "--extra")
        report = measure(checkpoints, clips, options.context, options.calibration_method, extra)
        show(report)
        write_text(place, json.dumps(report, indent=1) + "\n")
    except EdgeSerError as error:
        print(f"crossval: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


def _clips(values: list[str], flag: str) -> list[Clip]:
    return [
        clip
        for name, folder in corpus_folders(values, flag).items()
        for clip in load_corpus(name, folder).clips
    ]


def measure(
    checkpoints: list[Path],
    clips: list[Clip],
    context: int | None = None,
    method: str = "minmax",
    extra: Sequence[Clip] = (),
) -> dict[str, Any]:
    """Figures of all folds, pooled over their test clips.

    Args:
        clips: of all corpora that were tested on.
        extra: of corpora that were trained on only.
    """
    rows: dict[str, list[tuple[int, Clip, dict[str, float]]]] = defaultdict(list)
    protocol, labels, reach = _checked(checkpoints, clips), (), 0
    for fold, path in enumerate(checkpoints):
        checkpoint = load_student(path)
        if context is not None:
            checkpoint = checkpoint.reaching(context)
        labels, reach = checkpoint.student.config.labels, checkpoint.student.config.context
        tested = set(checkpoint.training["test_speakers"])
        train, test = _parted(clips, extra, labels, tested)
        with tempfile.TemporaryDirectory() as folder:
            pack = Path(folder) / "pack"
            request = Request(
                "fold", "0", train, tuple(FORMS.values()), precision="int8", method=method
            )
            convert(checkpoint, request, pack, ignore_gates=True)
            for precision in FORMS:
                found = evaluate(Recognizer.open(pack, precision=precision), test)
                rows[precision] += [
                    (fold, clip, row["probabilities"])
                    for clip, row in zip(test, found.predictions, strict=True)
                ]
        of = f"{len(tested)} speaker{'s' * (len(tested) != 1)}"
        print(f"{path.parent.name}: {len(test)} clips of {of}", file=sys.stderr)
    same = [
        max(a, key=a.__getitem__) == max(b, key=b.__getitem__)
        for (_, _, a), (_, _, b) in zip(rows["int8"], rows["fp32"], strict=True)
    ]
    return {
        "context": reach,
        "cross_validation": _figures(rows["int8"], labels, protocol, "INT8"),
        "cross_validation_float": _figures(rows["fp32"], labels, protocol, "float"),
        "label_agreement": float(np.mean(same)),
    }


def _parted(
    clips: Sequence[Clip], extra: Sequence[Clip], labels: tuple[str, ...], tested: set[str]
) -> tuple[list[Clip], list[Clip]]:
    """Clips that ranges come from, none of them of a tested speaker, and clips to test on."""
    known = [clip for clip in (*clips, *extra) if clip.label in labels]
    train = [clip for clip in known if clip.speaker not in tested]
    return train, [clip for clip in clips if clip.speaker in tested and clip.label in labels]


def _checked(checkpoints: list[Path], clips: list[Clip]) -> str:
    """The protocol, in words: ``4-fold …``, or the folds by number where not all are there.

    Raises:
        InputError: the folds are not of one cross-validation or not of speakers, or ``clips``
            lack speakers of a test part.
    """
    facts = [_described(path) for path in checkpoints]
    labels, protocol = facts[0]["config"]["labels"], facts[0]["training"]["protocol"]
    if protocol == "random":
        raise InputError(
            f"{checkpoints[0].parent}: its folds are random, so speakers of test clips were heard "
            "in training; train with --protocol speaker-independent or leave-one-speaker-out"
        )
    given = {clip.speaker for clip in clips if clip.label in labels}
    tested: set[str] = set()
    made = [facts[0]["training"].get(key) for key in ("recipe", "teacher")]
    for path, fact in zip(checkpoints, facts, strict=True):
        alike = (fact["config"]["labels"], fact["training"]["protocol"]) == (labels, protocol)
        if not alike or [fact["training"].get(key) for key in ("recipe", "teacher")] != made:
            raise InputError(
                f"{path.parent}: its labels, protocol or recipe are not those of "
                f"{checkpoints[0].parent}; folds of one cross-validation belong in a folder of "
                "their own"
            )
        again = sorted(set(fact["training"]["test_speakers"]) & tested)
        if again:
            raise InputError(
                f"{path.parent}: tests {again[0]}, whom another fold tests already; it is not of "
                "the same cross-validation, so move it away"
            )
        lacking = sorted(set(fact["training"]["test_speakers"]) - given)
        if lacking:
            raise InputError(
                f"{path.parent}: no clip of its test speaker {lacking[0]}; give --data of every "
                "corpus that the run was tested on"
            )
        tested.update(fact["training"]["test_speakers"])
    if given <= tested:
        return f"{len(checkpoints)}-fold {protocol}"
    names = ", ".join(path.parent.name.removeprefix("fold") for path in checkpoints)
    return f"folds {names} alone, {protocol}"


def _described(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, if that is enough to test it.

    Raises:
        InputError: it is not.
    """
    facts = read_description(path)
    training = facts.get("training")
    if (
        not isinstance(training, dict)
        or not isinstance(training.get("test_speakers"), list)
        or "protocol" not in training
    ):
        raise InputError(f"{path}: does not say on whom it is to be tested")
    return facts


def _figures(
    rows: list[tuple[int, Clip, dict[str, float]]],
    labels: tuple[str, ...],
    protocol: str,
    precision: str,
) -> dict[str, Any]:
    corpora: dict[str, Any] = {}
    for corpus in sorted({clip.corpus for _, clip, _ in rows}):
        part = [row for row in rows if row[1].corpus == corpus]
        truth = [labels.index(clip.label) for _, clip, _ in part]
        chances = np.array([[found[label] for label in labels] for _, _, found in part])
        per_fold = [
            score(
                [t for t, row in zip(truth, part, strict=True) if row[0] == fold],
                chances[[row[0] == fold for row in part]],
                labels,
            ).uar
            for fold in sorted({row[0] for row in part})
        ]
        corpora[corpus] = {
            **score(truth, chances, labels).to_dict(),
            "speakers": len({clip.speaker for _, clip, _ in part}),
            "uar_of_folds": [round(value, 4) for value in per_fold],
            "uar_of_other_speakers": _resampled(
                [clip.speaker for _, clip, _ in part], truth, chances.argmax(axis=1), labels
            ),
        }
    return {
        "protocol": protocol,
        "precision": precision,
        "labels": list(labels),
        "corpora": corpora,
        "confidence": _confidence(rows, labels),
    }


def _resampled(
    speakers: list[str], truth: list[int], found: NDArray[np.int64], labels: tuple[str, ...]
) -> list[float] | None:
    """Between what 95 % of the UARs lie when the speakers are drawn anew, with replacement.

    The trained models stay as they are. None with fewer than five speakers, of whom a sample says
    little, or where a label is of fewer than two, whom some draws would lack.
    """
    names = sorted(set(speakers))
    of_label = [{s for s, t in zip(speakers, truth, strict=True) if t == k} for k in set(truth)]
    if len(names) < _FEWEST_SPEAKERS or min(map(len, of_label)) < 2:
        return None
    heard, right = np.zeros((2, len(names), len(labels)))
    rows = [names.index(speaker) for speaker in speakers]
    np.add.at(heard, (rows, truth), 1)
    np.add.at(right, (rows, truth), found == truth)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    with np.errstate(invalid="ignore"):
        uar = np.nanmean(drawn @ right / (drawn @ heard), axis=1)
    return [round(float(edge), 4) for edge in np.quantile(uar, (0.025, 0.975))]


def _confidence(
    rows: list[tuple[int, Clip, dict[str, float]]], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Calibration found on all folds but one and judged on that one.

    Two corpora, too sure of one and too unsure of the other, look well calibrated together, so
    each is told alone as well.
    """
    truth = np.array([labels.index(clip.label) for _, clip, _ in rows])
    logits = np.log(np.array([[max(f[label], 1e-9) for label in labels] for _, _, f in rows]))
    fold = np.array([index for index, _, _ in rows])
    chances = cross_calibrated(logits, truth, fold)
    right = chances.argmax(axis=1) == truth
    sure = np.argsort(-chances.max(axis=1))[: round(0.8 * len(right))]
    corpus = np.array([clip.corpus for _, clip, _ in rows])
    return {
        "ece_before": round(score(truth, softmax(logits), labels).ece, 4),
        "ece_after": round(score(truth, chances, labels).ece, 4),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_of_surest_80_percent": round(float(right[sure].mean()), 4),
        "corpora": {
            name: {
                "ece_after": round(score(truth[part], chances[part], labels).ece, 4),
                "too_sure_by": round(float((chances[part].max(axis=1) - right[part]).mean()), 4),
            }
            for name in sorted({clip.corpus for _, clip, _ in rows})
            for part in [corpus == name]
        },
    }


def show(report: dict[str, Any]) -> None:
    """The table for people."""
    whole, real = report["cross_validation"], report["cross_validation_float"]
    print(f"{whole['protocol']}, final events of the streaming model")
    print("corpus    clips  speakers   UAR INT8  UAR float  accuracy INT8  UAR of folds, INT8")
    for name, figures in whole["corpora"].items():
        print(
            f"{name:<9} {figures['n']:5d} {figures['speakers']:9d} {figures['uar']:10.3f} "
            f"{real['corpora'][name]['uar']:10.3f} {figures['accuracy']:14.3f}  "
            + " ".join(f"{value:.3f}" for value in figures["uar_of_folds"])
        )
        if figures["uar_of_other_speakers"]:
            low, high = figures["uar_of_other_speakers"]
            print(f"{'':9} of other speakers, by resampling these, 95 %: {low:.3f} to {high:.3f}")
    confidence = whole["confidence"]
    print(f"label agreement INT8/float {report['label_agreement']:.1%}")
    print(
        f"ECE {confidence['ece_before']:.3f} as converted, {confidence['ece_after']:.3f} "
        "calibrated on the other folds; "
        f"accuracy {confidence['accuracy']:.3f}, of the surest 80 % "
        f"{confidence['accuracy_of_surest_80_percent']:.3f}"
    )
    for name, figures in confidence["corpora"].items():
        print(
            f"ECE of {name} {figures['ece_after']:.3f}; its mean confidence less its accuracy "
            f"{figures['too_sure_by']:+.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
