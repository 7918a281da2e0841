"""The closed-form last layer: right, folded right, and quiet about clips it cannot use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("sklearn", reason="the discriminants need scikit-learn")

from making.students import TINY, random_student

from edge_ser.corpora import Clip
from edge_ser.frontend import LogMelSpec
from edge_ser.models import StudentConfig
from edge_ser.training.bank import FeatureBank
from edge_ser.training.discriminant import linear_classifier
from edge_ser.training.readout import fit_readout
from edge_ser.training.student import final_logits

SPEC = LogMelSpec()


def bank_of(labels: tuple[str, ...]) -> FeatureBank:
    """Clips whose label shows in which mel bands are loud; one label more than ``labels``."""
    rng = np.random.default_rng(0)
    features = {}
    for index, label in enumerate([*labels, "boredom"] * 8):
        mel = rng.normal(-6.0, 1.0, (SPEC.n_mels, 48 + 8 * (index % 3)))
        mel[10 * (index % (len(labels) + 1)) :][:10] += 2.0
        clip = Clip(Path(f"{index}.wav"), "emodb", f"emodb:{index % 5}", label, "t")
        features[clip] = [[mel.astype(np.float16)]]
    return FeatureBank(SPEC, features)


@pytest.mark.parametrize("labels", [("anger", "fear", "neutral"), ("anger", "neutral")])
def test_the_layer_says_what_the_discriminants_say(labels: tuple[str, ...]) -> None:
    config = StudentConfig(**{**TINY.to_dict(), "labels": labels})
    student, bank = random_student(config), bank_of(labels)
    clips = list(bank.features)
    fit_readout(student, bank, clips)
    used = [clip for clip in clips if clip.label in labels]
    logits = final_logits(student, bank, used, 8)
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = exponent / exponent.sum(axis=1, keepdims=True)
    truth = np.array([labels.index(clip.label) for clip in used])
    assert np.mean(shares.argmax(axis=1) == truth) > 0.9
    with torch.no_grad():
        pooled = np.stack(
            [
                student(torch.from_numpy(bank.clean(clip).astype(np.float32))[None])
                .pooled[0, :, -1]
                .numpy()
                for clip in used
            ]
        )
    expected = linear_classifier(len(labels)).fit(pooled, truth).predict_proba(pooled)
    np.testing.assert_allclose(shares, expected, atol=2e-3)
