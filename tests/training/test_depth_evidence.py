"""The evidence of the depths: added where it belongs, right, and left out where it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from making.students import TINY, random_student

from edge_ser.corpora import Clip
from edge_ser.errors import InputError
from edge_ser.frontend import LogMelSpec
from edge_ser.models import Student, StudentConfig
from edge_ser.training.bank import FeatureBank
from edge_ser.training.depth_evidence import (
    DepthEvidence,
    _votes,
    add_depth_evidence,
    fit_depth_evidence,
    with_depth_evidence,
)
from edge_ser.training.discriminant import Discriminant
from edge_ser.training.shrinkage import Shrunken
from edge_ser.training.student import clip_logits, final_logits

SPEC = LogMelSpec()
LABELS = ("anger", "fear", "neutral")
CONFIG = StudentConfig(**{**TINY.to_dict(), "labels": LABELS, "dropout": 0.0})


def bank_of(corpora: Sequence[str], speakers: int = 5, per_label: int = 10) -> FeatureBank:
    """Clips whose label shows in which bands are loud, in each corpus in other bands."""
    rng = np.random.default_rng(0)
    features = {}
    for place, corpus in enumerate(corpora):
        for index in range(per_label * len(LABELS)):
            label = index % len(LABELS)
            mel = rng.normal(-6.0, 1.0, (SPEC.n_mels, 48 + 8 * (index % 3)))
            mel[6 * (label + len(LABELS) * place) :][:6] += 2.0
            mel[-4:] += 2.0 * place  # each corpus has its microphone
            speaker = f"{corpus}:{(index // len(LABELS)) % speakers}"
            clip = Clip(Path(f"{corpus}{index}.wav"), corpus, speaker, LABELS[label], "t")
            features[clip] = [[mel.astype(np.float16)]]
    return FeatureBank(SPEC, features)


def right(student: Student, bank: FeatureBank, clips: Sequence[Clip]) -> float:
    logits = final_logits(student, bank, clips, 8)
    return float(
        np.mean([LABELS[row.argmax()] == c.label for row, c in zip(logits, clips, strict=True)])
    )


@pytest.mark.parametrize(
    "corpora", [("emodb",), ("emodb", "ravdess"), ("emodb", "ravdess", "tess")]
)
def test_it_is_added_to_what_the_student_says(corpora: tuple[str, ...]) -> None:
    """Step by step: gated sums of the linear layer, over what was heard and the prior."""
    student, bank = random_student(CONFIG), bank_of(corpora)
    clips = list(bank.features)
    evidence = fit_depth_evidence(student, bank, clips, 0)
    wide = with_depth_evidence(student, evidence)
    assert wide.config.domains == len(corpora)
    for clip in clips[::17]:
        mel = torch.from_numpy(bank.clean(clip).astype(np.float32))[None]
        with torch.no_grad():
            output = student(mel)
            gate = torch.sigmoid(student.memory.gate(output.fused))
            depths = torch.cat(output.depths, dim=1)[0].double().numpy()
            moments = evidence.weight @ depths + evidence.bias[:, None]
            kept = student.memory.gathered(torch.from_numpy(moments)[None], gate.double())[0]
            found = wide(mel).logits[0].numpy()
        votes = (kept[:-1] / (kept[-1:] + student.memory.prior)).numpy()
        votes = votes.reshape(len(corpora), len(LABELS), -1).transpose(2, 0, 1)
        expected = (votes + output.logits[0].numpy()[:, None]).max(axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_it_knows_what_the_student_does_not() -> None:
    student, bank = random_student(CONFIG), bank_of(("emodb", "ravdess"), per_label=25)
    clips = list(bank.features)
    heard = [clip for clip in clips if not clip.speaker.endswith("4")]
    others = [clip for clip in clips if clip.speaker.endswith("4")]
    with torch.no_grad():
        student.classifier.weight.mul_(0.01)
    before = right(student, bank, others)
    after = right(add_depth_evidence(student, bank, heard, 0)[0], bank, others)
    assert before < 0.6
    assert after > 0.9


def test_a_vote_is_the_mean_of_its_fits_at_the_level_of_its_part() -> None:
    random = np.random.default_rng(0)

    def fit(n: int) -> Shrunken:
        drawn = (random.normal(size=size) for size in (5, (n, 5), n))
        mean, weight, bias = drawn
        return Shrunken(Discriminant(mean, np.full(5, 2.0), weight, bias), 0.5, 1.0)

    parts, joint = [(fit(3), fit(3)), (fit(3),)], fit(6)
    weight, bias = _votes(parts, joint)
    x = random.normal(size=(7, 5)).astype(np.float32)
    votes = (x @ weight.T + bias).reshape(7, 2, 3)
    levels = joint.discriminant(x).reshape(7, 2, 3).mean(axis=2)
    np.testing.assert_allclose(votes.mean(axis=2), levels)
    for k, fits in enumerate(parts):
        said = np.mean([one.discriminant(x) for one in fits], axis=0)
        expected = said - said.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(votes[:, k] - levels[:, k : k + 1], expected)
    alone, level = _votes(parts[:1], None)
    expected = np.mean([one.discriminant(x) for one in parts[0]], axis=0)
    np.testing.assert_allclose(x @ alone.T + level, expected)


def test_what_tells_labels_apart_is_fitted_on_their_corpus_and_on_all() -> None:
    student, bank = random_student(CONFIG), bank_of(("emodb", "ravdess"), per_label=25)
    clips = list(bank.features)
    evidence = fit_depth_evidence(student, bank, clips, 0)
    alone = fit_depth_evidence(student, bank, [c for c in clips if c.corpus == "emodb"], 0)
    assert [len(fits) for fits in evidence.shrinkages] == [2, 2]
    assert evidence.shrinkages[0][1:] == alone.shrinkages[0]
    assert evidence.level is not None
    assert alone.level is None


def test_each_vote_knows_its_corpus() -> None:
    student, bank = random_student(CONFIG), bank_of(("emodb", "ravdess"), per_label=25)
    evidence = fit_depth_evidence(student, bank, list(bank.features), 0)
    for clip in list(bank.features)[::7]:
        mel = torch.from_numpy(bank.clean(clip).astype(np.float32))[None]
        with torch.no_grad():
            output = student(mel)
            gate = torch.sigmoid(student.memory.gate(output.fused))
            depths = torch.cat(output.depths, dim=1)[0]
        mean = ((depths * gate[0]).sum(1) / gate.sum()).double().numpy()
        votes = (evidence.weight @ mean + evidence.bias).reshape(2, -1)
        assert ("emodb", "ravdess")[int(votes.mean(axis=1).argmax())] == clip.corpus


def test_a_corpus_of_two_speakers_keeps_votes_of_its_own() -> None:
    """They may lie in one inner fold, without which its labels cannot be judged."""
    student, large = random_student(CONFIG), bank_of(("emodb",), speakers=10, per_label=20)
    small = bank_of(("emodb", "ravdess"), speakers=2, per_label=10)
    features = {
        **large.features,
        **{c: v for c, v in small.features.items() if c.corpus != "emodb"},
    }
    bank = FeatureBank(SPEC, features)
    for seed in range(12):
        evidence = fit_depth_evidence(student, bank, list(bank.features), seed)
        assert evidence.domains == ("emodb", "ravdess"), seed


def test_it_begins_with_nothing_and_grows() -> None:
    """In silence the gate of a trained student is shut; here it is shut by hand."""
    student, bank = random_student(CONFIG), bank_of(("emodb",))
    evidence = fit_depth_evidence(student, bank, list(bank.features), 0)
    with torch.no_grad():
        student.memory.gate.weight.zero_()
        student.memory.gate.bias.fill_(-20.0)
    clips = list(bank.features)[:3]
    shut = clip_logits(with_depth_evidence(student, evidence), bank, clips, 8)
    for rows, own in zip(shut, clip_logits(student, bank, clips, 8), strict=True):
        np.testing.assert_allclose(rows, own, atol=1e-4)


def test_new_features_deviate_as_much_as_one_grid_can_take() -> None:
    student, bank = random_student(CONFIG), bank_of(("emodb", "ravdess"))
    wide, _ = add_depth_evidence(student, bank, list(bank.features), 0)
    with torch.no_grad():
        fused = torch.cat(
            [
                wide(torch.from_numpy(bank.clean(clip).astype(np.float32))[None]).fused[0]
                for clip in bank.features
            ],
            dim=1,
        )
    n_old, votes = CONFIG.fused, 2 * len(LABELS)
    signed = fused[n_old : n_old + votes] - fused[n_old + votes :]
    assert float(signed.std(dim=1).min()) > 0.5
    assert float(signed.std(dim=1).max()) < 2.0


@pytest.mark.parametrize("few", ["no clip", "one speaker"])
def test_a_corpus_with_too_few_of_a_label_shares_its_votes(few: str) -> None:
    student, bank = random_student(CONFIG), bank_of(("emodb", "ravdess"))
    rare = [c for c in bank.features if (c.corpus, c.label) == ("ravdess", "fear")]
    kept = [c for c in rare if few == "one speaker" and c.speaker.endswith("0")]
    clips = [c for c in bank.features if c not in rare or c in kept]
    wide, facts = add_depth_evidence(student, bank, clips, 0)
    assert wide.config.domains == 1
    assert facts is not None
    assert facts["domains"] == ["emodb+ravdess"]


def test_clips_that_are_all_alike_end_in_no_error_of_numpy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two speakers with a clip of each label: with one left out nothing varies within a label."""
    student, bank = random_student(CONFIG), bank_of(("emodb",), speakers=2, per_label=2)
    assert add_depth_evidence(student, bank, list(bank.features), 0) == (student, None)
    assert "evidence of the depths left out" in capsys.readouterr().err


