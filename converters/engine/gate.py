"""The exact ONNX of an engine on ONNX Runtime, held to the gates of every other form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_ser.calibration import FloatStepper
from edge_ser.converters.engine.variants import Network
from edge_ser.converters.unquantize import unquantized
from edge_ser.errors import GateMissed
from edge_ser.pack import Manifest, Pack, Target
from edge_ser.parity import Gates, Parity, compare, missed_gates
from edge_ser.runtime.parity import ClipFrames, truth_of

__all__ = ["against_float", "check_parity", "float_logits", "network_parity", "reference_of"]


def network_parity(pack: Pack, network: Network, clips: Sequence[ClipFrames]) -> Parity:
    """What ``network`` makes of ``clips`` on the CPU, against the float model of ``pack``.

    The processor rounds where a GPU rounds (after every FP16 node, at every Q/DQ pair), but
    sums in another order: a fault of the model shows here, one of a kernel on the device only.

    Raises:
        InputError: ONNX Runtime refuses ``network``.
    """
    target = pack.manifest.targets[network.target]
    got = _logits(network.model, target, pack.manifest, clips)
    return against_float(pack.manifest, float_logits(pack, network.target, clips), got, clips)


def against_float(
    manifest: Manifest,
    expected: Sequence[NDArray[np.float32]],
    got: Sequence[NDArray[np.float32]],
    clips: Sequence[ClipFrames],
) -> Parity:
    """How far ``got`` is from the ``expected`` logits of :func:`float_logits`."""
    truth = truth_of(manifest, clips)
    return compare(expected, got, truth, manifest.labels, manifest.calibration.temperature)


def reference_of(manifest: Manifest) -> str:
    """What :func:`float_logits` runs: ``float`` or, in a pack without one, ``rounded weights``."""
    has_float = any(item.precision == "fp32" for item in manifest.targets.values())
    return "float" if has_float else "rounded weights"


def float_logits(pack: Pack, target: str, clips: Sequence[ClipFrames]) -> list[NDArray[np.float32]]:
    """``(steps, labels)`` logits that the float model of ``pack`` gives for each clip.

    For a pack without one, those of its quantized ``target`` without Q/DQ pairs; what rounding
    the weights cost was gated when the pack was converted.
    """
    manifest = pack.manifest
    floats = [item for item in manifest.targets.values() if item.precision == "fp32"]
    stored = floats[0] if floats else manifest.targets[target]
    model = onnx.load_model_from_string(pack.read(stored.file))
    return _logits(model if floats else unquantized(model), stored, manifest, clips)


def _logits(
    model: onnx.ModelProto, target: Target, manifest: Manifest, clips: Sequence[ClipFrames]
) -> list[NDArray[np.float32]]:
    stepper = FloatStepper(model, target.states)
    size = manifest.frontend.step_frames
    return [stepper.logits(clip.mel[:, : clip.mel.shape[1] // size * size], size) for clip in clips]


def check_parity(name: str, parity: Parity) -> None:
    """Refuse a form that differs too much from the float model.

    Raises:
        GateMissed: with what it should reach.
    """
    missed = missed_gates(name, parity, Gates())
    if missed:
        raise GateMissed(
            f"{'; '.join(missed)}, against FP32 ({parity.clips} clips, {parity.steps} "
            "steps); no engine was kept. "
            "Convert the pack with more calibration clips, or take another --precision"
        )
