"""Write the results page from the JSON of training runs.

    python -m benchmarks.results RUN … --out docs/results/README.md --keep docs/results

RUN is the folder of a run, the --out of its training, whose name its row gets, or its results.json.
A run of which only some folds are there is shown with those folds: give its folder, not that of a
fold. ``--keep`` stores what the page needs of each run, from which the page can be
made again: ``python -m benchmarks.results docs/results/*.json --notes docs/results/notes.md
--out docs/results/README.md``.
Every figure on the page comes from a run's own JSON; each row has its command.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_ser.errors import EdgeSerError, InputError, MissingExtra
from edge_ser.files import replace_file, write_text

__all__ = ["learnt", "main", "page"]

# What the publications state, in percent; neither says how its folds were made.
PUBLISHED = {
    ("depth-weighted", "emodb"): ("accuracy", 96.58),
    ("depth-weighted", "ravdess"): ("accuracy", 93.73),
    ("depth-weighted", "kesdy18"): ("accuracy", 87.17),
    ("cross-attention", "iemocap"): ("accuracy", 74.6),
}
SOURCES = {
    "depth-weighted": "Kakuba and Han, ICUFN 2025",
    "cross-attention": "Deeb, Savchenko and Makarov, IEEE Access 2025",
}
BASELINES = ("baseline-egemaps", "baseline-encoder")
KEYS = ("accuracy", "uar", "macro_f1")
NOTES = {
    "random": "speakers overlap between training and test: flattering, kept for comparison "
    "with published work only",
    "speaker-independent": "no speaker of the test part is heard in training",
    "leave-one-speaker-out": "one fold per speaker",
    "leave-one-session-out": "one fold per session of two speakers",
    "held-out-corpus": "trained on all other corpora: speakers and rooms are new",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and its figures; 0, or 2 with a line on stderr."""
    parser = argparse.ArgumentParser(prog="benchmarks.results", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folders of runs, or kept JSON"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="store the runs' JSON there")
    parser.add_argument(
        "--notes", type=Path, metavar="FILE.md", help="words to put under the tables"
    )
    options = parser.parse_args(argv)
    try:
        runs = sorted((_read(path) for path in options.runs), key=lambda run: str(run["name"]))
        names = [run["name"] for run in runs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"two runs are named {twice!r}: rows and figures could not be told apart"
            )
        for run in runs if options.keep else []:
            kept = {key: value for key, value in run.items() if key != "calibration"}
            write_text(options.keep / f"{run['name']}.json", json.dumps(kept, indent=1) + "\n")
        figures = _figures(runs, options.out.parent / "figures")
        notes = options.notes.read_text().strip() if options.notes else ""
        write_text(options.out, page(runs, figures, notes))
    except OSError as error:
        print(f"results: {options.notes}: cannot be read ({error.strerror})", file=sys.stderr)
        return 2
    except EdgeSerError as error:
        print(f"results: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir() and not (path / "results.json").exists():
        parts = sorted(
            path.glob("fold*/results.json"), key=lambda part: (len(part.parent.name), part)
        )
        if parts:
            return _joined([_read(part) for part in parts], path.name)
    path = path / "results.json" if path.is_dir() else path
    try:
        run: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such results; has the run finished all folds?") from None
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error})") from error
    lacking = [key for key in ("protocol", "corpora", "labels", "seed") if key not in run]
    if lacking:
        raise InputError(f"{path}: has no {lacking[0]!r}, so it was not written by edge-ser train")
    run.setdefault("model", "student")
    folder = path.resolve().parent
    if re.fullmatch(r"fold\w+", folder.name):  # a run of one fold is named after its folder
        folder = folder.parent
    run["name"] = run.get("name", folder.name)
    run["command"] = _portable(run.get("command", "edge-ser train student"))
    return run


