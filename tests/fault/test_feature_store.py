"""The feature store survives kills, full disks, damage, read-only folders and several processes at once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.fault.full_disks import no_room_beyond

from imagematch.config import parse_train
from imagematch.data import open_dataset
from imagematch.errors import DataError, StudyError
from imagematch.extractors import Extractor, make_extractor
from imagematch.features import FeatureStore, clear_features, list_entries, verify_features
from imagematch.features.entry import FeatureEntry, read_facts
from imagematch.files import digest_bytes

IMAGE_SIZE = 8


class Pictures:
    """Pictures that follow from their row; `slow_s` is how long decoding one takes."""

    def __init__(self, count: int, slow_s: float = 0.0) -> None:
        self.digests = np.array([digest_bytes(str(row).encode()) for row in range(count)])
        self.slow_s = slow_s

    def pixels(self, row: int, max_size: int, _framing: object = None) -> np.ndarray:
        time.sleep(self.slow_s)
        return np.random.default_rng(row).integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def pixels() -> Extractor:
    return make_extractor(
        SimpleNamespace(feature_extractor="pixels", weights="random", image_size=IMAGE_SIZE, trainable=False, seed=0)
    )


def expected(count: int) -> np.ndarray:
    dataset = Pictures(count)
    return np.stack([dataset.pixels(row, IMAGE_SIZE).reshape(-1) / 255 for row in range(count)]).astype(np.float32)


def check(array: np.ndarray) -> None:
    np.testing.assert_allclose(array, expected(len(array)), rtol=1e-5)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagematch.features.computation.Computation._block_rows", lambda _self: 16)


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import test_feature_store as t
from pathlib import Path
from imagematch.features.computation import Computation
Computation._block_rows = lambda self: 16
print(t.FeatureStore(Path({root!r})).features(t.Pictures({count}, {slow_s}), t.pixels()).computed, flush=True)
"""


def process(root: Path, count: int, slow_s: float) -> subprocess.Popen[str]:
    program = PROGRAM.format(tests=str(Path(__file__).parent), root=str(root), count=count, slow_s=slow_s)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_a_killed_process_loses_only_what_it_had_not_finished(tmp_path: Path) -> None:
    count, killed_with = 400, []
    for blocks_wanted in (1, 5, 9):
        with process(tmp_path, count, 0.01) as worker:
            assert worker.stdout is not None
            while len(_index(tmp_path)) < blocks_wanted * 280 and worker.poll() is None:
                time.sleep(0.005)
            worker.send_signal(signal.SIGKILL)
        (report,) = verify_features(tmp_path)
        assert (report.damaged_images, report.damage) == (0, ""), "a kill damages nothing"
        assert report.cut_off_rows in range(17)
        killed_with.append(report.images)
    assert killed_with == sorted(killed_with)
    assert 16 <= killed_with[0] < count
    found = FeatureStore(tmp_path).features(Pictures(count), pixels())
    assert found.computed == count - killed_with[-1]
    check(found.array)
    stored = sum(file.stat().st_size for file in tmp_path.glob("*/rows.bin"))
    unseen = stored > expected(count).nbytes  # a kill between the rows and their record leaves a gap
    assert isinstance(found.array, np.ndarray) != unseen


def _index(root: Path) -> bytes:
    return b"".join(file.read_bytes() for file in root.glob("*/index.bin"))


def test_of_several_processes_one_computes_and_the_others_read(tmp_path: Path) -> None:
    workers = [process(tmp_path, 200, 0.005) for _ in range(3)]
    computed = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sorted(computed) == [0, 0, 200]
    check(FeatureStore(tmp_path).features(Pictures(200), pixels()).array)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    store = FeatureStore(tmp_path / "features")
    assert store.features(Pictures(64), pixels()).computed == 64
    return next(store.root.glob("pixels-*"))


