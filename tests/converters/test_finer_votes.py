"""Votes in two roundings: found where they are, exact in float, finer in INT8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the step graph comes from a torch student")
pytest.importorskip("onnx", reason="the converter needs onnx")

from making.students import TINY, mel_of, random_student

from edge_ser.calibration import activation_ranges
from edge_ser.converters.cpu_step import WEIGHT_BITS, build_cpu_step
from edge_ser.converters.finer_votes import with_room_for_finer_votes
from edge_ser.converters.forms import FloatForm, Range, quantizable
from edge_ser.converters.step_graph import build_step, state_specs
from edge_ser.converters.stepping import logits_of
from edge_ser.converters.tensorrt_steps import tensorrt_step
from edge_ser.converters.weight_rounding import rounded_weights
from edge_ser.converters.weights import StepWeights, fold_student
from edge_ser.models import Student
from edge_ser.training.depth_evidence import DepthEvidence, with_depth_evidence

MELS = [mel_of(2.4, seed)[0].numpy() for seed in range(4)]
DOMAINS = ("emodb", "ravdess")


def student() -> Student:
    """Evidence whose weights nearly cancel, as those of a discriminant do."""
    rng = np.random.default_rng(1)
    votes, width = len(DOMAINS) * len(TINY.labels), 6 * TINY.trunk
    weight = rng.normal(0.0, 1.0, (votes, width))
    plain = random_student(TINY)
    with torch.no_grad():
        depths = torch.cat(plain(torch.from_numpy(np.stack(MELS))).depths, dim=1)
    moments = depths.transpose(0, 1).flatten(1).numpy().astype(np.float64)
    # Away from the directions in which the features vary most.
    values, axes = np.linalg.eigh(np.cov(moments))
    weight = weight @ axes / np.sqrt(values + values.max() * 1e-4) @ axes.T
    bias = -weight @ moments.mean(axis=1)
    deviation = (weight @ moments).std(axis=1)
    evidence = DepthEvidence(weight, bias, deviation, DOMAINS, (), ())
    return with_depth_evidence(plain, evidence)


@pytest.fixture(scope="module")
def plain() -> StepWeights:
    return fold_student(student())


def test_room_is_made_where_there_is_evidence_only(plain: StepWeights) -> None:
    room = with_room_for_finer_votes(plain)
    votes = len(DOMAINS) * len(TINY.labels)
    assert (plain.votes, room.votes) == (0, votes)
    assert len(room.fuse.bias) == TINY.fused + 4 * votes
    assert with_room_for_finer_votes(room) is room
    without = fold_student(random_student(TINY))
    assert with_room_for_finer_votes(without) is without
    # Features that the gate reads, or that are no pairs, are no votes.
    gate = plain.gate.weight.copy()
    gate[0, -1] = 0.1
    read = replace(plain, gate=replace(plain.gate, weight=gate))
    assert with_room_for_finer_votes(read) is read
    weight = plain.fuse.weight.copy()
    weight[-1] *= 1.1
    alone = replace(plain, fuse=replace(plain.fuse, weight=weight))
    assert with_room_for_finer_votes(alone) is alone


def test_the_float_step_says_the_same(plain: StepWeights) -> None:
    exact = logits_of(build_step(plain, FloatForm()), MELS, TINY.step_frames)
    room = build_step(with_room_for_finer_votes(plain), FloatForm())
    for a, b in zip(exact, logits_of(room, MELS, TINY.step_frames), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("form", ["cpu", "tensorrt"])
def test_rounded_votes_are_several_times_nearer(plain: StepWeights, form: str) -> None:
    reference = build_step(plain, FloatForm())
    exact = logits_of(reference, MELS, TINY.step_frames)
    found = activation_ranges(
        reference.onnx, state_specs(reference), quantizable(plain), MELS, TINY.step_frames
    )
    ranges = {name: Range(*span) for name, span in found.ranges.items()}
    means = {name: np.float32(values) for name, values in found.means.items()}

    def error(weights: StepWeights) -> float:
        """Of rounding the weights of the fusion alone, all else in float."""
        if form == "cpu":
            ready = rounded_weights(weights, means, WEIGHT_BITS, ranges)
        else:
            ready = rounded_weights(weights, means, 8)
        alone = replace(weights, fuse=ready.fuse)
        said = logits_of(build_step(alone, FloatForm()), MELS, TINY.step_frames)
        return float(np.mean([np.abs(a - b).mean() for a, b in zip(said, exact, strict=True)]))

    coarse, fine = error(plain), error(with_room_for_finer_votes(plain))
    assert fine < 0.2 * coarse
    # And both forms take the weights as they are.
    room = with_room_for_finer_votes(plain)
    if form == "cpu":
        model = build_cpu_step(rounded_weights(room, means, WEIGHT_BITS, ranges), ranges)
    else:
        model = tensorrt_step(rounded_weights(room, means, 8), ranges)
    assert np.isfinite(logits_of(model, MELS[:1], TINY.step_frames)[0]).all()


def test_a_fusion_that_is_kept_in_float_needs_none(plain: StepWeights) -> None:
    room = with_room_for_finer_votes(plain)
    reference = build_step(plain, FloatForm())
    found = activation_ranges(
        reference.onnx, state_specs(reference), quantizable(plain), MELS[:1], TINY.step_frames
    )
    means = {name: np.float32(values) for name, values in found.means.items()}
    kept = rounded_weights(room, means, WEIGHT_BITS, keep=("fuse",))
    np.testing.assert_array_equal(kept.fuse.weight, room.fuse.weight)
