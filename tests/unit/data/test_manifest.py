"""The manifest: read once, kept, refreshed where files change, rebuilt where it is damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagematch.data import Dataset, manifest
from imagematch.errors import DataError, StudyError
from imagematch.image_files import NotReadableHereError

from .conftest import write_image

Open = Callable[..., Dataset]


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths whose files are read."""
    seen: list[str] = []
    inspect = manifest._inspect_one

    def note(source: Any, entry: Any, max_pixels: int) -> Any:
        seen.append(entry.path)
        return inspect(source, entry, max_pixels)

    monkeypatch.setattr(manifest, "_inspect_one", note)
    return seen


def manifest_file(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "manifests").glob("*.jsonl")
    return path


def test_second_opening_reads_nothing(make_folder: Any, opened: Open, inspected: list[str]) -> None:
    root = make_folder({"a": 20, "b": 20})
    first = opened(data_dir=root)
    assert len(inspected) == 40
    inspected.clear()
    second = opened(data_dir=root)
    assert inspected == []
    assert second.digest == first.digest
    assert np.array_equal(second.widths, first.widths)


def test_only_changed_new_and_touched_files_are_read_again(
    make_folder: Any, opened: Open, inspected: list[str]
) -> None:
    root = make_folder({"a": 20, "b": 20})
    before = opened(data_dir=root)
    write_image(root / "a" / "3.png", seed=99, width=11)
    write_image(root / "b" / "new.png", seed=98)
    (root / "b" / "7.png").unlink()
    os.utime(root / "a" / "5.png", ns=(1, 1))
    inspected.clear()
    after = opened(data_dir=root)
    assert sorted(inspected) == ["a/3.png", "a/5.png", "b/new.png"]
    row = after.paths.tolist().index("a/3.png")
    assert after.widths[row] == 11
    assert after.digests[row] != before.digests[row]
    assert "b/7.png" not in after.paths


def test_what_a_killed_writer_left_beside_the_manifests_goes(make_folder: Any, opened: Open, tmp_path: Path) -> None:
    root, left = make_folder({"a": 20, "b": 20}), tmp_path / "manifests" / ".tmp-killed.jsonl"
    left.parent.mkdir()
    left.touch()
    os.utime(left, (0, 0))
    opened(data_dir=root)
    assert not left.exists()


def test_a_moved_folder_keeps_its_digest(make_folder: Any, opened: Open, tmp_path: Path) -> None:
    root = make_folder({"a": 20, "b": 20})
    before = opened(data_dir=root)
    root.rename(tmp_path / "moved")
    after = opened(data_dir=tmp_path / "moved")
    assert after.digest == before.digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"a/3.png"', b'"a/4.png"'),
        lambda data: data.replace(b'"width": [8, ', b'"width": [9, '),
        lambda data: b"\xff" * 100,
        lambda data: b"[]\n[]",
        lambda data: b"null",
    ],
)
def test_a_damaged_manifest_is_made_again(
    damage: Callable[[bytes], bytes], make_folder: Any, opened: Open, inspected: list[str], events: Any, tmp_path: Path
) -> None:
    root = make_folder({"a": 20, "b": 20})
    before = opened(data_dir=root)
    kept = manifest_file(tmp_path)
    kept.write_bytes(damage(kept.read_bytes()))
    inspected.clear()
    after = opened(data_dir=root)
    assert len(inspected) == 40
    assert after.digest == before.digest
    assert np.array_equal(after.widths, before.widths)
    assert events("manifest_rebuilt")[0]["path"] == str(kept)
    inspected.clear()
    opened(data_dir=root)
    assert inspected == []


def test_another_decoder_reads_everything_again(
    make_folder: Any, opened: Open, inspected: list[str], monkeypatch: pytest.MonkeyPatch, events: Any
) -> None:
    root = make_folder({"a": 20, "b": 20})
    opened(data_dir=root)
    monkeypatch.setattr(manifest, "DECODER_VERSION", "next")
    inspected.clear()
    opened(data_dir=root)
    assert len(inspected) == 40
    assert not events("manifest_rebuilt")


def test_file_says_what_it_is(make_folder: Any, opened: Open, tmp_path: Path) -> None:
    opened(data_dir=make_folder({"a": 20, "b": 20}))
    header, columns = map(json.loads, manifest_file(tmp_path).read_text().splitlines())
    assert header["rows"] == 40
    assert columns["path"][0] == "a/0.png"
    assert columns["label"][:1] + columns["status"][:1] + columns["mode"][:1] == ["a", "ok", "RGB"]


def break_files(root: Path, names: Sequence[str]) -> None:
    for name in names:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) // 2])


