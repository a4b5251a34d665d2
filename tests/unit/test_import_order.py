"""The rooms of the package import one way only, and TensorFlow late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import imagematch

PACKAGE = Path(imagematch.__file__).parent
ROOMS = (
    "errors",
    "reading",
    "disk_space",
    "files",
    "file_locks",
    "npz",
    "limited_process",
    "sqlite_files",
    "tensors",
    "image_files",
    "processor",
    "events",
    "interruption",
    "options",
    "framing",
    "registry",
    "keras_internals",
    "config",
    "callbacks",
    "learning_curves",
    "sources",
    "data",
    "extractors",
    "features",
    "model",
    "losses",
    "evaluation",
    "training",
    "matching",
    "retrieval",
    "tuning",
    "reporting",
    "pipeline",
    "serving",
    "cli",
)
FOUNDATION = set(ROOMS[: ROOMS.index("config")])
HEAVY = {"tensorflow", "keras", "openvino", "optuna", "plotly", "sklearn", "pandas"}
LATE = {"config", "sources", "data", "evaluation", "cli"}
"""Rooms whose modules import none of HEAVY at their top."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
            if node.module == "imagematch":
                found |= {f"imagematch.{alias.name}" for alias in node.names}
    return found


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or room_of(p) in ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    room = room_of(path)
    imported = {
        name.split(".")[1] for name in imports_of(ast.parse(path.read_text())) if name.startswith("imagematch.")
    }
    imported &= set(ROOMS)
    allowed = set(ROOMS[: ROOMS.index(room)]) | {room}
    if room in ("config", "evaluation"):
        allowed = FOUNDATION | {room}
    assert imported <= allowed


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) in LATE], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    assert not {name.split(".")[0] for name in imports_of(top)} & HEAVY


def test_every_room_is_in_the_order() -> None:
    assert {room_of(p) for p in PACKAGE.rglob("*.py")} - {"__init__", "__main__"} <= set(ROOMS)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["hpt.py", "--help"], 0),
        (["train.py", "--help"], 0),
        (["-m", "imagematch", "--help"], 0),
        (["hpt.py", "--hpt-config-filepath", "hpt_config.yaml", "--validate"], 0),
        (["train.py", "--config", "configs/train/digits.yaml", "--validate"], 0),
        (["train.py", "--config", "configs/train/digits.yaml", "--set", "epoch=3"], 2),
        (["hpt.py", "--hpt-config-filepath", "nowhere.yaml"], 2),
    ],
)
def test_no_tensorflow_before_the_configuration_is_checked(arguments: list[str], code: int) -> None:
    root = PACKAGE.parent.parent
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == code
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in run.stderr.splitlines() if "|" in line}
    assert "imagematch" in imported
    assert not imported & {"tensorflow", "keras", "openvino", "optuna", "sklearn", "pandas", "plotly"}


WITHOUT = """
import importlib, os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, name in ((os, "O_NOFOLLOW"), (os, "posix_fallocate"), (os, "sched_getaffinity"), (signal, "SIGKILL")):
    delattr(module, name)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_it_is_imported_where_the_system_is_another() -> None:
    """Windows has no fcntl and no resource, macOS no posix_fallocate; modules that import TensorFlow are left out."""
    light = []
    for path in MODULES:
        heavy = {name.split(".")[0] for node in ast.parse(path.read_text()).body for name in imports_of(node)}
        if not heavy & (HEAVY - {"openvino", "pandas"}):
            light.append(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"))
    assert len(light) > 200
    light = [name for name in light if not name.startswith(("imagematch.serving", "imagematch.reporting"))]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *light], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
