"""Strict YAML: one mapping a file, YAML 1.2 numbers, no tags, no duplicate keys, bounded, with lines; and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from imagematch.errors import ConfigError
from imagematch.files import os_reason
from imagematch.reading import RefusedFileError, read_file

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_NODES = 50_000
"""Values in a file, each alias counted at the full size of what it repeats."""
MAX_DIGITS = 40

_CORE_SCHEMA = (  # YAML 1.2, section 10.3.2
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
)


@dataclass(frozen=True)
class Document:
    """What a YAML file says, and where each key stands.

    Attributes:
        values: the mapping.
        where: the file's name, for errors.
        lines: key -> its line, from 1, `LIST[N].KEY` for a mapping in a list; a key from elsewhere has none.
        overridden: keys that came from the command line.
    """

    values: dict[str, Any]
    where: str
    lines: Mapping[str, int] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()

    def location(self, key: str) -> tuple[int, str]:
        """Where a key stands: its rank among problems, and "FILE:LINE", "--set KEY" or the file alone."""
        top = key.partition("[")[0]
        if top in self.overridden:
            return MAX_BYTES + 1, f"--set {top}"
        line = self.lines.get(key, self.lines.get(top))
        if line is not None:
            return line, f"{self.where}:{line}"
        return MAX_BYTES, self.where


def read_yaml(path: Path) -> Document:
    """Reads a YAML file that holds one mapping.

    Raises:
        ConfigError: the file is missing, a folder, no file, unreadable, over 1 MiB, not UTF-8 or not strict YAML.
    """
    try:
        data = read_file(Path(path), max_bytes=MAX_BYTES)
    except FileNotFoundError as error:
        raise ConfigError("no such file", where=str(path), do="give the path of a YAML file") from error
    except RefusedFileError as error:
        what = "this is a folder" if Path(path).is_dir() else f"this is no configuration: {error.strerror}"
        raise ConfigError(what, where=str(path), do="give the path of a YAML file") from error
    except ValueError as error:  # a NUL in the path
        raise ConfigError("not a path", where=repr(str(path))) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {os_reason(error)}", where=str(path)) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", where=f"{path}:{line}", do="save the file as UTF-8") from error
    return parse_yaml(text, where=str(path))


def parse_yaml(text: str, *, where: str) -> Document:
    """Reads YAML text that holds one mapping with text keys. Raises ConfigError naming `where` and the line."""
    root, value = _load(text, lambda line: f"{where}:{line}")
    if root is None or value is None:
        raise ConfigError("the file is empty", where=where, do="see configs/ for examples")
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("not a mapping", where=where, do="write `key: value`, one a line")
    return Document(value, where, dict(_lines(root)))


def _lines(root: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    for key, value in root.value:
        yield key.value, key.start_mark.line + 1
        items = value.value if isinstance(value, yaml.SequenceNode) else ()
        for number, item in enumerate(items, 1):
            if isinstance(item, yaml.MappingNode):
                for inner, _ in item.value:
                    yield f"{key.value}[{number}].{inner.value}", inner.start_mark.line + 1


def parse_value(text: str, *, where: str) -> Any:
    """Reads one YAML value, as given on the command line. Raises ConfigError naming `where`."""
    return _load(text, lambda _: where)[1]


def _load(text: str, location: Callable[[int], str]) -> tuple[yaml.Node | None, Any]:
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"the character {chr(error.character)!a} is not allowed", where=location(line)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or "not valid YAML"
        if "another document" in what:
            what = "a second document (---): one file, one configuration"
        what = what if isinstance(error, _Refused) else f"not valid YAML: {what}"
        raise ConfigError(what, where=location(mark.line + 1 if mark else 1)) from error


class _Refused(yaml.MarkedYAMLError):
    """Raised for valid YAML that a configuration may not contain."""

    def __init__(self, problem: str, at: yaml.Event | yaml.Node) -> None:
        super().__init__(problem=problem, problem_mark=cast(Any, at.start_mark))


@dataclass
class _Extent:
    """How much a value holds with every alias written out: values in it, and levels."""

    nodes: int = 1
    levels: int = 1


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the YAML 1.2 core schema, without what a configuration has no use for."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (a class attribute of PyYAML's)
        None: [(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z")) for tag, pattern in _CORE_SCHEMA]
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[_Extent] = []
        self._extents: dict[int, _Extent] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise _Refused(f"the tag {event.tag!r} is not allowed", event)
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            extent = self._extents.get(id(node))
            if extent is None:
                raise _Refused(f"*{event.anchor} contains itself", event)
        else:
            if len(self._open) >= MAX_DEPTH:
                raise _Refused(f"nested deeper than {MAX_DEPTH} levels", event)
            extent = _Extent()
            self._open.append(extent)
            node = super().compose_node(parent, index)
            self._extents[id(node)] = self._open.pop()
        if self._open:
            outer = self._open[-1]
            outer.nodes += extent.nodes
            outer.levels = max(outer.levels, extent.levels + 1)
            if outer.nodes > MAX_NODES or outer.levels > MAX_DEPTH:
                raise _Refused(f"over {MAX_NODES} values or {MAX_DEPTH} levels, with every *alias written out", event)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: ARG002 (PyYAML's signature)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise _Refused(f"a key must be text, not {shown}", key)
            if key.value == "<<":
                raise _Refused("merge keys (<<) are not supported", key)
            if key.value in seen:
                raise _Refused(f"duplicate key {key.value!r}, already on line {seen[key.value]}", key)
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep=True)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MAX_DIGITS:
            raise _Refused(f"a whole number of over {MAX_DIGITS} digits", node)
        base = {"0o": 8, "0x": 16}.get(node.value[:2])
        return int(node.value, 10) if base is None else int(node.value[2:], base)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)


_PLAIN = re.compile(r"[a-z][a-z0-9_]*")
_NOT_TEXT = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def to_yaml(values: Mapping[str, Any]) -> str:
    """Settings as text that reads back as the same values, here and by YAML 1.1 readers: one `key: value` a line."""
    return "".join(f"{key}: {_text(value)}\n" for key, value in values.items())


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text  # YAML 1.1 reads 1e-05 as text
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(inner) for inner in value) + "]"
    return _quoted(str(value)) if isinstance(value, (str, Path)) else _quoted(repr(value))


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and text not in _NOT_TEXT:
        return text
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
