"""A form of the model on the GPU of this machine: does it agree, and how long is a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.engine.auto import Trial, fastest, mark_chosen
from edge_ser.converters.engine.build import Built
from edge_ser.converters.engine.gate import against_float, float_logits
from edge_ser.converters.engine.variants import Variant
from edge_ser.engines.cache import store_engine
from edge_ser.errors import BackendError
from edge_ser.pack import Pack
from edge_ser.parity import Gates, missed_gates
from edge_ser.runtime.backends.trt import TrtEngine
from edge_ser.runtime.parity import ClipFrames, engine_logits, time_engine

__all__ = ["measured_best"]


def measured_best(
    pack: Pack,
    variants: Sequence[Variant],
    build: Callable[[Variant], Built],
    clips: Sequence[ClipFrames],
    out: Path | None = None,
) -> Built:
    """The engine with the shortest median step of those that agree with FP32 on this device.

    Its sidecar lists what was tried, with the reason of each that was not taken.

    Args:
        out: where a copy of it goes.

    Raises:
        BackendError: none could be built, loaded and agreed.
        InputError: ``out`` cannot be written.
    """
    expected: dict[str, list[NDArray[np.float32]]] = {}

    def attempt(variant: Variant) -> Trial:
        built = build(variant)
        target = built.sidecar.target
        if target not in expected:
            expected[target] = float_logits(pack, target, clips)
        engine = TrtEngine.load(pack, built.sidecar.backend, engine=built.engine)
        got = engine_logits(pack.manifest, engine, clips)
        parity = against_float(pack.manifest, expected[target], got, clips)
        missed = missed_gates(str(variant), parity, Gates())
        p50, p99 = time_engine(pack.manifest, engine)
        return Trial(variant, built, parity, p50, p99, "; ".join(missed) or None)

    best, trials = fastest(variants, attempt)
    if best.built is None:
        raise BackendError(f"{best.variant} was measured but not built")
    chosen = mark_chosen(best.built, trials)
    if out is None:
        return chosen
    store_engine(out, chosen.engine.read_bytes(), chosen.sidecar)
    return replace(chosen, engine=out)
