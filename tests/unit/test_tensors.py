"""Weights on disk: what is written is read by the safetensors package too, and nothing else is read at all."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch.errors import ModelError
from imagematch.tensors import TensorSpec, check_number_count, read_tensors, write_tensors

TENSORS = {
    "kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "count": np.array(7, np.int64),
    "none": np.empty((0, 5), np.float32),
    "steps": np.array([1, -2, 3], np.int32),
    "größe": np.array([[np.nan, np.inf]], np.float32),
}


def specs_of(tensors):
    return {name: TensorSpec(array.shape, str(array.dtype)) for name, array in tensors.items()}


SPECS = specs_of(TENSORS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "weights.safetensors", TENSORS)
    return tmp_path / "weights.safetensors"


def refused(path: Path, specs=SPECS, says: str = "does not hold the weights that matcher.json describes") -> None:
    with pytest.raises(ModelError, match=says) as caught:
        read_tensors(path, specs)
    assert "\n" not in str(caught.value)


def parts(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put(path: Path, header: object, numbers: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + numbers)


def same(found, expected) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_what_is_written_comes_back_read_only_whatever_becomes_of_the_file(path):
    found = read_tensors(path, SPECS)
    os.truncate(path, 0)  # of a mapped file, reading on would end the process
    same(found, TENSORS)
    assert not any(array.flags.writeable for array in found.values())


def test_the_safetensors_package_reads_it_and_its_own_file_of_the_same_order_is_ours(path, tmp_path):
    from safetensors.numpy import load_file, save_file

    found = load_file(path)
    same({name: found[name] for name in TENSORS}, TENSORS)
    own = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}
    save_file(own, tmp_path / "theirs.safetensors")
    same(read_tensors(tmp_path / "theirs.safetensors", specs_of(own)), own)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.lists(st.integers(0, 4), max_size=4)))
def test_any_names_and_shapes_come_back_and_are_read_by_others(tmp_path_factory, shapes):
    from safetensors.numpy import load_file

    shapes = {name: shape for name, shape in shapes.items() if name != "__metadata__"}
    random = np.random.default_rng(0)
    tensors = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("any") / "any.safetensors"
    write_tensors(path, tensors)
    same(read_tensors(path, specs_of(tensors)), tensors)
    theirs = load_file(path)
    same({name: theirs[name] for name in tensors}, tensors)


def test_no_tensors_at_all(tmp_path):
    write_tensors(tmp_path / "none.safetensors", {})
    assert read_tensors(tmp_path / "none.safetensors", {}) == {}


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 9, 100, -1])
def test_a_file_that_was_cut_is_refused(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    refused(path)


@pytest.mark.parametrize("more", [b"\0", b"\0" * 4096])
def test_bytes_behind_the_numbers_are_refused(path, more):
    path.write_bytes(path.read_bytes() + more)
    refused(path)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_a_length_of_the_header_that_lies_is_refused(path, length):
    header, numbers = parts(path)
    put(path, header, numbers, length)
    refused(path)


def renamed(header):
    header["other"] = header.pop("kernel")


def overlapping(header):
    header["steps"]["data_offsets"] = [0, 12]


def swapped(header):
    header["kernel"] = header.pop("kernel")


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["kernel"].update(shape=[4, 3]),
        lambda header: header["kernel"].update(shape=[12]),
        lambda header: header["kernel"].update(shape=[3, -4]),
        lambda header: header["kernel"].update(shape=[2**62, 2**62]),
        lambda header: header["kernel"].update(dtype="I32"),
        lambda header: header["kernel"].update(dtype="F64"),
        lambda header: header["kernel"].update(data_offsets=[0, 2**63]),
        lambda header: header["kernel"].update(data_offsets=[-48, 0]),
        lambda header: header["kernel"].update(more=1),
        lambda header: header.pop("kernel"),
        lambda header: header.update(__metadata__={"format": "pt"}),
        renamed,
        overlapping,
        swapped,
    ],
    ids=range(14),
)
def test_a_header_that_lies_is_refused(path, change):
    header, numbers = parts(path)
    change(header)
    put(path, header, numbers)
    refused(path)


@pytest.mark.parametrize("header", [b"", b"{}", b"[]", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"\0" * 64])
def test_a_header_of_another_kind_is_refused_without_being_parsed(path, header):
    put(path, header, parts(path)[1])
    refused(path)


def test_the_same_names_in_another_order_are_other_tensors(path):
    refused(path, dict(reversed(SPECS.items())))


def test_numbers_that_were_never_written_are_refused(tmp_path):
    """A hole costs its sender nothing and its reader gigabytes."""
    specs = {"kernel": TensorSpec((1 << 28,))}
    write_tensors(tmp_path / "sparse.safetensors", {"kernel": np.empty(0, np.float32)})
    text = json.dumps({"kernel": {"dtype": "F32", "shape": [1 << 28], "data_offsets": [0, 1 << 30]}}).replace(" ", "")
    text += " " * (-len(text) % 8)
    with (tmp_path / "sparse.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text.encode())
        file.truncate(8 + len(text) + (1 << 30))
    refused(tmp_path / "sparse.safetensors", specs, "is mostly holes")


def test_a_file_that_is_none_or_lies_elsewhere(path, tmp_path):
    refused(tmp_path / "nowhere", says="No such file")
    refused(tmp_path, says="is not a file")
    inside = tmp_path / "folder"
    inside.mkdir()
    (inside / "link.safetensors").symlink_to(path)
    with pytest.raises(ModelError, match="leads out of its folder"):
        read_tensors(inside / "link.safetensors", SPECS, inside=inside)


def test_another_number_of_numbers_is_refused_before_any_is_made(tmp_path):
    path = tmp_path / "hundred.safetensors"
    write_tensors(path, {"kernel": np.zeros(100, np.float32)})
    for count in (100, 84, None):  # a few integers may take eight bytes
        check_number_count(path, count, inside=tmp_path)
    for count in (101, 83, 0, 1 << 40):
        with pytest.raises(ModelError, match=r"does not hold the weights that matcher\.json describes"):
            check_number_count(path, count, inside=tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        check_number_count(tmp_path / "none", 100, inside=tmp_path)
