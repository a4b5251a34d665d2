"""Converted networks as files: what was written comes back, and nothing but plain operations is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.forging import DIM, SIZE, small_network

from imagematch.errors import ModelError
from imagematch.extractors.engines.network_description import RefusedNetworkError, checked_description
from imagematch.extractors.engines.network_file import converted_files, read_network, write_network
from imagematch.files import digest_bytes, digest_json

openvino = pytest.importorskip("openvino")
from openvino import opset13 as ops  # noqa: E402

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), np.uint8)
RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> Any:
    return ops.constant(RANDOM.standard_normal(shape).astype(np.float32))


def whole(*values: int, dtype: Any = np.int64) -> Any:
    return ops.constant(np.array(values, dtype))


def batch(x: Any) -> Any:
    return ops.gather(ops.shape_of(x), whole(0), ops.constant(0))


def eight_bits(x: Any, channels: int) -> Any:
    """As quantisation writes it: a range for each channel of the weights, one for all of an activation."""
    low, high = (ops.constant(np.full((channels, 1, 1, 1), limit, np.float32)) for limit in (-2, 2))
    return ops.fake_quantize(x, low, high, low, high, 255)


PLAIN: dict[str, Callable[[Any], Any]] = {
    "convolution": lambda x: ops.convolution(x, numbers(4, 3, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]),
    "group convolution": lambda x: ops.group_convolution(x, numbers(3, 2, 1, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]),
    "batch norm": lambda x: ops.batch_norm_inference(x, *(ops.constant(np.ones(3, np.float32)) for _ in "1234"), 1e-3),
    "pooling": lambda x: ops.concat(
        [
            ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], True),
            ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0),
        ],
        1,
    ),
    "attention": lambda x: ops.scaled_dot_product_attention(x, x, x),
    "einsum": lambda x: ops.einsum([x, numbers(8, 2, 4)], "abcd,def->abef"),
    "layer norm": lambda x: ops.mvn(x, whole(2, 3), True, 1e-3, "inside_sqrt"),
    "gelu": lambda x: ops.gelu(ops.swish(ops.clamp(ops.prelu(x, numbers(3)), 0.0, 6.0)), "erf"),
    "padding": lambda x: ops.pad(x, whole(0, 0, 1, 1), whole(0, 0, 1, 1), "constant"),
    "split": lambda x: ops.concat(ops.split(x, ops.constant(1), 3).outputs(), 1),
    "slice": lambda x: ops.slice(x, whole(0, 0), whole(4, 4), whole(1, 1), whole(2, 3)),
    "shape": lambda x: ops.reshape(x, ops.concat([batch(x), whole(3, -1, 1)], 0), False),
    "mirrored": lambda x: ops.reverse_sequence(x, ops.broadcast(whole(8), batch(x)), 0, 3),
    "token": lambda x: ops.concat(
        [x, ops.broadcast(numbers(1, 3, 1, 8), ops.concat([batch(x), whole(3, 1, 8)], 0))], 2
    ),
    "resize": lambda x: ops.interpolate(x, whole(12, 12), "cubic", "sizes", axes=whole(2, 3)),
    "8 bits": lambda x: ops.convolution(
        eight_bits(x, 1), eight_bits(numbers(4, 3, 3, 3), 4), [1, 1], [1, 1], [1, 1], [1, 1]
    ),
}


def given_by(model: Any) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(IMAGES)[0])


def put(folder: Path, description: str | bytes, weights: bytes) -> str:
    content = description.encode() if isinstance(description, str) else description
    digest = digest_json([digest_bytes(content), digest_bytes(weights)])
    for name, data in zip(converted_files(digest), (content, weights), strict=True):
        (folder / name).write_bytes(data)
    return digest


def read(folder: Path, digest: str, *, image_size: int = SIZE, feature_dim: int = DIM) -> Any:
    return read_network(openvino.Core(), folder, digest, image_size=image_size, feature_dim=feature_dim)


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_written_comes_back_and_gives_the_same(tmp_path: Path, name: str) -> None:
    description, weights = small_network(PLAIN[name], tmp_path)
    model = openvino.Core().read_model(description.encode(), openvino.Tensor(np.frombuffer(weights, np.uint8)))
    digest = write_network(model, tmp_path)
    np.testing.assert_array_equal(given_by(read(tmp_path, digest)), given_by(model))


@pytest.fixture
def sound(tmp_path: Path) -> tuple[str, bytes]:
    return small_network(PLAIN["convolution"], tmp_path)


def refused(folder: Path, description: str | bytes, weights: bytes, says: str = "", **how: int) -> None:
    digest = put(folder, description, weights)
    with pytest.raises(ModelError, match=says) as caught:
        read(folder, digest, **how)
    assert "\n" not in str(caught.value)


def test_what_was_changed_or_is_no_file_is_refused(tmp_path: Path, sound: tuple[str, bytes]) -> None:
    digest = put(tmp_path, *sound)
    for digits in ("../../x", digest.upper(), digest + "0", ""):
        with pytest.raises(ModelError, match="is not the digest of a network"):
            read(tmp_path, digits)
    for name in converted_files(digest):
        path = tmp_path / name
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        with pytest.raises(ModelError, match="was changed since it was saved"):
            read(tmp_path, digest)
        path.unlink()
        with pytest.raises(ModelError, match="cannot be read"):
            read(tmp_path, digest)
        os.mkfifo(path)
        with pytest.raises(ModelError, match="is not a file"):
            read(tmp_path, digest)
        path.unlink()
        path.write_bytes(content)
    read(tmp_path, digest)


def test_other_sizes_than_the_card_says_are_refused(tmp_path: Path, sound: tuple[str, bytes]) -> None:
    refused(tmp_path, *sound, "its features are not 4 numbers", feature_dim=4)
    small = small_network(lambda x: x, tmp_path)
    read(tmp_path, put(tmp_path, *small), image_size=2048)


START = '<?xml version="1.0"?>\n'
CONST = 'element_type="i32" shape="2" offset="0" size="8"'
TEXT_EDITS: dict[str, tuple[str, str, str]] = {
    "document type": (START, START + '<!DOCTYPE net [<!ENTITY a "b">]>', "more than elements"),
    "another encoding": (START, '<?xml version="1.0" encoding="utf-7"?>\n', "not XML"),
    "NUL": (START, START + "\0", "more than elements"),
    "cut": ("</net>", "", "not XML"),
    "another root": ("<net ", '<net xmlns="x" ', "0 operations"),
    "300,000 elements": ("</layers>", "</layers>" + "<a/>" * 300_000, "too long"),
    "300,000 attributes": ("<net ", "<net " + " ".join(f'a{n}=""' for n in range(300_000)) + " ", "too long"),
    "9 MB": ("<net ", f'<net x="{"y" * 9_000_000}" ', "bytes"),
    "10,000 layers": ("</layers>", "<layer/>" * 10_000 + "</layers>", "operations"),
    "a network inside": ("</layers>", "</layers><body><layers><layer/></layers></body>", "networks inside"),
    "TensorIterator": ('type="Convolution"', 'type="TensorIterator"', "not a plain operation"),
    "Loop": ('type="Convolution"', 'type="Loop"', "not a plain operation"),
    "If": ('type="Convolution"', 'type="If"', "not a plain operation"),
    "ReadValue": ('type="Convolution"', 'type="ReadValue"', "not a plain operation"),
    "no type": ('type="Convolution"', "", "not a plain operation"),
    "extension": ('type="Convolution" version="opset1"', 'type="Convolution" version="extension"', "plain operation"),
    "another version": (
        'type="Convolution" version="opset1"',
        'type="Convolution" version="opset99"',
        "plain operation",
    ),
    "another operation's attributes": ('type="Convolution"', 'type="ReLU"', "ReLU has"),
    "attributes missing": ('strides="1, 1" ', "", "lacks attributes"),
    "strides 0": ('strides="1, 1"', 'strides="0, 0"', "strides"),
    "strides 2^64": ('strides="1, 1"', 'strides="18446744073709551615, 1"', "strides"),
    "pads 10^9": ('pads_begin="1, 1"', 'pads_begin="1000000000, 1"', "pads_begin"),
    "pads of an image": ('pads_begin="0, 0, 0, 0"', 'pads_begin="0, 9, 9, 0"', "pads_begin"),
    "offset outside": (CONST, CONST.replace('offset="0"', 'offset="999999999999"'), "outside their file"),
    "offset 2^64": (CONST, CONST.replace('offset="0"', 'offset="18446744073709551615"'), "offset"),
    "offset negative": (CONST, CONST.replace('offset="0"', 'offset="-8"'), "offset"),
    "size of another shape": (CONST, CONST.replace('shape="2"', 'shape="3"'), "not that of its shape"),
    "shape that overflows": (CONST, CONST.replace('shape="2"', 'shape="16777216, 16777216, 16777216"'), "its shape"),
    "shape of rank 7": (CONST, CONST.replace('shape="2"', 'shape="2, 1, 1, 1, 1, 1, 1"'), "shape"),
    "negative shape": (CONST, CONST.replace('shape="2"', 'shape="-2"'), "shape"),
    "nothing": (CONST, CONST.replace('shape="2"', 'shape="0"').replace('size="8"', 'size="0"'), "its shape"),
    "texts": (CONST, CONST.replace("i32", "string"), "element_type"),
    "bits": (CONST, CONST.replace("i32", "u1"), "element_type"),
    "doubles": (CONST, CONST.replace("i32", "f64"), "element_type"),
    "another input": ('shape="?,?,?,3"', 'shape="9999999,?,?,3"', "Parameter has"),
    "edge from nowhere": ('<edge from-layer="0"', '<edge from-layer="77"', "lacks an input"),
    "edge missing": ('<edge from-layer="0"', '<other from-layer="0"', "lacks an input"),
    "two at one place": (
        "</edges>",
        '<edge from-layer="0" from-port="0" to-layer="1" to-port="0" /></edges>',
        "one place",
    ),
    "one number twice": ('<layer id="1"', '<layer id="0"', "one number"),
}


@pytest.mark.parametrize("name", TEXT_EDITS)
def test_an_edited_description_is_refused(tmp_path: Path, sound: tuple[str, bytes], name: str) -> None:
    description, weights = sound
    old, new, says = TEXT_EDITS[name]
    assert old in description
    refused(tmp_path, description.replace(old, new, 1), weights, says)


def test_a_circle_is_refused(tmp_path: Path, sound: tuple[str, bytes]) -> None:
    description, weights = sound
    circle = description.replace('<edge from-layer="0" from-port="0"', '<edge from-layer="1" from-port="1"', 1)
    refused(tmp_path, circle, weights, "round in a circle")


def test_another_encoding_is_refused(tmp_path: Path, sound: tuple[str, bytes]) -> None:
    for encoding in ("utf-16", "utf-32", "cp037"):
        text = sound[0].replace(START, f'<?xml version="1.0" encoding="{encoding}"?>\n')
        refused(tmp_path, text.encode(encoding), sound[1], "more than elements")


def test_a_second_reader_finds_no_second_network(sound: tuple[str, bytes]) -> None:
    """What one parser passes over (another namespace, names, rt_info) is not handed to the next one."""
    description, weights = sound
    hidden = '<layers xmlns="u"><layer id="0" name="evil" type="ReadValue" version="extension"/></layers><layers>'
    text = description.replace("<layers>", hidden, 1).replace("<rt_info>", '<rt_info><evil value="1"/>', 1)
    content = np.frombuffer(weights, np.uint8)
    written = checked_description(text.encode(), content)
    assert written == checked_description(description.encode(), content)
    assert not any(word in written for word in (b"evil", b"rt_info", b"<dim", b"xmlns"))


def large(*shape: int, dtype: Any = np.float32) -> Any:
    return ops.broadcast(ops.constant(np.ones(1, dtype)), whole(*shape))


def first(x: Any) -> Any:
    return ops.gather(x, whole(0), ops.constant(0))


def as_pattern(x: Any, length: Any) -> Any:
    return ops.reshape(x, ops.concat([whole(0, 3, 8), ops.multiply(length, whole(8))], 0), True)


def doubled(times: int) -> Any:
    x = ops.gather(ops.shape_of(large(1)), whole(0), ops.constant(0))
    for _ in range(times):
        x = ops.concat([x, x], 0)
    return x


def chain(x: Any, length: int) -> Any:
    y = x
    for _ in range(length):
        y = ops.add(ops.exp(y), x)
    return y


BOMBS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a tensor of 10^9": (
        lambda x: ops.add(x, ops.reduce_max(large(1, 1, 1000, 1_000_000), whole(2, 3), True)),
        "holds",
    ),
    "integers repeated": (lambda x: as_pattern(x, first(large(1 << 20, dtype=np.int64))), "repeats integers"),
    "integers tiled": (lambda x: as_pattern(x, first(ops.tile(whole(1), whole(1 << 20)))), "Tile computes"),
    "integers padded": (
        lambda x: as_pattern(x, first(ops.pad(whole(1), whole(0), whole(9999), "edge"))),
        "Pad computes",
    ),
    "integers doubled": (lambda x: as_pattern(x, first(doubled(16))), "integers"),
    "large integers": (lambda x: ops.broadcast(x, whole(1 << 30, 3, 8, 8)), "not those of shapes"),
    "integers of numbers": (
        lambda x: as_pattern(x, ops.convert(ops.reduce_max(ops.exp(numbers(4)), whole(0), True), "i64")),
        "makes integers of other numbers",
    ),
    "division by 0": (lambda x: as_pattern(x, ops.divide(whole(7), batch(x))), "divides integers"),
    "constants multiplied": (
        lambda x: ops.add(x, ops.reduce_max(ops.matmul(large(4000, 200), large(200, 4000), False, False), whole(0, 1))),
        "holds",
    ),
    "much work": (
        lambda x: ops.avg_pool(ops.tile(x, whole(1, 1, 100, 100)), [1, 1], [300, 300], [300, 300], [600, 600], False),
        "operations, and more",
    ),
    "enlarged": (lambda x: ops.interpolate(x, whole(8000, 8000), "nearest", "sizes", axes=whole(2, 3)), "holds"),
    "a scale that is computed": (
        lambda x: ops.interpolate(x, ops.exp(numbers(2)), "nearest", "scales", axes=whole(2, 3)),
        "size of an image",
    ),
    "an axis of 2^63": (lambda x: ops.mvn(x, whole(2, 2**63 - 1), True, 1e-3, "inside_sqrt"), "not those of shapes"),
    "axis 6": (lambda x: ops.mvn(x, whole(2, 6), True, 1e-3, "inside_sqrt"), "no axis"),
    "axis 5 of 4": (lambda x: ops.mvn(x, whole(2, 5), True, 1e-3, "inside_sqrt"), "axes that are not there"),
    "an axis given twice": (lambda x: ops.mvn(x, whole(2, -2), True, 1e-3, "inside_sqrt"), "axes that are not there"),
    "an axis that is computed": (lambda x: ops.reduce_max(x, batch(x), True), "no axis"),
    "a negative size": (
        lambda x: ops.interpolate(x, whole(-2, -2), "nearest", "sizes", axes=whole(2, 3)),
        "size of an image",
    ),
    "more for more images": (
        lambda x: ops.tile(x, ops.concat([whole(1), *[ops.multiply(batch(x), batch(x))] * 3], 0)),
        "holds 402,65",
    ),
    "a long chain": (lambda x: chain(x, 100), "chain of elementwise"),
    "an einsum of much work": (
        lambda x: ops.einsum([ops.tile(x, whole(1, 1, 100, 100)), numbers(800, 200, 32)], "abcd,def->abcf"),
        "operations, and more",
    ),
    "an axis twice": (lambda x: ops.einsum([x, numbers(8, 8)], "abcc,cd->abd"), "Einsum has"),
    "many operations": (lambda x: [x := ops.softmax(x, 1) for _ in range(2600)][-1], "too many operations"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path, name: str) -> None:
    operation, says = BOMBS[name]
    refused(tmp_path, *small_network(operation, tmp_path), says)


def test_constants_that_share_their_numbers_are_counted(sound: tuple[str, bytes]) -> None:
    description, weights = sound
    shared = "".join(
        f'<layer id="x{n}" type="Const" version="opset1"><data element_type="f32" shape="1048576" offset="0" '
        'size="4194304" /><output><port id="0" /></output></layer>'
        for n in range(20)
    )
    text = description.replace("</layers>", shared + "</layers>")
    with pytest.raises(RefusedNetworkError, match="share their numbers"):
        checked_description(text.encode(), np.frombuffer(weights + bytes(1 << 22), np.uint8))


def test_two_inputs_or_outputs_are_refused(tmp_path: Path, sound: tuple[str, bytes]) -> None:
    description, weights = sound
    more = '<layer id="99" name="z" type="Parameter" version="opset1"><data shape="?,?,?,3" element_type="u8"/>'
    more += '<output><port id="0"/></output></layer>'
    refused(tmp_path, description.replace("<layers>", "<layers>" + more, 1), weights, "does not take images")
    more = '<layer id="98" name="y" type="Result" version="opset1"><input><port id="0"/></input></layer>'
    edge = '<edge from-layer="1" from-port="1" to-layer="98" to-port="0"/></edges>'
    text = description.replace("<layers>", "<layers>" + more, 1).replace("</edges>", edge)
    refused(tmp_path, text, weights, "does not give features")
