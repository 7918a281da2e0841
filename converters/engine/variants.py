"""Which forms of the model can be built for a GPU, and which one by default."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edge_ser.converters.half import plain_weights, to_half
from edge_ser.converters.unfold import unfold_convolutions
from edge_ser.converters.unquantize import unquantized
from edge_ser.engines import Bindings
from edge_ser.engines.host import has_int8
from edge_ser.errors import BackendError, UsageError
from edge_ser.pack import Pack

__all__ = [
    "DEFAULT_REASON",
    "Network",
    "Variant",
    "board_variants",
    "default_variant",
    "network_of",
    "stored_model",
    "variants_for",
]

_TURING = "7.5"
DEFAULT_REASON = (
    "nothing can be timed on this machine, so the default is taken: INT8 products in an FP16 "
    "graph, but FP16 on GPUs without INT8 kernels for convolutions (Nano, TX2, Turing with RTX)"
)


@dataclass(frozen=True)
class Variant:
    """A form of the model.

    Attributes:
        precision: of the products, ``int8``, ``fp16`` or ``fp32``.
        base: of everything else, ``fp16`` or ``fp32``.
    """

    precision: str
    base: str

    def __str__(self) -> str:
        return self.precision if self.precision == self.base else f"{self.precision}+{self.base}"


@dataclass(frozen=True)
class Network:
    """An ONNX model to build and where it comes from.

    Attributes:
        target: name in the pack.
        model: as the parser gets it.
        content: the same, serialized.
    """

    target: str
    model: onnx.ModelProto
    content: bytes


def variants_for(
    precision: str, backend: str, capabilities: tuple[str, ...]
) -> tuple[Variant, ...]:
    """What ``precision`` allows on these GPUs, the likely fastest first.

    Raises:
        UsageError: ``precision`` is unknown, or a GPU cannot do it.
    """
    turing = backend == "tensorrt-rtx" and _TURING in capabilities
    if precision == "auto":
        every = [Variant("int8", "fp16"), Variant("fp16", "fp16"), Variant("int8", "fp32")]
        every.append(Variant("fp32", "fp32"))
        return tuple(v for v in every if not (turing and v.base == "fp32"))
    known = {
        # Turing has no FP32 matrix products in TensorRT-RTX.
        "int8": Variant("int8", "fp16" if turing else "fp32"),
        "mixed": Variant("int8", "fp16"),
        "fp16": Variant("fp16", "fp16"),
        "fp32": Variant("fp32", "fp32"),
    }
    if precision not in known:
        raise UsageError(f"unknown precision {precision!r}; known are auto, {', '.join(known)}")
    if precision == "fp32" and turing:
        raise UsageError(
            "Turing GPUs (7.5) have no FP32 matrix products in TensorRT-RTX; use --precision "
            "fp16 or mixed, or leave 7.5 out"
        )
    return (known[precision],)


def board_variants(
    variants: tuple[Variant, ...], capabilities: tuple[str, ...]
) -> tuple[tuple[Variant, ...], str]:
    """``variants`` that these GPUs have arithmetic for, and what to tell if they have not.

    TensorRT builds INT8 on a GPU without it in FP32, slower than FP16 and without a word.
    """
    lacking = [capability for capability in capabilities if not has_int8(capability)]
    if not lacking or all(variant.precision != "int8" for variant in variants):
        return variants, ""
    rest = tuple(v for v in variants if v.precision != "int8") or (Variant("fp16", "fp16"),)
    return rest, f"GPUs of compute capability {lacking[0]} have no INT8; building FP16 instead"


def default_variant(backend: str, capabilities: tuple[str, ...]) -> Variant:
    """What is built where nothing can be timed."""
    allowed, _ = board_variants(variants_for("auto", backend, capabilities), capabilities)
    if backend == "tensorrt-rtx" and _TURING in capabilities:
        # Its INT8 form needs unfolded convolutions, 9 layers more than the FP16 one.
        return Variant("fp16", "fp16")
    return allowed[0]


def stored_model(pack: Pack, backend: str, variant: Variant) -> tuple[str, onnx.ModelProto]:
    """Name and model of the target of ``pack`` that ``variant`` is made from.

    A pack without a float model gives its quantized one without Q/DQ pairs.

    Raises:
        BackendError: the pack has no such model.
    """
    stored = "int8" if variant.precision == "int8" else "fp32"
    fitting = [
        name
        for name, target in pack.manifest.targets.items()
        if target.precision == stored and backend in target.backends
    ]
    if not fitting and stored == "fp32":  # any float model will do, its operators are plain ONNX
        fitting = [n for n, t in pack.manifest.targets.items() if t.precision == stored]
    if not fitting and stored == "fp32":
        quantized = Variant("int8", "fp32")
        name, model = stored_model(pack, backend, quantized)
        return name, unquantized(model)
    if not fitting:
        have = ", ".join(
            f"{name} ({target.precision} for {'/'.join(target.backends)})"
            for name, target in pack.manifest.targets.items()
        )
        raise BackendError(
            f"pack {pack.manifest.name} has no {stored} model for {backend}, only {have}; convert "
            "it again with --targets cpu,tensorrt"
        )
    # A model made for TensorRT alone has its attention laid out to be fused.
    fitting.sort(key=lambda name: "onnxruntime" in pack.manifest.targets[name].backends)
    content = pack.read(pack.manifest.targets[fitting[0]].file)
    try:
        return fitting[0], onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own error class is private
        raise BackendError(
            f"{fitting[0]} of pack {pack.manifest.name} is no ONNX model ({error})"
        ) from error


def network_of(
    target: str,
    model: onnx.ModelProto,
    variant: Variant,
    bindings: Bindings,
    capabilities: tuple[str, ...],
) -> Network:
    """The ONNX that the parser gets for ``variant`` of the stored ``model``.

    Strongly typed networks get an FP16 graph; on TensorRT 8 the FP32 one is built with flags.
    Turing gets matrix products for its convolutions, which would leave INT8.
    """
    if variant.precision == "int8" and bindings.is_rtx and _TURING in capabilities:
        model = unfold_convolutions(model)
    half = variant.base == "fp16" and bindings.is_strongly_typed
    model = to_half(model) if half else plain_weights(model)
    return Network(target, model, model.SerializeToString(deterministic=True))