def _joined(folds: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """One report of folds that were trained one at a time, of those that are there."""
    run = {**folds[0], "name": name, "corpora": {}}
    if len(folds) > 1:  # one command without the flag stands for all of them
        run["command"] = re.sub(r" --fold \d+", "", run["command"])
    for corpus in folds[0]["corpora"]:
        each = [fold["corpora"][corpus] for fold in folds]
        figures = [figure for one in each for figure in one["folds"]]
        matrices = [one["pooled"]["confusion"]["matrix"] for one in each]
        matrix = [
            [sum(cells) for cells in zip(*rows, strict=True)]
            for rows in zip(*matrices, strict=True)
        ]
        run["corpora"][corpus] = {
            "folds": figures,
            "mean": {key: statistics.fmean(f[key] for f in figures) for key in KEYS},
            "sd": {key: statistics.pstdev([f[key] for f in figures]) for key in KEYS},
            "pooled": {
                "n": sum(map(sum, matrix)),
                "confusion": {"labels": run["labels"], "matrix": matrix},
            },
        }
        if all("parts" in one for one in each):
            run["corpora"][corpus]["parts"] = {
                part: {key: statistics.fmean(o["parts"][part][key] for o in each) for key in KEYS}
                for part in each[0]["parts"]
            }
    return run


def _portable(command: str) -> str:
    """The command with DIR for the folders of the machine that it ran on."""
    # --flag=value is --flag value.
    parted = (part for word in shlex.split(command) for part in _at_equals(word))
    words, kept = iter(parted), []
    for word in words:
        if word in ("--data", "--extra"):
            kept += [word, next(words).split("=")[0] + "=DIR"]
        elif word == "--out":
            kept += [word, f"runs/{Path(next(words)).name}"]
        elif word == "--encoder":
            encoder = next(words)
            kept += [word, Path(encoder).name if Path(encoder).is_absolute() else encoder]
        elif word == "--cache":
            next(words)
        elif word != "--resume":
            kept.append(word)
    return " ".join(kept)


def _at_equals(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--") else [word]


def page(
    runs: Sequence[dict[str, Any]], figures: dict[tuple[str, str], str], notes: str = ""
) -> str:
    """The page as Markdown.

    Args:
        runs: reports of ``edge-ser train``, each with a ``name``.
        figures: confusion figures by run name and corpus, relative to the page.
        notes: words of the author, under the tables.
    """
    lines = [
        "# Results",
        "",
        "Made by `python -m benchmarks.results` from the JSON of the runs; do not edit by hand.",
        "",
        "Figures are mean ± standard deviation over the folds (divided by their number), in "
        "percent. UAR is the mean recall of the labels. No epoch or threshold was chosen on test "
        "clips. “Training clips” is the accuracy of the network on all the clips that it learnt "
        "from: where it is low too, too little was learnt (–: the run did not record it).",
    ]
    for protocol in sorted({run["protocol"] for run in runs}):
        lines += ["", f"## {protocol}", "", NOTES.get(protocol, "").capitalize() + ".", ""]
        for corpus in sorted({c for run in runs for c in run["corpora"]}):
            rows = [r for r in runs if r["protocol"] == protocol and corpus in r["corpora"]]
            for labels in sorted({tuple(run["labels"]) for run in rows}):
                same = [run for run in rows if tuple(run["labels"]) == labels]
                lines += _table(corpus, labels, same, figures)
    lines += ["", "## Commands", ""]
    for run in runs:
        lines += [f"- `{run['name']}`: `{run['command']}`"]
    lines += ["", *_about_the_publications(runs), ""]
    if notes:
        lines += [notes, ""]
    return "\n".join(lines)


def _table(
    corpus: str,
    labels: tuple[str, ...],
    runs: Sequence[dict[str, Any]],
    figures: dict[tuple[str, str], str],
) -> list[str]:
    lines = [
        f"### {corpus}, {len(labels)} labels",
        "",
        ", ".join(labels),
        "",
        "| run | model | parameters | folds | clips | accuracy | UAR | macro F1 | training clips |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in sorted(runs, key=lambda run: -run["corpora"][corpus]["mean"]["uar"]):
        figures_of = run["corpora"][corpus]
        size = run.get("parameters")
        cells = [
            run["name"],
            run["model"],
            f"{size / 1000:,.0f} k" if size else "–",
            _folds(run, len(figures_of["folds"])),
            str(figures_of["pooled"]["n"]),
            *(
                f"{100 * figures_of['mean'][key]:.1f} ± {100 * figures_of['sd'][key]:.1f}"
                for key in ("accuracy", "uar", "macro_f1")
            ),
            learnt(figures_of["folds"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
        for part, alone in figures_of.get("parts", {}).items():
            shown = " | ".join(f"{100 * alone[key]:.1f}" for key in KEYS)
            lines.append(f"| – its {part} part alone | | | | | {shown} | |")
    lines += _above_the_baselines(corpus, runs)
    for run in runs:
        figure = figures.get((run["name"], corpus))
        if figure:
            lines += ["", f"![Confusion of {run['name']} on {corpus}]({figure})"]
    return [*lines, ""]


def learnt(folds: Sequence[dict[str, Any]]) -> str:
    """Accuracy of the network on the clips that it learnt from, in percent."""
    told = [fold["train_accuracy"] for fold in folds if "train_accuracy" in fold]
    return f"{100 * statistics.fmean(told):.1f}" if told else "–"


def _folds(run: dict[str, Any], n: int) -> str:
    """How many folds there are, and of how many where some are missing."""
    told = re.search(r"--folds (\d+)", run["command"])
    whole = int(told[1]) if told else 4
    one_each = run["protocol"].startswith(("leave-one-", "held-out-"))
    return str(n) if one_each or n >= whole else f"{n} of {whole} (the others were not run)"


def _above_the_baselines(corpus: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    uar = {run["name"]: run["corpora"][corpus]["mean"]["uar"] for run in runs}
    linear = [run for run in runs if run["model"] in BASELINES]
    if not linear:
        return []
    best = max(linear, key=lambda run: uar[run["name"]])
    return [
        "",
        *(
            f"{run['name']} is {100 * (uar[run['name']] - uar[best['name']]):+.1f} points of UAR "
            f"from the best linear baseline here ({best['name']})."
            for run in runs
            if run not in linear
        ),
    ]


def _about_the_publications(runs: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "## Beside the publications",
        "",
        "Both models are reconstructions: only the abstracts are public, without layer sizes, "
        "features, folds or code. Their numbers lie where random splits of the same corpora lie.",
        "",
        "| model | corpus | published | our run | its protocol | ours | |",
        "|---|---|---|---|---|---|---|",
    ]
    for (model, corpus), (key, published) in PUBLISHED.items():
        ours = [r for r in runs if r["model"] == model and corpus in r["corpora"]]
        if not ours:
            lines.append(
                f"| {model} ({SOURCES[model]}) | {corpus} | {published} | – | – | not run | "
                "the corpus is not at hand or the run is not on this page |"
            )
        for run in ours:
            value = 100 * run["corpora"][corpus]["mean"][key]
            remark = "reached" if value >= published else f"{published - value:.1f} points short"
            if run["protocol"] != "random":
                remark += "; a harder protocol than a random split"
            lines.append(
                f"| {model} ({SOURCES[model]}) | {corpus} | {published} | {run['name']} | "
                f"{run['protocol']}, {len(run['labels'])} labels | {value:.1f} | {remark} |"
            )
    return lines


def _figures(runs: Sequence[dict[str, Any]], folder: Path) -> dict[tuple[str, str], str]:
    """Draw the confusion of each run and corpus, over all folds."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "semantic", "draw confusion figures") from None
    drawn = {}
    for run in runs:
        for corpus, figures_of in run["corpora"].items():
            confusion = figures_of["pooled"]["confusion"]
            labels, matrix = confusion["labels"], confusion["matrix"]
            figure = Figure(figsize=(4.6, 4.2), layout="constrained")
            axes = figure.subplots()
            shares = [[n / max(1, sum(row)) for n in row] for row in matrix]
            axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
            axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
            axes.set_yticks(range(len(labels)), labels)
            axes.set_xlabel("recognised")
            axes.set_ylabel("true")
            axes.set_title(f"{run['name']}: {corpus}, {run['protocol']}", fontsize=9)
            for y, row in enumerate(matrix):
                for x, n in enumerate(row):
                    color = "white" if shares[y][x] > 0.5 else "black"
                    axes.text(x, y, str(n), ha="center", va="center", fontsize=8, color=color)
            path = folder / f"confusion-{run['name']}-{corpus}.svg"
            # With a salt of its own the same figure is the same file.
            with rc_context({"svg.hashsalt": path.name}), replace_file(path) as file:
                figure.savefig(file, format="svg", metadata={"Date": None})
            drawn[run["name"], corpus] = f"figures/{path.name}"
    return drawn


if __name__ == "__main__":
    sys.exit(main())