def test_early_verdicts_are_learnt_too() -> None:
    """The label shows in the first second and is gone after it."""
    student, bank = random_student(CONFIG), bank_of(("emodb",))
    long = {}
    for clip, voices in bank.features.items():
        mel = voices[0][0]
        rest = np.full((SPEC.n_mels, 240), -6.0, np.float16)
        long[clip] = [[np.concatenate([mel[:, :48], rest], axis=1)]]
    bank = FeatureBank(SPEC, long)
    wide, _ = add_depth_evidence(student, bank, list(long), 0)
    own = clip_logits(student, bank, list(long), 8)
    rows = clip_logits(wide, bank, list(long), 8)
    added = [(a - b)[12] for a, b in zip(rows, own, strict=True)]
    told = [LABELS[row.argmax()] == clip.label for row, clip in zip(added, long, strict=True)]
    assert np.mean(told) > 0.9


def test_it_is_not_added_twice() -> None:
    student, bank = random_student(CONFIG), bank_of(("emodb", "ravdess"))
    evidence = fit_depth_evidence(student, bank, list(bank.features), 0)
    wide = with_depth_evidence(student, evidence)
    with pytest.raises(ValueError, match="2 domains already"):
        with_depth_evidence(wide, evidence)


@pytest.mark.parametrize(
    ("speakers", "left_out", "reason"),
    [(1, (), "label has no clip"), (5, ("fear",), "a label has no training clip")],
)
def test_without_enough_to_fit_on_the_student_stays_and_it_is_told(
    capsys: pytest.CaptureFixture[str], speakers: int, left_out: tuple[str, ...], reason: str
) -> None:
    student, bank = random_student(CONFIG), bank_of(("emodb",), speakers)
    clips = [clip for clip in bank.features if clip.label not in left_out]
    assert add_depth_evidence(student, bank, clips, 0) == (student, None)
    told = capsys.readouterr().err
    assert "evidence of the depths left out" in told
    assert reason in told
    with pytest.raises(InputError):
        fit_depth_evidence(student, bank, clips, 0)


def test_evidence_of_nothing_changes_nothing() -> None:
    student, bank = random_student(CONFIG), bank_of(("emodb",))
    zero = DepthEvidence(
        np.zeros((3, 6 * CONFIG.trunk)),
        np.zeros(3),
        np.ones(3),
        ("emodb",),
        shrinkages=((0.5,),),
        temperatures=((1.0,),),
    )
    clips = list(bank.features)[:4]
    own = final_logits(student, bank, clips, 8)
    wide = with_depth_evidence(student, zero)
    np.testing.assert_allclose(final_logits(wide, bank, clips, 8), own, atol=1e-5)