def repaired(folder: Path, *, mapped: bool = True) -> int:
    found = FeatureStore(folder.parent).features(Pictures(64), pixels())
    check(found.array)
    assert isinstance(found.array, np.ndarray) == mapped
    assert [entry.damaged_images for entry in verify_features(folder.parent)] == [0]
    assert FeatureStore(folder.parent).features(Pictures(64), pixels()).computed == 0
    return found.computed


@pytest.mark.parametrize("place", [0, 20_000, 49_151])
def test_a_flipped_bit_is_noticed_and_its_block_computed_again(kept: Path, place: int) -> None:
    data = bytearray((kept / "rows.bin").read_bytes())
    assert len(data) == 64 * IMAGE_SIZE * IMAGE_SIZE * 3 * 4
    data[place] ^= 1
    (kept / "rows.bin").write_bytes(bytes(data))
    assert repaired(kept) == 16


@pytest.mark.parametrize("size", [0, 5, 30_000, 49_151])
def test_rows_that_are_cut_off_are_computed_again(kept: Path, size: int) -> None:
    os.truncate(kept / "rows.bin", size)
    assert repaired(kept) == 16 * (4 - size // (16 * IMAGE_SIZE * IMAGE_SIZE * 3 * 4))


@pytest.mark.parametrize("size", [0, 10, 300, 1119])
def test_an_index_that_is_cut_off_loses_only_its_end(kept: Path, size: int) -> None:
    assert (kept / "index.bin").stat().st_size == 4 * 280
    os.truncate(kept / "index.bin", size)
    (report,) = verify_features(kept.parent)
    assert (report.damaged_images, report.damage, report.cut_off_rows) == (0, "", 64 - 16 * (size // 280))
    assert repaired(kept, mapped=size < 280) == 16 * (4 - size // 280)  # what is computed again has rows of its own


def flip(path: Path, place: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(bytes(data))


def test_a_flipped_bit_in_the_index_costs_its_block_alone(kept: Path) -> None:
    flip(kept / "index.bin", 280 + 100)
    (report,) = verify_features(kept.parent)
    assert (report.images, report.damaged_images, report.cut_off_rows) == (48, 0, 0)
    assert report.damage == "280 bytes of its index are damaged"
    assert repaired(kept, mapped=False) == 16
    assert [report.damage for report in verify_features(kept.parent)] == [""]


@pytest.mark.parametrize("bit", [1, 128])
def test_no_flipped_bit_in_the_index_is_called_sound(kept: Path, bit: int) -> None:
    index = kept / "index.bin"
    for place in range(index.stat().st_size):
        flip(index, place, bit)
        (report,) = verify_features(kept.parent)
        assert (report.images, report.damage != "") == (48, True), place
        flip(index, place, bit)
    assert [report.damage for report in verify_features(kept.parent)] == [""]


def test_rows_without_an_index_are_damage(kept: Path) -> None:
    (kept / "index.bin").unlink()
    assert [(report.images, report.damage) for report in verify_features(kept.parent)] == [(0, "its index is gone")]
    (kept / "entry.json").unlink()
    assert [report.damage for report in list_entries(kept.parent)] == [""], "that is not looked at"
    assert [report.damage for report in verify_features(kept.parent)] == ["its description is damaged"]
    assert repaired(kept) == 64


def test_an_index_that_ends_more_than_a_block_too_early_is_damage(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block_bytes = 16 * IMAGE_SIZE * IMAGE_SIZE * 3 * 4
    monkeypatch.setattr("imagematch.features.maintenance.BLOCK_BYTES", block_bytes)
    os.truncate(kept / "index.bin", 3 * 280)
    assert [report.damage for report in verify_features(kept.parent)] == [""], "a kill can leave that"
    os.truncate(kept / "index.bin", 2 * 280)
    assert [report.damage for report in verify_features(kept.parent)] == ["its index ends 32 rows too early"]


def test_a_first_block_that_is_cut_off_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("imagematch.features.entry.append_block", killed)
        with pytest.raises(KeyboardInterrupt):
            FeatureStore(tmp_path).features(Pictures(64), pixels())
    (report,) = verify_features(tmp_path)
    assert (report.images, report.damaged_images, report.damage, report.cut_off_rows) == (0, 0, "", 16)
    assert FeatureStore(tmp_path).features(Pictures(64), pixels()).computed == 64
    assert [(report.damage, report.cut_off_rows) for report in verify_features(tmp_path)] == [("", 0)]


def test_what_a_killed_writer_left_in_an_entry_goes(kept: Path) -> None:
    left = kept / ".tmp-killed.bin"
    left.touch()
    os.utime(left, (0, 0))
    assert FeatureStore(kept.parent).features(Pictures(65), pixels()).computed == 1
    assert not left.exists()


def dropped(kept: Path) -> None:
    entry = FeatureEntry(kept, read_facts(kept) or {})
    entry.drop(entry.blocks()[-1:])


@pytest.mark.parametrize("lose", [lambda kept: os.truncate(kept / "index.bin", 3 * 280), dropped])
def test_rows_that_another_process_has_mapped_stay_its_pictures(kept: Path, lose: Callable[[Path], None]) -> None:
    mapped = FeatureStore(kept.parent).features(Pictures(64), pixels()).array
    lose(kept)
    dataset = Pictures(80)
    others = SimpleNamespace(
        digests=dataset.digests[64:], pixels=lambda row, size, _framing: dataset.pixels(row + 64, size)
    )
    assert FeatureStore(kept.parent).features(others, pixels()).computed == 16
    check(mapped)
    assert repaired(kept, mapped=False) == 16
    check(mapped)


def test_a_write_that_fails_leaves_no_gap(kept: Path) -> None:
    size = (kept / "rows.bin").stat().st_size
    with no_room_beyond(size + 5_000), pytest.raises(StudyError, match="free some space"):
        FeatureStore(kept.parent).features(Pictures(80), pixels())
    assert (kept / "rows.bin").stat().st_size == size
    assert isinstance(FeatureStore(kept.parent).features(Pictures(80), pixels()).array.base, np.memmap)


def test_a_damaged_block_that_also_holds_other_pictures_is_forgotten(kept: Path) -> None:
    data = bytearray((kept / "rows.bin").read_bytes())
    data[100] ^= 1
    (kept / "rows.bin").write_bytes(bytes(data))
    few = FeatureStore(kept.parent).features(Pictures(8), pixels())
    assert few.computed == 8
    check(few.array)
    whole = FeatureStore(kept.parent).features(Pictures(64), pixels())
    assert whole.computed == 8
    check(whole.array)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"extractor"', '"extractnr"'),
        lambda text: text.replace('"dtype"', '"dtyqe"'),
        lambda text: text.replace("float32", "flxat32"),
        lambda text: text.replace('"image_size": 8', '"image_size": 9'),
        lambda text: text.replace('"created": "', '"created": 7, "x": "'),
        lambda text: text[:50],
        lambda text: "[]",
    ],
)
def test_a_damaged_description_is_noticed_and_written_again(kept: Path, damage: Callable[[str], str]) -> None:
    before = verify_features(kept.parent)
    text = (kept / "entry.json").read_text()
    (kept / "entry.json").write_text(damage(text))
    assert damage(text) != text
    (listed,) = list_entries(kept.parent)
    assert (listed.name, listed.images) == (kept.name, 64)
    assert [entry.damaged_images for entry in verify_features(kept.parent)] == [64]
    assert FeatureStore(kept.parent).features(Pictures(64), pixels()).computed == 0
    assert [(entry.extractor, entry.images, entry.damaged_images) for entry in verify_features(kept.parent)] == [
        (entry.extractor, entry.images, entry.damaged_images) for entry in before
    ]


def test_an_entry_whose_description_is_damaged_is_cleared_too(kept: Path) -> None:
    (kept / "entry.json").write_text("{")
    assert clear_features(kept.parent) > 0
    assert not kept.exists()


def test_features_that_are_cleared_while_they_are_read_are_told(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FeatureEntry.array

    def late(entry: FeatureEntry, rows: np.ndarray) -> np.ndarray:
        clear_features(kept.parent)
        return real(entry, rows)

    monkeypatch.setattr(FeatureEntry, "array", late)
    with pytest.raises(StudyError, match=r"rows\.bin: the features were removed while they were read; run again"):
        FeatureStore(kept.parent).features(Pictures(64), pixels())


def test_a_store_on_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StudyError, match=r"\.lock: cannot be locked: No locks available"):
        FeatureStore(tmp_path).features(Pictures(4), pixels())


def test_lost_files_are_made_again(kept: Path) -> None:
    (kept / "rows.bin").unlink()
    assert repaired(kept) == 64
    (kept / "entry.json").unlink()
    (kept / "index.bin").unlink()
    assert repaired(kept) == 64


def test_a_full_disk_gives_one_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    with no_room_beyond(30_000), pytest.raises(StudyError, match=r"rows\.bin") as caught:
        FeatureStore(tmp_path).features(Pictures(64), pixels())
    assert "\n" not in str(caught.value)
    assert "free some space" in str(caught.value)
    found = FeatureStore(tmp_path).features(Pictures(64), pixels())
    assert found.computed == 64 - 32
    check(found.array)


def test_a_picture_that_changes_during_extraction_is_not_kept_under_its_old_content(tmp_path: Path) -> None:
    root, old = tmp_path / "images", {}
    for row in range(40):
        path = root / "ab"[row % 2] / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), row, np.uint8)).save(path)
        old[path] = path.read_bytes()
    settings = parse_train({"experiment_name": "x", "dataset": "folder", "data_dir": str(root)})
    dataset = open_dataset(settings, manifest_dir=tmp_path / "manifests")
    changed = root / str(dataset.paths[20])
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(changed)
    store = FeatureStore(tmp_path / "features")
    with pytest.raises(DataError, match=f"{changed.name}: has changed since it was listed; run again"):
        store.features(dataset, pixels())
    again = open_dataset(settings, manifest_dir=tmp_path / "manifests")
    assert store.features(again, pixels()).array[20].min() == 1
    changed.write_bytes(old[changed])
    first = open_dataset(settings, manifest_dir=tmp_path / "manifests")
    assert store.features(first, pixels()).array[20].max() < 1


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write anywhere: gives that up for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def open_the_way_to(root: Path) -> None:
    """The folders above are pytest's, for root alone."""
    for path in root.parents:
        if path.is_relative_to(Path(tempfile.gettempdir())) and path != Path(tempfile.gettempdir()):
            path.chmod(0o755)


@pytest.mark.parametrize("place", ["index.bin", "", ".."])
def test_what_may_not_be_read_is_told_in_one_line(kept: Path, place: str) -> None:
    path = (kept / place).resolve()
    open_the_way_to(kept.parent)
    path.chmod(0)
    try:
        for ask in (list_entries, verify_features, lambda root: FeatureStore(root).features(Pictures(64), pixels())):
            with unprivileged(), pytest.raises(StudyError, match=r"cannot (read|write): Permission denied") as caught:
                ask(kept.parent)
            assert "\n" not in str(caught.value)
    finally:
        path.chmod(0o755)


def test_a_read_only_store_serves_what_it_has(kept: Path) -> None:
    root = kept.parent
    open_the_way_to(root)
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root.chmod(0o555)
    try:
        with unprivileged():
            found = FeatureStore(root).features(Pictures(64), pixels())
            assert found.computed == 0
            check(FeatureStore(root).features(Pictures(20), pixels()).array)
            with pytest.raises(StudyError, match="cannot write") as caught:
                FeatureStore(root).features(Pictures(65), pixels())
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)
    assert "\n" not in str(caught.value)
