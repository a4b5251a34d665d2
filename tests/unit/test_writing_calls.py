"""Every call that writes a file, so that none is forgotten when the disk is full: each on a list, with a reason."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fault.write_sites import WRITES

import imagematch

PACKAGE = Path(imagematch.__file__).parent
WRITING = {
    *("write", "write_bytes", "writelines", "save", "savez", "savez_compressed", "savetxt", "tofile", "touch", "mkdir"),
    *("to_csv", "to_parquet", "to_excel", "write_index", "write_index_binary", "copyfile", "copy2", "copytree", "move"),
    *("makedirs", "ftruncate", "posix_fallocate", "pwrite", "rename", "symlink_to", "extractall", "imwrite", "backup"),
    *(
        "TemporaryDirectory",
        "TemporaryFile",
        "NamedTemporaryFile",
        "mkdtemp",
        "mkstemp",
        "export_archive",
        "save_model",
    ),
    *("save_weights", "write_html", "write_image", "dump", "upload_artifact", "executescript"),
}
"""Names of functions and methods that write a file, whatever they belong to; `open` and its like by their mode."""
ATOMIC = {"replacing", "replacing_dir"}
"""Whatever is written inside of these is told in one line, with the path and the room that it needs."""

IN_REPLACING = "called inside of `replacing` or `replacing_dir`"
IN_REPORTING = "writes by `files.write_text`"
LEFT_OUT = "a cache: what cannot be written is made again next time"
NO_FILE = "writes no file"
CALLBACK = "of a callback, whose failure is a warning and ends nothing"
TEMPORARY = "below the system's temporary folder; a full one is told by `cli.running`"

PLACES: dict[str, dict[str, str]] = {
    "callbacks/tensorboard.py": {
        "path.open": CALLBACK,
        "self._records.write": CALLBACK,
        "self._records.write (2)": CALLBACK,
    },
    "cli/running.py": {"os.fdopen": NO_FILE},
    "config/reference.py": {"path.parent.mkdir": "of `make reference`, which maintainers run"},
    "data/fetching.py": {
        "inner.rename": "download",
        "part.open": "download",
        "file.write": "download",
    },
    "data/manifest.py": {"os.fdopen": LEFT_OUT, "file_names.write": LEFT_OUT},
    "data/unpacking.py": {
        "target.mkdir": "unpacking",
        "(path if content is None else path.parent).mkdir": "unpacking",
        "path.open": "unpacking",
        "file.write": "unpacking",
    },
    "events.py": {"self._path.open": "run log", "file.write": "run log"},
    "extractors/engines/conversion.py": {
        "tempfile.TemporaryDirectory": TEMPORARY,
        "tempfile.TemporaryDirectory (2)": TEMPORARY,
    },
    "extractors/engines/network_file.py": {"openvino.save_model": IN_REPLACING},
    "extractors/engines/onnx_conversion.py": {"(target / FACTS_FILE).write_text": TEMPORARY},
    "extractors/engines/trial_run.py": {"mark.parent.mkdir": LEFT_OUT, "mark.touch": LEFT_OUT},
    "extractors/network_files.py": {"tempfile.TemporaryDirectory": TEMPORARY, "remembered.parent.mkdir": LEFT_OUT},
    "features/arrays.py": {
        "tempfile.TemporaryFile": "features, copied",
        "os.posix_fallocate": "features, copied",
        "os.ftruncate": "features, copied",
        "np.memmap": "features, copied",
    },
    "features/entry.py": {"os.ftruncate": "features"},
    "features/entry_index.py": {
        "os.ftruncate": "features, their index",
        "os.ftruncate (2)": "features, their index",
        "os.pwrite": "features, their index",
    },
    "files.py": {
        "path.mkdir": "any file of ours",
        "path.rename": IN_REPLACING,
        "fresh.rename": IN_REPLACING,
        "old.rename": LEFT_OUT,
    },
    "limited_process.py": {"os.fdopen": NO_FILE, "answer.write": NO_FILE},
    "matching/upgrade.py": {
        "tempfile.TemporaryDirectory": "upgrade",
        "folder.rename": "upgrade",
        "new.rename": "upgrade",
        "(new / name).write_bytes": "upgrade",
    },
    "pipeline/api.py": {"os.fdopen": NO_FILE},
    "pipeline/export.py": {"write": IN_REPORTING, "exporter.write": IN_REPLACING},
    "pipeline/exporters.py": {
        "tempfile.TemporaryDirectory": TEMPORARY,
        "path.write_bytes": IN_REPLACING,
        "openvino.save_model": IN_REPLACING,
    },
    "pipeline/training_run.py": {
        "pd.DataFrame(result.history).to_csv": IN_REPLACING,
        "shutil.copyfile": IN_REPLACING,
    },
    "reporting/images.py": {"image.save": NO_FILE},
    "reporting/model_report.py": {"page.write": IN_REPORTING},
    "reporting/retrieval_pages.py": {"page.write": IN_REPORTING, "page.write (2)": IN_REPORTING},
    "reporting/study_report.py": {"page.write": IN_REPORTING},
    "retrieval/folder_search.py": {"saved.save": IN_REPLACING, "empty.save": IN_REPLACING},
    "retrieval/gallery_copy.py": {"base.backup": IN_REPLACING},
    "retrieval/gallery_images.py": {
        "Image.fromarray(pixels).save": NO_FILE,
        "Image.fromarray(pixels).save (2)": NO_FILE,
    },
    "retrieval/gallery_index.py": {"self.save": LEFT_OUT},
    "retrieval/index_files.py": {"import_faiss().write_index": IN_REPLACING},
    "sources/parquet_rows.py": {
        "tempfile.TemporaryDirectory": TEMPORARY,
        "Path(target).open": TEMPORARY,
        "file.write": TEMPORARY,
    },
    "tensors.py": {"path.open": IN_REPLACING, "file.write": IN_REPLACING, "file.write (2)": IN_REPLACING},
    "tuning/dashboard.py": {
        "tempfile.TemporaryDirectory": "dashboard",
        "path.write_text": "dashboard",
        "upload_artifact": "dashboard",
    },
    "tuning/storage.py": {"path.open": "made empty; `test_full_disk.py` fills the disk of a study"},
    "tuning/worker_process.py": {
        "log_path.open": "made empty; `test_full_disk.py` puts a file in its way",
        "self._process.stdin.write": NO_FILE,
        "self._output.write": NO_FILE,
        "os.fdopen": NO_FILE,
    },
}
"""Module -> its calls outside of `replacing` and `replacing_dir` -> why, or the case in `fault/write_sites.py`."""


def _is_writing(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "write_text":  # Path's; our function of that name is atomic
        return isinstance(call.func, ast.Attribute)
    if name in ("open", "fdopen", "memmap"):
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        modes = [node.value for one in given for node in ast.walk(one) if isinstance(node, ast.Constant)]
        return any(isinstance(mode, str) and set(mode) <= set("rwaxbt+") and set("wax+") & set(mode) for mode in modes)
    return name in WRITING and (name != "to_csv" or bool(call.args))  # without a path it gives text


def _calls(node: ast.AST, *, atomic: bool = False) -> Iterator[str]:
    """How each call that writes is written, unless it is in the body of `with replacing(...)`."""
    if isinstance(node, ast.With):
        entered = [item.context_expr.func for item in node.items if isinstance(item.context_expr, ast.Call)]
        atomic = atomic or any(getattr(one, "id", "") in ATOMIC for one in entered)
    if isinstance(node, ast.Call) and not atomic and _is_writing(node):
        yield ast.unparse(node.func)
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, atomic=atomic)


def calls_in(source: str) -> list[str]:
    """The calls of a module that write; a repeated one with its number."""
    counted = Counter(_calls(ast.parse(source)))
    return sorted(f"{call} ({n})" if n > 1 else call for call, times in counted.items() for n in range(1, times + 1))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a.write_text(b)\nwrite_text(a, b)", ["a.write_text"]),
        ("open(a)\nopen(a, 'w')\na.open('ab' if b else 'wb')", ["a.open", "open"]),
        ("with replacing(a) as b, b.open('wb') as c:\n    np.savez(c)\nnp.savez(a)\nnp.savez(b)", None),
    ],
)
def test_a_call_is_found_however_it_is_written(source: str, found: list[str] | None) -> None:
    assert calls_in(source) == (found or ["np.savez", "np.savez (2)"])


def test_every_call_that_writes_is_reviewed() -> None:
    """A new one goes inside `files.replacing`; where it cannot, it gets a case in `tests/fault/write_sites.py`."""
    found = {
        path.relative_to(PACKAGE).as_posix(): calls
        for path in sorted(PACKAGE.rglob("*.py"))
        if (calls := calls_in(path.read_text(encoding="utf-8")))
    }
    assert found == {module: sorted(calls) for module, calls in PLACES.items()}


def test_each_is_tested_on_a_full_disk_or_says_why_not() -> None:
    reasons = {reason for calls in PLACES.values() for reason in calls.values()}
    assert {reason for reason in reasons - set(WRITES) if "`" not in reason} == {LEFT_OUT, NO_FILE, CALLBACK}