def test_corrupt_images_are_named_quarantined_and_survived(make_folder: Any, opened: Open, events: Any) -> None:
    root = make_folder({"a": 50, "b": 50})
    break_files(root, ["a/1.png"])
    (root / "a" / "2.png").write_bytes(b"")
    (root / "b" / "3.png").write_bytes(b"this is text")
    (root / "b" / "gone.png").symlink_to(root / "nowhere.png")
    for _ in range(2):  # read now, then from the manifest
        dataset = opened(data_dir=root)
        assert len(dataset) == 97
        reasons = {image.path: image.reason for image in dataset.quarantined}
        assert reasons.keys() == {"a/1.png", "a/2.png", "b/3.png", "b/gone.png"}
        assert "empty" in reasons["a/2.png"]
        assert "No such file" in reasons["b/gone.png"]
    told = events("corrupt_image")
    assert [(event["path"], event["reason"]) for event in told[:4]] == list(reasons.items())
    assert len(told) == 8


def test_a_repaired_image_comes_back(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 30, "b": 30})
    break_files(root, ["a/1.png"])
    assert len(opened(data_dir=root)) == 59
    write_image(root / "a" / "1.png", seed=5)
    assert len(opened(data_dir=root)) == 60


def test_over_five_percent_corrupt_stops(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 20, "b": 20})
    break_files(root, ["a/1.png", "b/2.png"])
    assert len(opened(data_dir=root)) == 38
    break_files(root, ["b/3.png", "b/4.png"])
    with pytest.raises(
        DataError, match=r"4 of 40 images cannot be used, over 5%: a/1.png \(.*b/2.png \(.*b/3.png \("
    ) as caught:
        opened(data_dir=root)
    assert "b/4.png" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unusual_names_are_kept(make_folder: Any, opened: Open, inspected: list[str]) -> None:
    root = make_folder({"a": 20, "b": 20})
    odd = ["ünïcödé 图像.png", "x" * 196 + ".png", "new\nline.png", '"quoted",=1+1.png', os.fsdecode(b"\xff.png")]
    for number, name in enumerate(odd):
        write_image(root / "a" / name, seed=500 + number)
    first = opened(data_dir=root)
    inspected.clear()
    second = opened(data_dir=root)
    assert inspected == []
    assert {f"a/{name}" for name in odd} <= set(second.paths.tolist())
    assert second.digest == first.digest


def test_a_manifest_folder_that_cannot_be_written(make_folder: Any, opened: Open, tmp_path: Path) -> None:
    root = make_folder({"a": 20, "b": 20})
    (tmp_path / "manifests").write_text("a file")
    with pytest.raises(StudyError, match="manifests"):
        opened(data_dir=root)


def test_an_interrupted_reading_leaves_the_old_manifest(
    make_folder: Any, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"a": 20, "b": 20})
    opened(data_dir=root)
    kept = manifest_file(tmp_path).read_bytes()
    write_image(root / "a" / "new.png", seed=7)

    def interrupt(*_: Any) -> Iterator[Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "_inspect", interrupt)
    with pytest.raises(KeyboardInterrupt):
        opened(data_dir=root)
    assert manifest_file(tmp_path).read_bytes() == kept


def test_removed_folder_forgets_nothing_of_the_others(make_folder: Any, opened: Open, inspected: list[str]) -> None:
    root = make_folder({"a": 20, "b": 20, "c": 30})
    opened(data_dir=root)
    opened(data_dir=root, max_classes=2)
    write_image(root / "c" / "new.png", seed=3)
    opened(data_dir=root, max_classes=2)
    inspected.clear()
    opened(data_dir=root)
    assert inspected == []
    shutil.rmtree(root / "c")
    opened(data_dir=root)
    assert inspected == []


def test_what_may_be_read_another_time_is_not_remembered(
    make_folder: Any, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory, a format's library or a high enough limit a file is not called corrupt for good."""
    root = make_folder({"a": 40, "b": 40})

    def short(data: bytes, *_: Any) -> Any:
        raise NotReadableHereError("there is not enough memory to decode it")

    (root / "a" / "3.png").write_bytes((root / "a" / "3.png").read_bytes() + b"\0")
    inspect = manifest.inspect
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "inspect", lambda data, *how: (short if data[-1:] == b"\0" else inspect)(data, *how))
        (image,) = opened(data_dir=root).quarantined
        assert (image.path, image.reason) == ("a/3.png", "there is not enough memory to decode it")
    assert opened(data_dir=root).quarantined == ()


def test_max_megapixels_counts_at_every_opening(make_folder: Any, opened: Open, inspected: list[str]) -> None:
    root = make_folder({"a": 40, "b": 40})
    write_image(root / "a" / "large.png", seed=5, width=1250, height=1000)
    assert opened(data_dir=root).quarantined == ()
    limited = opened(data_dir=root, max_megapixels=1)
    assert [(image.path, image.reason) for image in limited.quarantined] == [
        ("a/large.png", "has 1250 x 1000 pixels, over the limit of 1,000,000")
    ]
    inspected.clear()
    assert opened(data_dir=root, max_megapixels=2).quarantined == ()
    assert inspected == ["a/large.png"]
