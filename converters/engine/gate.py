"""The exact ONNX of an engine on ONNX Runtime, held to the gates of every other form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from edge_ser.calibration import FloatStepper
from edge_ser.converters.engine.variants import Network
from edge_ser.converters.unquantize import unquantized
from edge_ser.errors import BackendError, GateMissed
from edge_ser.pack import Pack
from edge_ser.parity import Gates, Parity, compare, missed_gates
from edge_ser.runtime.parity import ClipFrames, truth_of

__all__ = ["check_parity", "network_parity"]


def network_parity(pack: Pack, network: Network, clips: Sequence[ClipFrames]) -> Parity:
    """What ``network`` makes of ``clips`` on the CPU, against the float model of ``pack``.

    The processor rounds where a GPU rounds (after every FP16 node, at every Q/DQ pair), but
    sums in another order: a fault of the model shows here, one of a kernel on the device only.

    A pack without a float model is compared with its quantized one without Q/DQ pairs; what
    rounding the weights cost was gated when it was converted.

    Raises:
        BackendError: ONNX Runtime refuses ``network``.
    """
    manifest = pack.manifest
    own = manifest.targets[network.target]
    floats = [t for t in manifest.targets.values() if t.precision == "fp32"] or [own]
    reference = onnx.load_model_from_string(pack.read(floats[0].file))
    if floats[0].precision != "fp32":
        reference = unquantized(reference)
    size = manifest.frontend.step_frames
    found = []
    for model, target in (
        (reference, floats[0]),
        (network.model, own),
    ):
        try:
            stepper = FloatStepper(model, target.states)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise BackendError(f"onnxruntime cannot run the network: {error}") from error
        found.append([stepper.logits(_whole_steps(clip, size), size) for clip in clips])
    expected, got = found
    truth = truth_of(manifest, clips)
    return compare(expected, got, truth, manifest.labels, manifest.calibration.temperature)


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


def _whole_steps(clip: ClipFrames, size: int) -> Any:
    return clip.mel[:, : clip.mel.shape[1] // size * size]
