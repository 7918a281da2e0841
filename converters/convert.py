"""Checkpoint to pack: export, calibrate, quantize, check each against the last, write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.calibration import RangeReport, activation_ranges, choose_clips, part_speakers
from edge_ser.calibration.confidence import softmax
from edge_ser.calibration.range_cache import cached_ranges, ranges_key
from edge_ser.calibration.sensitivity import measure_sensitivity
from edge_ser.converters.card import model_card
from edge_ser.converters.covariances import input_covariances
from edge_ser.converters.cpu_step import build_cpu_step
from edge_ser.converters.finer_votes import with_room_for_finer_votes
from edge_ser.converters.forms import FloatForm, quantizable
from edge_ser.converters.half import to_half
from edge_ser.converters.measured import Measured
from edge_ser.converters.pack_contents import golden_vectors, manifest_of
from edge_ser.converters.precision import Candidate, Choice, choose_precision, time_steps
from edge_ser.converters.report_page import render_report
from edge_ser.converters.request import Request
from edge_ser.converters.simulated import SimulatedForm, layer_names
from edge_ser.converters.step_graph import StepModel, build_step, state_specs
from edge_ser.converters.stepping import logits_of
from edge_ser.converters.tensorrt_steps import tensorrt_float_step, tensorrt_step
from edge_ser.converters.trt_lint import lint
from edge_ser.converters.weights import fold_student
from edge_ser.corpora import Clip
from edge_ser.errors import GateMissed, InputError
from edge_ser.frontend import LogMel
from edge_ser.metrics import score
from edge_ser.models.checkpoint import Checkpoint
from edge_ser.pack import Calibration, read_calibration, write_pack
from edge_ser.parity import Parity, compare, missed_gates

__all__ = ["Request", "convert", "state_specs"]

_TORCH_TOLERANCE = 1e-4
_OLDEST_TENSORRT = "8.5.0"

Say = Callable[[str], None]


def convert(
    checkpoint: Checkpoint,
    request: Request,
    out: Path,
    *,
    ignore_gates: bool = False,
    say: Say = lambda message: None,
) -> dict[str, Any]:
    """Write the pack ``out`` and return the conversion report, JSON-ready.

    Raises:
        InputError: the clips cannot serve (none, one label, speakers of the test set).
        GateMissed: a form differs too much from the one before it; nothing was written.
    """
    return _Conversion(checkpoint, request, say).run(out, ignore_gates)


class _Conversion:
    """One conversion: what its stages share."""

    def __init__(self, checkpoint: Checkpoint, request: Request, say: Say) -> None:
        _refuse_test_speakers(checkpoint, request.clips)
        self._checkpoint, self._request, self._say = checkpoint, request, say
        config = checkpoint.student.config
        self._labels, self._step_frames = config.labels, config.step_frames
        first, second, disjoint = part_speakers(request.clips, request.seed)
        ranged = choose_clips(first, request.n_calibration, request.seed)
        heard = set(ranged)
        judged = choose_clips(
            [clip for clip in second if clip not in heard] or second,
            request.n_parity,
            request.seed + 1,
        )
        say(f"reading {len(ranged)} + {len(judged)} clips")
        front_end = LogMel(checkpoint.frontend)
        self._front_end = front_end
        self._range_mels = [_mel(front_end, clip) for clip in ranged]
        self._mels = [_mel(front_end, clip) for clip in judged]
        if all(float(np.ptp(mel)) == 0.0 for mel in self._range_mels):
            raise InputError(
                f"all {len(ranged)} calibration clips are silent ({ranged[0].path}, …); ranges of "
                "silence would cut all speech off"
            )
        self._truth = [config.labels.index(clip.label) for clip in judged]
        self._weights = with_room_for_finer_votes(fold_student(checkpoint.student))
        self._reference = build_step(self._weights, FloatForm())
        self._calibration = _calibration_of(checkpoint)
        self._float_parity: Parity | None = None
        self._report: dict[str, Any] = {
            "clips": {
                "calibration": len(ranged),
                "parity": len(judged),
                "speaker_disjoint": disjoint,
                "calibration_speakers": sorted({clip.speaker for clip in ranged}),
                "seed": request.seed,
            }
        }

    def run(self, out: Path, ignore_gates: bool) -> dict[str, Any]:
        request, report, say = self._request, self._report, self._say
        say("checking the float graph against torch")
        report["checkpoint_error_vs_torch"] = self._check_against_torch()
        found = self._calibrate()
        exact = self._logits(self._reference)
        report["float"] = self._float_scores(exact)
        report["parity"], missed = {}, list[str]()
        models: dict[str, StepModel] = {}
        precision = "int8"
        if "cpu" in request.targets:
            keep = self._sensitivity(found)
            choice, models["cpu"] = self._choose(found, keep, exact, ignore_gates)
            precision, report["precision"] = choice.precision, choice.to_dict()
            missed += next(
                row["missed"] for row in choice.candidates if row["precision"] == precision
            )
        else:
            report["precision"], report["sensitivity"] = None, None
        for name in request.targets:
            if name != "cpu":
                models[name] = self._step(name, found)
        for name, model in (models | _half_steps(models)).items():
            if name == "cpu":
                continue
            parity = self._float_parity if name == "float" else None
            if parity is None:
                parity = self._compare(name, model, exact)
            report["parity"][name] = parity.to_dict()
            missed += missed_gates(name, parity, request.gates)
        if missed and not ignore_gates:
            raise GateMissed(
                f"{'; '.join(missed)}; no pack was written. Try another --calibration-method or "
                "more calibration clips, or write it all the same with --ignore-gates"
            )
        report["gates_missed"] = missed
        report["confidence"] = self._checkpoint.training.get("calibration")
        report["accuracy"] = self._accuracy(models)
        manifest = manifest_of(
            self._checkpoint, request, models, precision, self._calibration, report
        )
        say(f"writing {out}")
        files = {f"model.{name}.onnx": m.onnx.SerializeToString() for name, m in models.items()}
        files["golden.npz"] = golden_vectors(models, self._mels[0], self._step_frames)
        files["report.json"] = (json.dumps(report, indent=1) + "\n").encode()
        files["report.html"] = render_report(manifest, report).encode()
        files["model-card.md"] = model_card(manifest, report).encode()
        write_pack(manifest, files, out)
        return report

    def _float_scores(self, exact: list[NDArray[np.float32]]) -> dict[str, float]:
        """How well the float model hears the parity clips, whose speakers it may know.

        Agreement of a form with a model that has learnt nothing says nothing.
        """
        last = np.stack([logits[-1] for logits in exact])
        uar = float(score(self._truth, last, self._labels).uar)
        return {"uar": round(uar, 4), "chance": round(1 / len(self._labels), 4)}

    def _calibrate(self) -> Measured:
        request = self._request
        entry: dict[str, Any] = {"method": request.method, "clips": 0, "steps": 0, "ranges": {}}
        self._report["calibration"] = entry
        if not {"cpu", "tensorrt"} & set(request.targets):
            return Measured()
        self._say(f"measuring activation ranges ({request.method})")
        key = ranges_key(self._reference.onnx, self._range_mels, self._step_frames, request.method)
        ranges, kept = cached_ranges(request.cache, key, self._measure)
        if ranges.clips != len(self._range_mels):
            raise InputError(f"only {ranges.clips} of {len(self._range_mels)} clips were run")
        entry |= {
            "clips": ranges.clips,
            "steps": ranges.steps,
            "from_cache": kept,
            "ranges": {name: list(span) for name, span in ranges.ranges.items()},
        }
        self._say("measuring how the inputs of each layer vary together")
        covariances = input_covariances(
            self._reference, self._weights, self._range_mels, self._step_frames
        )
        return Measured.of(ranges, covariances)

    def _measure(self) -> RangeReport:
        return activation_ranges(
            self._reference.onnx,
            state_specs(self._reference),
            quantizable(self._weights),
            self._range_mels,
            self._step_frames,
            self._request.method,
        )

    def _sensitivity(self, found: Measured) -> tuple[str, ...]:
        """The layers to keep in higher precision, worst first."""
        mels = self._mels[: self._request.n_sensitivity]
        layers = layer_names(self._weights)
        self._say(f"rounding {len(layers)} layers one at a time on {len(mels)} clips")
        ready = found.for_cpu(self._weights)

        def run(inputs: frozenset[str], weights: frozenset[str]) -> list[NDArray[np.float32]]:
            model = build_step(self._weights, SimulatedForm(found.ranges, inputs, weights, ready))
            return logits_of(model, mels, self._step_frames)

        table = measure_sensitivity(layers, run, self._calibration.temperature)
        self._report["sensitivity"] = table.to_dict()
        return table.keep

    def _choose(
        self,
        found: Measured,
        keep: tuple[str, ...],
        exact: Sequence[NDArray[np.float32]],
        ignore_gates: bool,
    ) -> tuple[Choice, StepModel]:
        wanted = self._request.precision

        def rounded(name: str, kept: tuple[str, ...]) -> Candidate:
            weights = found.for_cpu(self._weights, kept)
            return Candidate(name, build_cpu_step(weights, found.ranges, kept), kept)

        makers: dict[str, Callable[[], Candidate]] = {
            "int8": lambda: rounded("int8", ()),
            "mixed": lambda: rounded("mixed", keep),
            "fp32": lambda: Candidate("fp32", build_step(self._weights, FloatForm(True))),
        }
        candidates = [make() for name, make in makers.items() if wanted in ("auto", name)]
        parities = {c.precision: self._compare(c.precision, c.model, exact) for c in candidates}
        self._say("timing " + ", ".join(c.precision for c in candidates))
        step_us = time_steps(candidates, self._checkpoint.frontend, self._labels, self._mels[0])
        choice = choose_precision(candidates, parities, step_us, self._request.gates, ignore_gates)
        self._say(choice.reason)
        model = next(c.model for c in candidates if c.precision == choice.precision)
        measured = {c.precision: self._report["parity"].pop(c.precision) for c in candidates}
        self._report["parity"]["cpu"] = measured[choice.precision]
        self._float_parity = parities.get("fp32")  # of the same graph as the target "float"
        return choice, model

    def _step(self, target: str, found: Measured) -> StepModel:
        if target == "float":
            return build_step(self._weights, FloatForm(half_weights=True))
        if target == "tensorrt":
            model = tensorrt_step(found.for_tensorrt(self._weights), found.ranges)
        else:
            model = tensorrt_float_step(self._weights)
        for finding in lint(model.onnx, "tensorrt", _OLDEST_TENSORRT):
            if finding.severity == "error":
                raise InputError(
                    f"TensorRT does not take node {finding.node} ({finding.operator}): "
                    f"{finding.message}"
                )
        return model

    def _logits(self, model: StepModel) -> list[NDArray[np.float32]]:
        return logits_of(model, self._mels, self._step_frames)

    def _compare(self, name: str, model: StepModel, exact: Sequence[NDArray[np.float32]]) -> Parity:
        self._say(f"parity of {name} on {len(self._mels)} clips")
        parity = compare(
            exact, self._logits(model), self._truth, self._labels, self._calibration.temperature
        )
        self._report["parity"][name] = parity.to_dict()
        return parity

    def _accuracy(self, models: dict[str, StepModel]) -> dict[str, Any] | None:
        """Figures of each form on speakers that were neither trained nor calibrated on."""
        clips = self._request.judge
        if not clips:
            return None
        self._say(f"accuracy on {len(clips)} clips of test speakers")
        mels = [_mel(self._front_end, clip) for clip in clips]
        truth = [self._labels.index(clip.label) for clip in clips]
        forms = {"float": self._reference, **{k: m for k, m in models.items() if k == "cpu"}}
        found = {}
        for name, model in forms.items():
            final = np.stack([rows[-1] for rows in logits_of(model, mels, self._step_frames)])
            found[name] = score(truth, softmax(final), self._labels).to_dict()
        return found

    def _check_against_torch(self) -> float:
        """Largest difference between the graph, step by step, and torch over the whole clip.

        In a logit; of those above 1, as a share of the largest of the clip: a few clips that
        are easy to tell apart bring logits of hundreds, and float32 keeps seven digits.
        """
        worst = 0.0
        for mel in self._mels[:8]:
            with torch.no_grad():
                whole = self._checkpoint.student(torch.from_numpy(mel[None])).logits[0].numpy()
            stepped = logits_of(self._reference, [mel], self._step_frames)[0]
            size = max(1.0, float(np.abs(whole).max()))
            worst = max(worst, float(np.abs(whole - stepped).max()) / size)
        if not worst <= _TORCH_TOLERANCE:
            raise GateMissed(
                f"the exported graph differs from torch by {worst:.2g} in a logit "
                f"(at most {_TORCH_TOLERANCE:g}); this is a fault of the exporter, please report it"
            )
        return worst


def _calibration_of(checkpoint: Checkpoint) -> Calibration:
    try:
        return read_calibration(checkpoint.training.get("calibration") or {})
    except (ValueError, TypeError) as error:
        raise InputError(f"the checkpoint's calibration makes no sense ({error})") from error


def _half_steps(models: dict[str, StepModel]) -> dict[str, StepModel]:
    """The FP16 networks that engines will be built from; the pack does not store them."""
    return {
        f"{name}+fp16": StepModel(to_half(model.onnx), model.states)
        for name, model in models.items()
        if name.startswith("tensorrt")
    }


def _refuse_test_speakers(checkpoint: Checkpoint, clips: Sequence[Clip]) -> None:
    tested = set(checkpoint.training.get("test_speakers", ()))
    heard = sorted({clip.speaker for clip in clips} & tested)
    if heard:
        raise InputError(
            f"{heard[0]} is a test speaker of this checkpoint; calibrating with it would spoil "
            "its test figures. Leave the test speakers out: add --without-test-speakers"
        )


def _mel(front_end: LogMel, clip: Clip) -> NDArray[np.float32]:
    return front_end.clip(load_mono(clip.path, front_end.spec.rate_hz))
