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

from benchmarks.pooled import pooled_figures, show
from edge_ser.calibration import METHODS
from edge_ser.cli.bounds import whole
from edge_ser.cli.options import corpus_folders
from edge_ser.converters.convert import Request, convert
from edge_ser.corpora import Clip, load_corpus
from edge_ser.errors import EdgeSerError, InputError
from edge_ser.files import check_writable, write_text
from edge_ser.models.checkpoint import load_student, read_description
from edge_ser.runtime import Recognizer
from edge_ser.runtime.evaluate import evaluate

FORMS = {"int8": "cpu", "fp32": "float"}


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
        "cross_validation": pooled_figures(rows["int8"], labels, protocol, "INT8"),
        "cross_validation_float": pooled_figures(rows["fp32"], labels, protocol, "float"),
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


if __name__ == "__main__":
    sys.exit(main())
