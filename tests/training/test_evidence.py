"""Evidence: adds up to verdicts, fades as memory does, honest in its temperature."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ser.training.evidence import Evidence, EvidenceScale, clip_means, speech_weight, vote

RNG = np.random.default_rng(0)


def evidence(n: int = 50, span: float = 20.0) -> Evidence:
    logits = RNG.normal(0.0, 3.0, (n, 2, 4)).astype(np.float32)
    return Evidence(logits, speech_weight(n, (30, 90), 0.4), span)


@pytest.mark.parametrize("first", [0, 17])
def test_what_was_heard_so_far_is_a_mean_that_fades_with_what_is_heard(first: int) -> None:
    one = evidence()
    running, _ = one.running(first)
    assert running.shape == (50 - first, 2, 4)
    memory, mass = np.zeros((2, 4)), 0.0
    for n, (logits, weight) in enumerate(zip(one.logits[first:], one.weight[first:], strict=True)):
        keep = np.exp(-weight / one.span)
        memory, mass = memory * keep + weight * logits, mass * keep + weight
        np.testing.assert_allclose(running[n], memory / mass, rtol=1e-4, atol=1e-4)


def test_nothing_is_known_before_speech_begins() -> None:
    one = evidence()
    _, known = one.running(0)
    begin = int(30 * 0.4)
    assert not known[:begin].any()
    assert known[begin + 2 :].all()
    assert one.running(begin + 5)[1][1:].all()


def test_the_mean_of_the_evidence_is_the_verdict_on_the_mean() -> None:
    """Of any linear classifier: what lets a verdict be taught moment by moment."""
    states, weight = RNG.normal(size=(50, 8)), RNG.normal(size=(4, 8))
    span = speech_weight(50, (30, 90), 0.4)
    one = Evidence((states @ weight.T)[:, None].astype(np.float32), span, 20.0)
    whole = np.average(states, axis=0, weights=span) @ weight.T
    np.testing.assert_allclose(clip_means([one])[0, 0], whole, rtol=1e-4, atol=1e-5)


def test_the_temperature_makes_loud_classifiers_honest() -> None:
    truth = RNG.integers(0, 4, 2000)
    honest = RNG.normal(0.0, 1.5, (2000, 4))
    truth = np.array([RNG.choice(4, p=vote(row[None])) for row in honest])
    loud = (5.0 * honest[:, None]).astype(np.float32)
    scale = EvidenceScale.fit(loud, loud, truth)
    assert scale.temperature == pytest.approx(5.0, rel=0.15)
    assert scale(loud).std(axis=0) == pytest.approx(1.0, abs=1e-3)
    assert scale.verdict(loud).sum(axis=-1) == pytest.approx(1.0, abs=1e-5)


def test_layers_vote_with_probabilities() -> None:
    sure, torn = [9.0, 0.0, 0.0], [0.0, 0.5, 0.0]
    share = vote(np.array([sure, torn, torn], np.float32))
    assert share.argmax() == 0
