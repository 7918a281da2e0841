"""Which layers of an engine really compute in INT8, and why the others do not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from edge_ser.converters.engine.products import Product, products
from edge_ser.errors import GateMissed

__all__ = ["EngineLayer", "Int8Report", "check_share", "read_layers", "report_int8"]

_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_TEXT_LAYER = re.compile(r"^\s*Name: (.*?), LayerType: ([^,]+), Inputs: (.*)$", re.MULTILINE)
_MULTIPLIES = re.compile(r"gemm|mha|correlation|conv|corr|matrix|fc|einsum", re.IGNORECASE)


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine.

    Attributes:
        kind: TensorRT's word for it, for example ``correlation`` or ``kgen``.
        precision: ``int8``, ``fp16`` or ``fp32`` of its inputs.
        nodes: ONNX nodes that it was made of.
    """

    name: str
    kind: str
    precision: str
    nodes: tuple[str, ...]

    @property
    def multiplies(self) -> bool:
        """Whether it looks like a convolution or matrix product."""
        return bool(_MULTIPLIES.search(self.kind) or _MULTIPLIES.search(self.name.split("_myl")[0]))


@dataclass(frozen=True)
class Int8Report:
    """Precision of every layer and every product of the model.

    Attributes:
        layers: of the engine.
        precisions: number of layers by precision of their inputs.
        fused_attention: attention kernels that hold both products and the softmax.
        products: convolutions and matrix products by the precision they run in.
        int8_share: of the multiplications that run in INT8.
        not_int8: ``{"node", "precision", "share", "why"}`` of every other product.
    """

    layers: int
    precisions: dict[str, int]
    fused_attention: int
    products: dict[str, int]
    int8_share: float
    not_int8: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "layers": self.layers,
            "int8_layers": self.precisions["int8"],
            "fp16_layers": self.precisions["fp16"],
            "fp32_layers": self.precisions["fp32"],
            "fused_attention": self.fused_attention,
            "products": self.products,
            "int8_share": self.int8_share,
            "not_int8": list(self.not_int8),
        }


def check_share(report: Mapping[str, Any], least: float) -> None:
    """Refuse a silent fall-back to float.

    Args:
        report: of :meth:`Int8Report.to_dict`, fresh or out of a sidecar.

    Raises:
        GateMissed: fewer multiplications than ``least`` run in INT8; names the products.
    """
    if report["int8_share"] >= least:
        return
    rest = report["not_int8"]
    lost = [item for item in rest if item["quantized"]] or rest
    names = ", ".join(f"{item['node']} ({item['precision']})" for item in lost[:4])
    more = f" and {len(lost) - 4} more" if len(lost) > 4 else ""
    raise GateMissed(
        f"only {report['int8_share']:.1%} of the multiplications run in INT8, at least "
        f"{least:.0%} should: {names}{more} do not; take another --precision, or accept it "
        "with --min-int8-share"
    )


def report_int8(text: str, model: onnx.ModelProto) -> Int8Report:
    """The report on an engine that was built from ``model``.

    Args:
        text: the ``Layers:`` message of the build log, or the inspector's JSON.
    """
    layers = read_layers(text)
    found = products(model)
    whole = sum(product.macs for product in found) or 1
    by_precision = {"int8": 0, "fp16": 0, "fp32": 0, "unknown": 0}
    int8_macs = 0
    rest: list[dict[str, Any]] = []
    for product in found:
        precision = _precision_of(product, layers)
        by_precision[precision] += 1
        if precision == "int8":
            int8_macs += product.macs
            continue
        rest.append(
            {
                "node": product.node,
                "precision": precision,
                "quantized": product.quantized,
                "share": round(product.macs / whole, 6),
                "why": _why(product, precision),
            }
        )
    counts = {p: sum(layer.precision == p for layer in layers) for p in ("int8", "fp16", "fp32")}
    return Int8Report(
        layers=len(layers),
        precisions=counts,
        fused_attention=sum("mha" in layer.name for layer in layers),
        products=by_precision,
        int8_share=int8_macs / whole,
        not_int8=tuple(rest),
    )


def read_layers(text: str) -> list[EngineLayer]:
    """Layers of a build log or of the inspector's JSON; empty if ``text`` is neither."""
    if text.lstrip().startswith("{"):
        return [_from_json(item) for item in json.loads(text)["Layers"] if isinstance(item, dict)]
    layers = []
    for name, kind, rest in _TEXT_LAYER.findall(text):
        inputs = re.split(r"\], (?:Constants|Outputs): \[", rest, maxsplit=1)[0]
        outputs = rest.split("Outputs: [", 1)[-1].split("], ", 1)[0]
        nodes = tuple(_ONNX_LAYER.findall(rest))
        layers.append(EngineLayer(name, kind, _precision(inputs, outputs), nodes))
    return layers


def _from_json(item: dict[str, Any]) -> EngineLayer:
    name = str(item.get("Name", ""))
    nodes = tuple(_ONNX_LAYER.findall(str(item.get("Metadata", ""))))
    if not nodes:  # TensorRT 8 has no metadata, but joins the names of the nodes
        nodes = tuple(part.strip() for part in re.split(r" \+ |\|\||,", name))
    inputs, outputs = json.dumps(item.get("Inputs", [])), json.dumps(item.get("Outputs", []))
    kind = str(item.get("LayerType", "unknown"))
    return EngineLayer(name, kind, _precision(inputs, outputs), nodes)


def _precision(inputs: str, outputs: str) -> str:
    """Of the narrowest input; of the outputs if there are none."""
    for text in (inputs, outputs):
        types = set(re.findall(r'Data[Tt]ype"?: "?([^,"}\]]+)', text))
        words = " ".join(types)
        for pattern, precision in (
            (r"Int8", "int8"),
            (r"Half|FP16", "fp16"),
            (r"Float|FP32", "fp32"),
        ):
            if re.search(pattern, words, re.IGNORECASE):
                return precision
    return "fp32"


def _precision_of(product: Product, layers: Sequence[EngineLayer]) -> str:
    """Of the layer that multiplies; pointwise layers behind it name the node, too."""
    naming = [layer for layer in layers if product.node in layer.nodes]
    if not product.quantized:  # fused with what follows an INT8 product, whose result it reads
        naming = [layer for layer in naming if layer.precision != "int8"]
    for layer in naming:
        if layer.multiplies and layer.name.startswith(product.node):
            return layer.precision
    for layer in naming:
        if layer.multiplies:
            return layer.precision
    return naming[0].precision if naming else "unknown"


def _why(product: Product, precision: str) -> str:
    if product.quantized:
        if precision == "unknown":
            return "no layer of the engine names it"
        return f"it is quantized in the model, but this GPU's kernels compute it in {precision}"
    return "left in float by the model: its operands have no Q/DQ"
