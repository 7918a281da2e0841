"""``pack.json``: what a pack says of itself, read strictly."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from edge_ser.errors import PackError
from edge_ser.frontend import LogMelSpec
from edge_ser.labels import check_labels
from edge_ser.pack.confidence import Calibration, CoveragePoint, HeardPoint, ReliabilityBin

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "FORMAT",
    "FileRecord",
    "Manifest",
    "StateSpec",
    "Target",
    "check_name",
    "read_calibration",
]

FORMAT = 1
"""The newest format that this release reads and the one it writes."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_NAME = "pack.json"
_RANGES = {"float32": (-math.inf, math.inf), "uint8": (0, 255), "int8": (-128, 127)}
_PRECISIONS = ("int8", "mixed", "fp16", "fp32")
_LARGEST_STATE = 2**26  # values; a pack of unknown origin must not ask for endless memory
T = TypeVar("T")


@dataclass(frozen=True)
class StateSpec:
    """State that the runtime carries from step to step.

    Attributes:
        input: name of the model input.
        output: name of the model output that replaces it after a step.
        shape: its shape.
        dtype: ``float32``, ``uint8`` or ``int8``.
        before: what every entry holds before the stream begins.
        ahead: entries of the output, along ``time_axis``, that come before the new state: the
            model returns the past and the present joined, and the newest part is the state.
        time_axis: the axis along which it does.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    before: float
    ahead: int = 0
    time_axis: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in _RANGES:
            raise ValueError(f"state {self.input}: dtype {self.dtype!r} is none of {set(_RANGES)}")
        sizes = self.shape
        if not sizes or min(sizes) < 1 or math.prod(sizes) > _LARGEST_STATE:
            raise ValueError(f"state {self.input}: shape {sizes} is impossible")
        low, high = _RANGES[self.dtype]
        if not (math.isfinite(self.before) and low <= self.before <= high):
            raise ValueError(f"state {self.input}: {self.dtype} cannot hold {self.before}")
        if self.ahead and not 0 <= self.time_axis < len(sizes):
            raise ValueError(f"state {self.input}: {sizes} has no axis {self.time_axis}")
        if not 0 <= self.ahead <= _LARGEST_STATE // math.prod(sizes):
            raise ValueError(f"state {self.input}: {self.ahead} entries ahead are impossible")

    def initial(self) -> NDArray[Any]:
        """A new tensor as the state is before the stream begins."""
        state: NDArray[Any] = np.full(self.shape, self.before, self.dtype)
        return state

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        sizes = list(self.shape)
        if self.ahead:
            sizes[self.time_axis] += self.ahead
        return tuple(sizes)

    def newest(self, output: NDArray[Any]) -> NDArray[Any]:
        """The new state inside ``output``, a view."""
        if not self.ahead:
            return output
        return output[(slice(None),) * self.time_axis + (slice(self.ahead, None),)]


@dataclass(frozen=True)
class Target:
    """One model file and the engine family it is made for.

    Attributes:
        backends: the engines that run it, best first.
        precision: ``int8``, ``mixed`` (INT8 with some layers in float), ``fp16`` or ``fp32``.
    """

    file: str
    backends: tuple[str, ...]
    precision: str
    states: tuple[StateSpec, ...]

    def __post_init__(self) -> None:
        if not self.backends:
            raise ValueError(f"target {self.file!r} names no backend")
        if self.precision not in _PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is none of {', '.join(_PRECISIONS)}")
        names = [name for state in self.states for name in (state.input, state.output)]
        if len(set(names)) != len(names):
            raise ValueError(f"target {self.file!r}: the name of a state stands twice")


@dataclass(frozen=True)
class FileRecord:
    """Size and SHA-256 of one file of the pack."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contract of a pack.

    Attributes:
        id: short name, ``[a-z0-9._-]``.
        version: of this pack, for people and for updates.
        description: one sentence.
        labels: order of the model's output.
        frontend: what turns samples into model input.
        targets: model files by name, ``cpu``, ``tensorrt``, ``float``.
        calibration: of the probabilities.
        metrics: accuracy figures with their protocol.
        licences: terms of the training data, by corpus.
        commercial_use: whether those terms allow it.
        training: what the model was trained on and how.
        files: every other file of the pack.
    """

    id: str
    version: str
    description: str
    labels: tuple[str, ...]
    frontend: LogMelSpec
    targets: Mapping[str, Target]
    calibration: Calibration = field(default_factory=Calibration)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    commercial_use: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_labels(self.labels)
        _check_id(self.id)
        if not self.targets:
            raise ValueError("no model file is named under 'targets'")
        for name in self.files:
            if not _is_inside(name):
                raise ValueError(f"{name!r} under 'files' is not a name inside a pack")

    @property
    def name(self) -> str:
        """``id@version``, as events carry it."""
        return f"{self.id}@{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = asdict(self)
        return {"format": values.pop("format"), **values, "frontend": self.frontend.to_dict()}

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Manifest:
        """The manifest in the parsed JSON ``values``.

        Raises:
            PackError: the format is newer than this release, or something is missing,
                unknown or of the wrong type; the message names ``where`` and what.
        """
        if not isinstance(values, dict) or type(values.get("format")) is not int:
            raise PackError(f"{where} is not a pack description: 'format' is missing")
        if values["format"] < 1:
            raise PackError(f"{where} is not a pack description: 'format' is {values['format']}")
        if values["format"] > FORMAT:
            raise PackError(
                f"{where} has format {values['format']}, this edge-ser reads up to {FORMAT}; "
                "update edge-ser or convert the pack again"
            )
        try:
            manifest = _build(
                cls,
                {
                    **values,
                    "frontend": LogMelSpec.from_dict(values["frontend"]),
                    "calibration": read_calibration(values["calibration"]),
                    "targets": {
                        name: _build(
                            Target,
                            {**it, "states": [_build(StateSpec, state) for state in it["states"]]},
                        )
                        for name, it in values["targets"].items()
                    },
                    "files": {
                        name: _build(FileRecord, record) for name, record in values["files"].items()
                    },
                },
            )
        except KeyError as error:
            raise PackError(f"{where}: {error.args[0]!r} is missing") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise PackError(f"{where}: {error}") from error
        for target in manifest.targets.values():
            if target.file not in manifest.files:
                raise PackError(f"{where}: target file {target.file!r} is not listed in 'files'")
        return manifest


def check_name(pack_id: str, version: str) -> None:
    """Whether ``pack_id@version`` can be the name of a pack and of its folder.

    Raises:
        ValueError: saying which of the two cannot.
    """
    _check_id(pack_id)
    if not _VERSION.fullmatch(version):
        raise ValueError(f"version {version!r} is not made of letters, digits, '.+_-'")


def _check_id(pack_id: str) -> None:
    if not _ID.fullmatch(pack_id):
        raise ValueError(f"id {pack_id!r} is not made of a-z, 0-9, '.', '_' and '-'")


def read_calibration(values: dict[str, Any]) -> Calibration:
    """The calibration in parsed JSON.

    Raises:
        ValueError: something is unknown or of the wrong type.
    """
    points: dict[str, Any] = {
        key: [_build(kind, point) for point in values[key]]
        for key, kind in (
            ("heard", HeardPoint),
            ("risk_coverage", CoveragePoint),
            ("reliability", ReliabilityBin),
        )
        if key in values
    }
    return _build(Calibration, {**values, **points})


def _build(kind: type[T], values: dict[str, Any]) -> T:
    """``kind(**values)`` with every key known and every value of the right type."""
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}")
    hints = get_type_hints(kind)
    for key, value in values.items():
        if not _fits(value, hints[key]):
            expected = getattr(hints[key], "__name__", hints[key])
            raise ValueError(f"{key!r} should be {expected}, is {value!r:.60}")
    return kind(
        **{key: tuple(value) if type(value) is list else value for key, value in values.items()}
    )


def _fits(value: Any, hint: Any) -> bool:
    """Whether the JSON value ``value`` is what the type hint of a field says."""
    if hint is Any:
        return True
    if hint is float:
        return type(value) in (int, float)
    if get_origin(hint) is tuple:
        return type(value) is list and all(_fits(item, get_args(hint)[0]) for item in value)
    if get_origin(hint) is Mapping:
        return type(value) is dict and all(
            _fits(item, get_args(hint)[1]) for item in value.values()
        )
    if get_args(hint):  # a union
        return any(_fits(value, option) for option in get_args(hint))
    return type(value) is hint


def _is_inside(name: str) -> bool:
    """Whether ``name`` is a plain relative path of a file of the pack."""
    plain = all(part not in ("", ".", "..") for part in name.split("/"))
    return plain and name != _NAME and name.isprintable() and "\\" not in name
