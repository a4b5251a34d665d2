"""The package as a whole: rooms import one way, names are unique, and words are those of the glossary."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import imagematch

PACKAGE = Path(imagematch.__file__).parent
RETIRED = {
    "figures": "metrics or plots",
    "picture": "image",
    "pictures": "image",
    "kept": "cached or saved",
    "keeping": "cache",
    "told": "reported",
    "telling": "progress",
    "asked": "requested",
    "judge": "calibrate, or measure",
    "judged": "per-epoch validation",
    "judging": "calibration",
    "repeat": "duplicate trial, or rerun",
    "repeats": "duplicate trial, or rerun",
    "refusal": "storage error",
    "refusals": "storage errors",
    "siblings": "rerun study",
    "survey": "scan",
    "surveyed": "scanned",
    "walking": "find files",
    "looks": "fingerprints",
    "upkeep": "maintenance",
    "checking": "audit",
    "existing": "prompts",
    "child": "worker",
    "children": "workers",
    "beat": "send_heartbeat",
    "bury": "reap",
    "doubt": "mark_stale",
    "materials": "TrainingData",
}
"""Word -> what CONTRIBUTING's glossary has for it."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def public_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """The package's modules that are imported anywhere, also inside functions and for type checking."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "imagematch":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def test_a_public_name_is_defined_once() -> None:
    defined = defaultdict(list)
    for module, tree in TREES.items():
        for name in public_names(tree):
            defined[name].append(module)
    assert {name: modules for name, modules in defined.items() if len(modules) > 1} == {}


def test_a_room_is_entered_by_its_door() -> None:
    past = [
        (module, node.module)
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imagematch.")
        if str(node.module).count(".") > 1
        and room(str(node.module)) != room(module)
        and module != "imagematch.__main__"
    ]
    assert past == []


def test_no_circle_inside_a_room() -> None:
    inside = {
        module: {one for one in imported_modules(tree) if room(one) == room(module) and one != module}
        for module, tree in TREES.items()
    }

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        ahead = list(inside[start])
        while ahead:
            module = ahead.pop()
            if module not in found:
                found.add(module)
                ahead += inside.get(module, ())
        return found

    assert [module for module in inside if module in reachable(module)] == []


def words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_files_and_public_names_use_the_words_of_the_glossary() -> None:
    found = [
        f"{module}: {name} ({RETIRED[word]})"
        for module, tree in TREES.items()
        for name in (module.rsplit(".", 1)[-1], *public_names(tree))
        for word in words_of(name) & RETIRED.keys()
    ]
    assert found == []
