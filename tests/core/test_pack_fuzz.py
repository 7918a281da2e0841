"""Whatever stands in ``pack.json``, opening it gives a manifest or a ``PackError``."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ser.errors import PackError
from edge_ser.frontend import LogMelSpec
from edge_ser.pack import FileRecord, Manifest, StateSpec, Target, open_pack

GOOD = Manifest(
    id="fuzzed",
    version="1",
    description="d",
    labels=("anger", "fear"),
    frontend=LogMelSpec(),
    targets={
        "cpu": Target(
            "m.onnx", ("onnxruntime",), "fp32", (StateSpec("a", "b", (1, 2, 3), "float32", 0.0),)
        )
    },
    files={"m.onnx": FileRecord(3, "0" * 64)},
).to_dict()

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["onnxruntime", "../x", "m.onnx", "anger", "", "\0", -1, 10**18, 1e308]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, (list, tuple))
        else ()
    )
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


DOCUMENT = json.loads(json.dumps(GOOD))
PLACES = [place for place in places(DOCUMENT) if place]


def parse(text: bytes, folder: Path) -> None:
    (folder / "pack.json").write_bytes(text)
    try:
        pack = open_pack(folder)
    except PackError:
        return
    # What was accepted can be written and read again, and means the same.
    again = json.loads(json.dumps(pack.manifest.to_dict()))
    assert Manifest.from_dict(again, "again") == pack.manifest


@settings(max_examples=400)
@given(place=st.sampled_from(PLACES), value=values)
def test_any_value_in_any_place(
    place: tuple[Any, ...], value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = copy.deepcopy(DOCUMENT)
    node = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    parse(json.dumps(document).encode(), folder(tmp_path_factory))


@settings(max_examples=150)
@given(place=st.sampled_from(PLACES), key=st.text(max_size=6), value=values)
def test_any_key_removed_or_added(
    place: tuple[Any, ...], key: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = copy.deepcopy(DOCUMENT)
    node = document
    for part in place[:-1]:
        node = node[part]
    del node[place[-1]]
    if isinstance(node, dict):
        node[key] = value
    parse(json.dumps(document).encode(), folder(tmp_path_factory))


@settings(max_examples=200)
@given(at=st.integers(0, 2000), cut=st.integers(0, 30), insert=st.binary(max_size=8))
def test_any_bytes_in_the_file(
    at: int, cut: int, insert: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = json.dumps(DOCUMENT).encode()
    at %= len(text)
    parse(text[:at] + insert + text[at + cut :], folder(tmp_path_factory))


@settings(max_examples=100)
@given(document=values)
def test_any_document(document: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    parse(json.dumps(document).encode(), folder(tmp_path_factory))


def folder(factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples; each writes its own ``pack.json``."""
    path = factory.getbasetemp() / "fuzz"
    path.mkdir(exist_ok=True)
    return path
