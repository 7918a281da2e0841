from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_ser.corpora import Clip
from edge_ser.errors import InputError, OutputError, UsageError
from edge_ser.frontend import LogMel, LogMelSpec

soundfile = pytest.importorskip("soundfile")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from making.encoder import waveform_model
from safetensors.numpy import load_file, save_file

from edge_ser.training import extract as extracting
from edge_ser.training.bank import FeatureBank
from edge_ser.training.extract import Copies, extract
from edge_ser.training.semantic import (
    OrtEncoder,
    TransformersEncoder,
    open_encoder,
)

RATE = 16_000


def as_ort(path: Path) -> Path:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".ort"))
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return path.with_suffix(".ort")


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


def write_clips(folder: Path, n: int) -> list[Clip]:
    clips = []
    for index in range(n):
        path = folder / f"{index:02d}.wav"
        soundfile.write(path, speech(0.5, seed=index), RATE)
        clips.append(Clip(path, "emodb", "emodb:03", "anger", "a01"))
    return clips


def test_ort_and_onnx_files_give_the_same_states(tmp_path: Path) -> None:
    onnx_file = waveform_model(tmp_path / "encoder.onnx")
    plain, ort = OrtEncoder(onnx_file), OrtEncoder(as_ort(onnx_file))
    samples = speech(1.0)
    assert (plain.n_layers, plain.width, plain.frame_rate_hz) == (3, 8, 50.0)
    assert (ort.n_layers, ort.width, ort.frame_rate_hz) == (3, 8, 50.0)
    assert plain(samples).shape == (3, 49, 8)
    np.testing.assert_allclose(plain(samples), ort(samples), atol=1e-3)
    assert plain.identity != ort.identity


def test_states_are_those_between_the_blocks(tmp_path: Path) -> None:
    encoder = OrtEncoder(as_ort(waveform_model(tmp_path / "encoder.onnx")))
    import onnx
    from onnx import numpy_helper

    stored = {
        t.name: numpy_helper.to_array(t)
        for t in onnx.load(tmp_path / "encoder.onnx").graph.initializer
    }
    states = encoder(speech(1.0)).astype(np.float32)
    for layer in (0, 1):
        x = states[layer]
        centred = x - x.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(
            states[layer + 1], x + normed @ stored[f"w{layer}"], atol=0.05, rtol=0.01
        )


def test_chosen_layers_and_short_clips(tmp_path: Path) -> None:
    path = waveform_model(tmp_path / "encoder.onnx")
    every, last = OrtEncoder(path), OrtEncoder(path, layers=[2])
    np.testing.assert_array_equal(every(speech(0.7))[2:], last(speech(0.7)))
    assert last(np.zeros(3, np.float32)).shape[1] >= 1
    with pytest.raises(UsageError, match="layers 0 to 2, not 7"):
        OrtEncoder(path, layers=[7])


def test_wrong_encoder_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_encoder(str(tmp_path / "none.ort"))
    for name in ("noise.ort", "noise.onnx"):
        (tmp_path / name).write_bytes(b"this is no model at all")
        with pytest.raises(InputError, match="not a"):
            open_encoder(str(tmp_path / name))
    with pytest.raises(UsageError):
        open_encoder("")


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hubert")
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(25, 16),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    transformers.HubertModel(config).save_pretrained(folder)
    return folder


def test_transformers_encoder_from_a_folder(hubert: Path) -> None:
    encoder = open_encoder(str(hubert))
    assert isinstance(encoder, TransformersEncoder)
    assert (encoder.n_layers, encoder.width, encoder.frame_rate_hz) == (3, 16, 50.0)
    states = encoder(speech(1.0))
    assert states.shape[0] == 3
    assert states.shape[2] == 16
    assert np.isfinite(states.astype(np.float32)).all()
    with torch.no_grad():
        wave = torch.from_numpy(speech(1.0))[None]
        expected = encoder.model(wave, output_hidden_states=True).hidden_states[1][0]
    np.testing.assert_allclose(states[1], expected.numpy(), atol=5e-3)


def test_weights_decide_the_identity(hubert: Path, tmp_path: Path) -> None:
    encoder = TransformersEncoder(str(hubert))
    with torch.no_grad():
        next(encoder.model.parameters()).add_(1.0)
    encoder.model.save_pretrained(tmp_path / "other")
    assert TransformersEncoder(str(tmp_path / "other")).identity != encoder.identity
    assert TransformersEncoder(str(hubert)).identity == encoder.identity


