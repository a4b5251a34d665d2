"""The strict YAML loader: YAML 1.2 values, and everything that it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagematch.config import parse_value, parse_yaml, read_yaml
from imagematch.config.yaml_files import MAX_BYTES
from imagematch.errors import ConfigError


def _value(text: str) -> Any:
    return parse_yaml(f"key: {text}\n", where="file.yaml").values["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("+1.", 1.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1_000", "1_000"),
        ("190:20:30", "190:20:30"),
        ("0b11", "0b11"),
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("2020-01-01", "2020-01-01"),
        ("1.2.3", "1.2.3"),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("=", "="),
        ("[1, 2.5, '[1]', [], {a: no}]", [1, 2.5, "[1]", [], {"a": "no"}]),
    ],
)
def test_values(text: str, value: Any) -> None:
    read = _value(text)
    assert read == value
    assert type(read) is type(value)


def test_nan_is_a_number_here() -> None:
    assert math.isnan(_value(".nan"))


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers(number: int) -> None:
    assert _value(str(number)) == number
    assert isinstance(_value(str(number)), int)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_as_python_writes_them(number: float) -> None:
    read = _value(repr(number))
    assert isinstance(read, float)
    assert read == number


@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=20))
def test_quoted_text_stays_text(text: str) -> None:
    assert _value("'" + text.replace("'", "''") + "'") == text


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key 'a', already on line 1"),
        ("a: 1\nb: {x: 1, x: 2}\n", 2, "duplicate key 'x', already on line 2"),
        ("a: 1\n? [x]\n: 2\n", 2, "a key must be text"),
        ("a: 1\n5: 2\n", 2, "a key must be text, not '5'"),
        ("true: 1\n", 1, "a key must be text"),
        ("a: 1\n<<: {b: 2}\n", 2, "merge keys"),
        ("a: !!python/object/apply:os.system [echo]\n", 1, "tag"),
        ("a: 1\nb: !!str 5\n", 2, "tag"),
        ("a: ! 5\n", 1, "tag"),
        ("a: !custom {x: 1}\n", 1, "tag"),
        ("a: &x [*x]\n", 1, r"\*x contains itself"),
        ("a: *x\n", 1, "undefined alias"),
        ("a: " + "[" * 200 + "]" * 200, 1, "nested deeper"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\nb: [1, 2\n", 3, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a: 1\nb: \x01\n", 2, "character"),
        ("a: 1" + "0" * 5000 + "\n", 1, "digits"),
    ],
)
def test_refused_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refusal:
        parse_yaml(text, where="file.yaml")
    assert refusal.value.where == f"file.yaml:{line}"
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_empty(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^file\.yaml: the file is empty"):
        parse_yaml(text, where="file.yaml")


@pytest.mark.parametrize("text", ["- a\n", "text", "5", "[]"])
def test_not_a_mapping(text: str) -> None:
    with pytest.raises(ConfigError, match="not a mapping"):
        parse_yaml(text, where="file.yaml")


def test_aliases_repeat_a_value() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\n", where="f").values == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("width", [2, 10])
def test_aliases_cannot_grow_without_bound(width: int) -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, 40)]
    with pytest.raises(ConfigError, match="alias"):
        parse_yaml("\n".join(lines), where="f")


def test_lines_of_keys() -> None:
    document = parse_yaml("# head\n\na: 1\nb:\n  - 1\n  - 2\nc: 3\n", where="f")
    assert document.lines == {"a": 3, "b": 4, "c": 7}


def test_byte_order_mark_and_line_ends_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 1e-3\r\n")
    document = read_yaml(path)
    assert document.values == {"a": 1, "b": 0.001}
    assert document.lines == {"a": 1, "b": 2}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="a folder"):
        read_yaml(tmp_path)
    with pytest.raises(ConfigError, match="not a path"):
        read_yaml(Path("a\0b"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / ("x" * 300))
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="this is no configuration: has 1,048,577 bytes"):
        read_yaml(large)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml:2: not UTF-8"):
        read_yaml(latin)


def test_the_end_of_what_may_be_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"a: 1 #" + b"x" * (MAX_BYTES - 6))
    assert read_yaml(path).values == {"a": 1}


def test_single_values() -> None:
    assert parse_value("1e-3", where="--set x") == 0.001
    assert parse_value("{far: 0.1}", where="--set x") == {"far": 0.1}
    assert parse_value("", where="--set x") is None
    with pytest.raises(ConfigError, match=r"^--set x: not valid YAML"):
        parse_value("[1", where="--set x")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        parse_yaml(text, where="f")
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 (the text decides whether there is an error)
