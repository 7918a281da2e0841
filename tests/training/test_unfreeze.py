"""The top blocks of a speech encoder trained with the model that hears them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
for package in ("lightning_fabric", "librosa", "soundfile", "onnx"):
    pytest.importorskip(package)

from making.encoder import waveform_model
from making.pitched import emotions_by_pitch
from safetensors import safe_open

from edge_ser.cli import main
from edge_ser.errors import UsageError
from edge_ser.training.semantic import TransformersEncoder, unfrozen_top

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 32, "conv_dim": (8, 8), "conv_stride": (20, 16),
    "conv_kernel": (25, 16), "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def save(folder: Path, kind: str, **more: object) -> Path:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **more)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "more",
    [{}, {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}],
    ids=["norms within", "a norm at the end"],
)
def test_before_any_step_the_states_are_the_frozen_ones(
    tmp_path: Path, more: dict[str, object]
) -> None:
    encoder = TransformersEncoder(str(save(tmp_path, "Hubert", **more)))
    wave = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    frozen = torch.from_numpy(encoder(wave).astype(np.float32)).transpose(1, 2)[None]
    blanked = frozen.clone()
    blanked[:, 2:] = 0.0  # of layers 0 to 3 the last two are found from layer 1
    beyond = torch.nn.functional.pad(blanked, (0, 9), value=5.0)
    mask = torch.arange(beyond.shape[-1])[None] < frozen.shape[-1]
    top = encoder.top(2).eval()
    with torch.no_grad():
        anew = top(beyond, mask)[..., : frozen.shape[-1]]
    torch.testing.assert_close(anew, frozen, atol=0.01, rtol=0.01)


def test_what_cannot_be_unfrozen_is_told(tmp_path: Path) -> None:
    hubert = str(save(tmp_path / "hubert", "Hubert"))
    for layers, n in (((0, 1), 1), ((0, 3), 1), (None, 4)):
        with pytest.raises(UsageError, match="see --layers"):
            unfrozen_top(hubert, n, layers)
    assert len(unfrozen_top(hubert, 1, (0, 2, 3)).blocks) == 1
    wavlm = str(save(tmp_path / "wavlm", "WavLM"))
    with pytest.raises(UsageError, match="share their positions"):
        unfrozen_top(wavlm, 1, None)
    onnx_file = waveform_model(tmp_path / "encoder.onnx")
    with pytest.raises(UsageError, match="only a transformers model"):
        unfrozen_top(str(onnx_file), 1, None)


def test_only_the_top_is_trained_and_at_its_own_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = emotions_by_pitch(tmp_path / "emodb", "ab")
    folder = save(tmp_path / "hubert", "Hubert")
    before = TransformersEncoder(str(folder)).model.encoder.layers[2].state_dict()
    moved = []
    for rate in ("1e-5", "1e-3"):
        words = [
            "train", "cross-attention", "--data", f"emodb={corpus}", "--labels",
            "anger,neutral,sadness", "--folds", "2", "--fold", "0", "--out", str(tmp_path / rate),
            "--cache", str(tmp_path / "cache"), "--encoder", str(folder), "--width", "16",
            "--epochs", "2", "--ema", "0", "--unfreeze", "1", "--unfreeze-rate", rate, "--json",
        ]  # fmt: skip
        assert main(words) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["recipe"]["unfreeze"] == 1
        with safe_open(tmp_path / rate / "fold0" / "member0.safetensors", "pt") as file:
            tuned = {key: file.get_tensor(key) for key in file.keys() if "tuned" in key}  # noqa: SIM118
        assert {key.split(".")[2] for key in tuned} == {"0"}  # one block
        changes = [
            float((tensor - before[key.split(".", 3)[3]]).abs().max())
            for key, tensor in tuned.items()
        ]
        assert max(changes) > 0
        moved.append(max(changes))
    assert 20 < moved[1] / moved[0] < 500