def test_broken_encoder_folders_are_refused(hubert: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        open_encoder(str(bare))
    (bare / "config.json").write_text((hubert / "config.json").read_text())
    with pytest.raises(InputError, match="holds no weights"):
        open_encoder(str(bare))
    (bare / "model.safetensors").write_bytes((hubert / "model.safetensors").read_bytes())
    (bare / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 48_000}))
    with pytest.raises(InputError, match="trained at 48000 Hz"):
        open_encoder(str(bare))
    (bare / "preprocessor_config.json").write_text("[48000]")
    with pytest.raises(InputError, match="holds no settings"):
        open_encoder(str(bare))
    (bare / "preprocessor_config.json").unlink()
    weights = load_file(bare / "model.safetensors")
    damaged = {name: np.nan * value for name, value in weights.items()}
    part = dict(sorted(weights.items())[::2])
    for content, message in ((damaged, "no finite numbers"), (part, "of the model's weights")):
        save_file(content, bare / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match=message):
            open_encoder(str(bare))
    (bare / "model.safetensors").write_bytes((hubert / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be loaded"):
        open_encoder(str(bare))


def test_models_without_states_over_time_are_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    def model(nodes: list, samples: str | int, output: list) -> str:
        graph = helper.make_graph(
            nodes,
            "mean",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", samples])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        )
        opset = helper.make_opsetid("", 17)
        save(helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "m.onnx")
        return str(tmp_path / "m.onnx")

    mean = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)
    with pytest.raises(InputError, match=r"shape \(1, 1\)"):
        open_encoder(model([mean], "n", ["b", 1]))
    with pytest.raises(InputError, match="does not run on a waveform of 4 s"):
        open_encoder(model([mean], RATE, ["b", 1]))


def test_weights_of_another_model_are_refused(hubert: Path, tmp_path: Path) -> None:
    """transformers would fill what is missing with chance."""
    from safetensors.torch import load_file, save_file

    weights = load_file(hubert / "model.safetensors")
    (tmp_path / "config.json").write_text((hubert / "config.json").read_text())
    fewer = {name: tensor for name, tensor in weights.items() if "layers.1." not in name}
    save_file(fewer, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks \d+ of the model's weights"):
        open_encoder(str(tmp_path))
    whole = (hubert / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be loaded"):
        open_encoder(str(tmp_path))


class Spectrum:
    identity = "spectrum"
    rate_hz = RATE

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.abs(np.fft.rfft(samples[:320])).astype(np.float32)


def test_features_are_computed_once(tmp_path: Path) -> None:
    clips, extractor = write_clips(tmp_path, 3), Spectrum()
    first = extract(clips, extractor, tmp_path / "cache")
    assert extractor.calls == 3
    again = extract(clips, extractor, tmp_path / "cache")
    assert extractor.calls == 3
    for clip in clips:
        np.testing.assert_array_equal(first[clip][0], again[clip][0])
    soundfile.write(clips[0].path, speech(0.5, seed=9), RATE)  # a changed file is a new clip
    extract(clips, extractor, tmp_path / "cache")
    assert extractor.calls == 4


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, extractor = write_clips(tmp_path, 4), Spectrum()
    real = extracting.load_mono

    def fails_at_the_third(path: Path, rate_hz: int) -> np.ndarray:
        if path == clips[2].path:
            raise KeyboardInterrupt
        return real(path, rate_hz)

    monkeypatch.setattr(extracting, "load_mono", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        extract(clips, extractor, tmp_path / "cache")
    monkeypatch.undo()
    assert len(extract(clips, extractor, tmp_path / "cache")) == 4
    assert extractor.calls == 4  # two before the kill, two after


def test_a_full_disk_is_named_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, extractor = write_clips(tmp_path, 2), Spectrum()
    extract(clips[:1], extractor, tmp_path / "cache")
    monkeypatch.setattr(
        np, "savez", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OutputError, match="No space left on device"):
        extract(clips, extractor, tmp_path / "cache")
    monkeypatch.undo()
    assert not list((tmp_path / "cache").rglob(".*"))
    extract(clips, extractor, tmp_path / "cache")
    assert extractor.calls == 3  # the second clip twice: its file could not be written


def test_a_damaged_cache_file_is_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips, extractor = write_clips(tmp_path, 1), Spectrum()
    extract(clips, extractor, tmp_path / "cache")
    (stored,) = (tmp_path / "cache").rglob("*.npz")
    whole = stored.read_bytes()
    encrypted = bytearray(whole)
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    for calls, content in enumerate((b"torn", encrypted, whole[:-40]), start=2):
        stored.write_bytes(content)
        extract(clips, extractor, tmp_path / "cache")
        assert extractor.calls == calls
        assert "damaged" in capsys.readouterr().err
        assert stored.read_bytes() == whole


def test_unreadable_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = write_clips(tmp_path, 3)
    clips[1].path.write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"01\.wav"):
        extract(clips, Spectrum(), tmp_path / "cache")
    found = extract(clips, Spectrum(), tmp_path / "cache", skip_unreadable=True)
    assert list(found) == [clips[0], clips[2]]
    assert "1 of 3 clips could not be read" in capsys.readouterr().err
    clips[0].path.unlink()
    assert list(extract(clips, Spectrum(), tmp_path / "cache", skip_unreadable=True)) == clips[2:]
    loud = np.full(RATE, 1e38, np.float32)
    soundfile.write(clips[2].path, loud, RATE, subtype="FLOAT")
    with (
        np.errstate(over="ignore"),
        pytest.raises(InputError, match=r"02\.wav: its features are no"),
    ):
        extract(clips[2:], Spectrum(), tmp_path / "cache")


def test_voices_are_those_of_the_feature_bank(tmp_path: Path) -> None:
    """What the encoder hears and what the student hears must be the same voice."""
    pytest.importorskip("audiomentations")
    clip = write_clips(tmp_path, 1)[0]

    class Sound:
        identity, rate_hz = "sound", 16_000

        def __call__(self, samples: np.ndarray) -> np.ndarray:
            return samples

    voices = extract([clip], Sound(), tmp_path / "a", copies=Copies(2, 3, rooms=False))[clip]
    bank = FeatureBank.build([clip], LogMelSpec(), voices=2, rooms=1, seed=3, cache=tmp_path / "b")
    for voice, rooms in zip(voices, bank.features[clip], strict=True):
        np.testing.assert_array_equal(LogMel(LogMelSpec()).clip(voice).astype(np.float16), rooms[0])
        assert not np.array_equal(rooms[0], rooms[1])


def test_copies_differ_and_can_be_made_again(tmp_path: Path) -> None:
    pytest.importorskip("audiomentations")
    clips = write_clips(tmp_path, 1)
    copies = Copies(count=2, seed=3)
    first = extract(clips, Spectrum(), tmp_path / "a", copies=copies)[clips[0]]
    again = extract(clips, Spectrum(), tmp_path / "b", copies=copies)[clips[0]]
    assert len(first) == 3
    assert not np.allclose(first[1], first[2])
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
