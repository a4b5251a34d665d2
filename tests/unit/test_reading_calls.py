"""Every call that opens a file for reading, so that no new one can be forgotten: each on a list, with a reason."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import imagematch

PACKAGE = Path(imagematch.__file__).parent
OPENING = {
    *("open", "read_text", "read_bytes", "fdopen", "urlopen", "get_file"),
    *("load", "fromfile", "memmap", "open_memmap", "loadtxt", "genfromtxt", "File", "connect", "create_engine"),
    *("ZipFile", "is_zipfile", "PyZipFile", "TarFile", "GzipFile", "BZ2File", "LZMAFile", "unpack_archive"),
    *("read_index", "read_index_binary", "read_csv", "read_parquet", "read_metadata", "read_json", "read_pickle"),
    *("read_table", "read_feather", "read_hdf", "read_excel", "ParquetFile", "InferenceSession", "Interpreter"),
    *("read_model", "compile_model", "load_model", "load_weights", "load_file", "safe_open", "from_preset"),
    *("imread", "CascadeClassifier", "import_module", "RDBStorage", "JournalFileBackend", "FileSystemArtifactStore"),
}
"""Names of functions and methods that read a file by its name, whatever they belong to."""
OURS = {
    *("read_bytes", "read_index", "load_weights", "ImageMatcher.load", "Gallery.open", "cls.open"),
    *("GALLERY_STORES.of(location).open", "GALLERY_STORES.of(str(location)).open"),
}
"""Functions of ours that are called so, and go through `imagematch.reading` themselves."""

CHECKING = {"open_file", "read_file", "check_file", "text_lines", "open_zip", "open_npz", "file_counts"}
"""Ours, which refuse what is no regular file of bounded size."""

CHECKED = "looked at by `reading` before, in the same function or the one that calls it"
OWN = "a file that this process has just written, below a name of its own"
WRITES = "written to, not read"
SYSTEM = "a file of the system, or of this package"
NET = "an answer of the network, whose length is bounded where it is read"
NO_FILE = "reads no file: bytes, text or an object in memory"
SYNCS = "opened to be locked or made durable, not read"
ARTIFACTS = "optuna-dashboard gives out what the study itself keeps there"
PINNED = "bytes that were read by `reading` and have one SHA-256, which is written down"
PLUG_IN = "a plug-in of a package that the user has installed"
OTHERS = "reviewed with the module it is in: a matcher's folder, or what a run itself has written"
"""The reasons."""


PLACES: dict[str, dict[str, str]] = {
    "cli/running.py": {
        "os.fdopen": NO_FILE,
        "os.open": SYSTEM,
        "os.open (2)": SYSTEM,
    },
    "data/decoding.py": {
        "image.load": NO_FILE,
        "image.load (2)": NO_FILE,
    },
    "data/faces/haar.py": {
        "cv2.CascadeClassifier": SYSTEM,
    },
    "data/faces/mtcnn.py": {
        "joblib.load": PINNED,
        "ov.Core().compile_model": NO_FILE,
    },
    "data/fetching.py": {
        "_opener().open": NET,
        "part.open": WRITES,
    },
    "data/near_duplicates.py": {
        "temporary.open": WRITES,
    },
    "data/manifest.py": {
        "os.fdopen": WRITES,
        "os.open": WRITES,
    },
    "data/unpacking.py": {
        "bz2.BZ2File": CHECKED,
        "gzip.GzipFile": CHECKED,
        "lzma.LZMAFile": CHECKED,
        "opened.open": CHECKED,
        "path.open": WRITES,
        "tarfile.open": CHECKED,
        "zipfile.is_zipfile": CHECKED,
    },
    "pipeline/api.py": {
        "os.fdopen": NO_FILE,
        "os.open": SYSTEM,
    },
    "callbacks/tensorboard.py": {"path.open": WRITES},
    "events.py": {
        "self._path.open": WRITES,
    },
    "features/store.py": {"choice.open": NO_FILE},
    "extractors/engines/choice.py": {
        "choice.open": NO_FILE,
        "choose_engine(network, engine, precision, cache_dir, log).open": NO_FILE,
    },
    "extractors/engines/conversion.py": {
        "core.compile_model": NO_FILE,
    },
    "extractors/engines/network_file.py": {
        "core.read_model": OTHERS,
        "new.read_bytes": OTHERS,
        "np.memmap": OTHERS,
    },
    "extractors/engines/openvino.py": {
        "self._core.compile_model": NO_FILE,
    },
    "extractors/__init__.py": {
        "import_module": SYSTEM,
    },
    "extractors/kerashub_presets.py": {
        "get_file": NET,
        "get_file (2)": NET,
        "get_file (3)": NET,
        "hub.layers.ImageConverter.from_preset": CHECKED,
        "hub.models.Backbone.from_preset": CHECKED,
    },
    "extractors/networks/bit.py": {
        "keras.utils.get_file": NET,
    },
    "extractors/weights.py": {
        "archive.open": CHECKED,
        "h5py.File": CHECKED,
        "h5py.File (2)": CHECKED,
        "h5py.h5a.open": NO_FILE,
        "network.load_weights": CHECKED,
    },
    "features/computation.py": {
        "self._choice.open": NO_FILE,
    },
    "features/entry.py": {
        "np.memmap": CHECKED,
        "np.memmap (2)": CHECKED,
        "os.open": WRITES,
    },
    "features/arrays.py": {
        "np.memmap": OWN,
    },
    "features/entry_index.py": {
        "os.open": WRITES,
    },
    "file_locks.py": {
        "os.open": SYNCS,
    },
    "files.py": {
        "file.open": OWN,
        "os.open": SYNCS,
        "os.open (2)": SYNCS,
        "os.open (3)": SYNCS,
        "temporary.open": OWN,
    },
    "limited_process.py": {
        "import_module": SYSTEM,
        "os.fdopen": WRITES,
    },
    "losses/lazy.py": {
        "import_module": SYSTEM,
    },
    "matching/format_1.py": {
        "keras.saving.load_model": OTHERS,
        "zipfile.ZipFile": OTHERS,
    },
    "model/__init__.py": {
        "import_module": SYSTEM,
    },
    "npz.py": {
        "self._archive.open": CHECKED,
        "self._archive.open (2)": CHECKED,
        "zipfile.ZipFile": CHECKED,
    },
    "pipeline/experiments.py": {
        "pd.read_csv": OTHERS,
    },
    "pipeline/exporters.py": {
        "onnxruntime.InferenceSession": OWN,
        "openvino.Core().compile_model": OWN,
        "path.read_bytes": OWN,
        "path.read_bytes (2)": OWN,
        "tf.saved_model.load": OWN,
    },
    "processor.py": {
        "_CPUINFO.open": SYSTEM,
    },
    "reading.py": {
        "os.fdopen": CHECKED,
        "os.open": CHECKED,
    },
    "registry.py": {
        "entry.load": PLUG_IN,
        "import_module": SYSTEM,
        "import_module (2)": SYSTEM,
    },
    "reporting/html/page.py": {
        "resources.files('imagematch.reporting.html').joinpath(name).read_text": SYSTEM,
    },
    "reporting/projector.py": {
        "written.read_text": OWN,
    },
    "retrieval/gallery_copy.py": {
        "SqliteStore.open": CHECKED,
        "sqlite3.connect": WRITES,
    },
    "retrieval/gallery_index.py": {
        "faiss.read_index": CHECKED,
    },
    "retrieval/index.py": {
        "faiss.read_index": CHECKED,
    },
    "retrieval/postgresql_store.py": {
        "create_engine": NET,
    },
    "retrieval/sqlite_store.py": {
        "sqlite3.connect": WRITES,
    },
    "serving/app.py": {
        "_PAGE_FILES.joinpath(name).read_bytes": SYSTEM,
    },
    "sqlite_files.py": {
        "sqlite3.connect": CHECKED,
    },
    "sources/parquet_rows.py": {
        "ParquetFile": CHECKED,
        "ParquetFile (2)": CHECKED,
        "Path(target).open": WRITES,
    },
    "retrieval/submission.py": {
        "urllib.request.build_opener(_NoRedirection).open": NET,
    },
    "tensors.py": {
        "path.open": WRITES,
    },
    "training/__init__.py": {
        "import_module": SYSTEM,
    },
    "training/precision.py": {"choice.open": NO_FILE},
    "training/checkpoint.py": {
        "temporary.open": WRITES,
    },
    "tuning/dashboard.py": {
        "FileSystemArtifactStore": WRITES,
        "FileSystemArtifactStore (2)": ARTIFACTS,
    },
    "tuning/locks.py": {
        "storage.engine.connect": CHECKED,
        "storage.engine.connect (2)": CHECKED,
    },
    "tuning/recovery.py": {
        "Path(path).read_text": SYSTEM,
    },
    "tuning/sqlite_file.py": {
        "sqlite3.connect": CHECKED,
        "sqlite3.connect (2)": CHECKED,
    },
    "tuning/storage.py": {
        "RDBStorage": CHECKED,
        "create_engine": CHECKED,
        "create_engine (2)": CHECKED,
        "create_engine (3)": CHECKED,
        "create_engine(url, **unpooled).connect": CHECKED,
        "create_engine(url, poolclass=NullPool, connect_args={'factory': BoundedConnection}).connect": CHECKED,
        "path.open": WRITES,
    },
    "tuning/worker_process.py": {
        "log_path.open": WRITES,
        "os.fdopen": NO_FILE,
    },
}
"""Module -> its calls, the second of the same form with a number -> why that is in order."""


def calls_in(source: str) -> list[str]:
    """How each call that may open a file is written, without its arguments; a repeated one with its number."""
    found: Counter[str] = Counter()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in OPENING and (written := ast.unparse(node.func)) not in OURS:
                found[written] += 1
    return sorted(f"{call} ({n})" if n > 1 else call for call, times in found.items() for n in range(1, times + 1))


def test_a_call_is_found_however_it_is_written() -> None:
    source = "open(a)\nPath(b).open()\nnp.load(c)\nnp.load(d)\nwith h5py.File(e, 'r') as f: pass\nread_bytes(g)"
    assert calls_in(source) == ["Path(b).open", "h5py.File", "np.load", "np.load (2)", "open"]


def test_every_call_that_opens_a_file_for_reading_is_reviewed() -> None:
    """A new one goes through `imagematch.reading`; where a library must open the file by its name, `check_file` comes
    first, and the call is put on the list above with the reason."""
    found = {
        path.relative_to(PACKAGE).as_posix(): set(calls)
        for path in sorted(PACKAGE.rglob("*.py"))
        if (calls := calls_in(path.read_text(encoding="utf-8")))
    }
    reviewed = {module: set(calls) for module, calls in PLACES.items()}
    new = {module: calls - reviewed.get(module, set()) for module, calls in found.items()}
    assert {module: calls for module, calls in new.items() if calls} == {}, "these open files and were not reviewed"
    gone = {module: calls - found.get(module, set()) for module, calls in reviewed.items()}
    assert {module: calls for module, calls in gone.items() if calls} == {}, "these are no more: strike them off"


def test_every_reason_is_given() -> None:
    assert all(reason for calls in PLACES.values() for reason in calls.values())


def test_what_is_checked_before_is_in_a_module_that_checks() -> None:
    """A library that opens a file by its name relies on a check in the same module, or on one that says so."""
    elsewhere = {
        "retrieval/gallery_copy.py",
        "tuning/locks.py",
        "tuning/storage.py",
        "retrieval/index.py",
        "extractors/weights.py",
    }
    for module, calls in PLACES.items():
        if CHECKED in calls.values() and module not in elsewhere:
            names = {
                node.id for node in ast.walk(ast.parse((PACKAGE / module).read_text())) if isinstance(node, ast.Name)
            }
            assert names & CHECKING or module == "reading.py", module
