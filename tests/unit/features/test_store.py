from __future__ import annotations

import errno
import importlib.util
import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.errors import DataError, ModelError, StudyError
from imagematch.events import RunLog
from imagematch.extractors import (
    Concatenation,
    Extractor,
    SavedExtractor,
    build_network,
    choose_extractor,
    concatenate_features,
    make_extractor,
    open_engine,
)
from imagematch.extractors.engines.engine import PixelEngine, enlarge
from imagematch.features import MIRROR, Features, FeatureStore, clear_features, list_entries, verify_features
from imagematch.features.entry_index import read_index
from imagematch.files import digest_bytes
from imagematch.registry import EXTRACTOR_REGISTRY


class Pictures:
    """A data set of pictures in memory that counts how often each is decoded."""

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures = pictures
        self.digests = np.array([digest_bytes(picture.tobytes()) for picture in pictures])
        self.decoded: list[int] = []

    def pixels(self, row: int, max_size: int, _framing: object = None) -> np.ndarray:
        self.decoded.append(row)
        return self.pictures[row]


def some_pictures(count: int, seed: int = 0, size: int = 6) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8))


def pixels(image_size: int = 8, **changes: Any) -> Extractor:
    settings = {"weights": "random", "trainable": False, "seed": 0} | changes
    return make_extractor(SimpleNamespace(feature_extractor="pixels", image_size=image_size, **settings))


def expected(pictures: list[np.ndarray], image_size: int = 8) -> np.ndarray:
    return np.stack([enlarge(picture[None], image_size).reshape(-1) / 255 for picture in pictures])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features")


def test_features_are_the_engine_s_in_the_order_of_the_data_set(store: FeatureStore) -> None:
    dataset = Pictures([*some_pictures(40), *some_pictures(40, 1, 7), *some_pictures(40, 2)])
    found = store.features(dataset, pixels())
    np.testing.assert_allclose(found.array, expected(dataset.pictures), rtol=1e-5, atol=1e-6)
    assert (found.engine, found.precision, found.computed) == ("numpy", "float32", 120)
    assert sorted(dataset.decoded) == list(range(120))


def test_the_second_time_runs_the_network_zero_times(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Pictures(some_pictures(30))
    first = store.features(dataset, pixels())
    dataset.decoded.clear()
    monkeypatch.setattr(PixelEngine, "start", lambda *_: pytest.fail("the network ran"))
    second = FeatureStore(store.root).features(dataset, pixels())
    assert second.computed == 0
    assert dataset.decoded == []
    np.testing.assert_array_equal(first.array, second.array)


def test_the_array_is_mapped_where_the_order_is_the_same(store: FeatureStore) -> None:
    dataset = Pictures(some_pictures(30))
    for _ in range(2):
        array = store.features(dataset, pixels()).array
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable


def test_another_order_a_subset_and_a_second_data_set_compute_nothing(store: FeatureStore) -> None:
    pictures = some_pictures(30)
    store.features(Pictures(pictures), pixels())
    for chosen in (pictures[::-1], pictures[7:19], pictures[3:20:4], pictures[5:6] * 3, []):
        found = store.features(Pictures(chosen), pixels())
        assert found.computed == 0
        assert found.array.shape == (len(chosen), 8 * 8 * 3)
        if chosen:
            np.testing.assert_allclose(found.array, expected(chosen), rtol=1e-5, atol=1e-6)


def test_a_changed_picture_is_computed_alone(store: FeatureStore) -> None:
    pictures = some_pictures(30)
    store.features(Pictures(pictures), pixels())
    pictures[11] = some_pictures(1, 9)[0]
    changed = Pictures(pictures)
    found = store.features(changed, pixels())
    assert found.computed == 1
    assert changed.decoded == [11]
    rows = np.array([[11, 3], [29, 11]])
    np.testing.assert_allclose(found.array[rows], expected(pictures)[rows], rtol=1e-5, atol=1e-6)
    assert not isinstance(found.array, np.ndarray), "nothing is copied but what is asked for"
    np.testing.assert_allclose(found.array, expected(pictures), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("a_second", "blocks"), [(1, [64, 20, 20, 6]), (10, [64, 46])])
def test_the_first_block_is_small_and_the_others_take_twenty_seconds(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, a_second: int, blocks: list[int]
) -> None:
    dataset = Pictures(some_pictures(110))
    clock = SimpleNamespace(monotonic=lambda: len(dataset.decoded) / a_second)
    monkeypatch.setattr("imagematch.features.computation.time", clock)
    assert store.features(dataset, pixels()).computed == 110
    (index,) = store.root.glob("*/index.bin")
    assert [block.count for block in read_index(index).blocks] == blocks


def test_identical_files_are_computed_once_and_stay_mapped(store: FeatureStore) -> None:
    pictures = some_pictures(10)
    dataset = Pictures([*pictures, pictures[3], pictures[3], *some_pictures(3, 1)])
    found = store.features(dataset, pixels())
    assert found.computed == 13
    assert len(dataset.decoded) == 13
    assert isinstance(found.array.base, np.memmap)
    np.testing.assert_allclose(found.array, expected(dataset.pictures), rtol=1e-5, atol=1e-6)


def test_identical_files_across_blocks_are_computed_once(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagematch.features.computation.Computation._block_rows", lambda _self: 4)
    pictures = some_pictures(10)
    dataset = Pictures([*pictures, *pictures])
    found = store.features(dataset, pixels())
    assert found.computed == 10
    np.testing.assert_allclose(found.array, expected(dataset.pictures), rtol=1e-5, atol=1e-6)


def test_what_changes_the_features_changes_the_entry(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Pictures(some_pictures(3))
    assert store.features(dataset, pixels()).computed == 3
    assert store.features(dataset, pixels(9)).computed == 3
    assert store.features(dataset, pixels(seed=7)).computed == 0
    monkeypatch.setattr("imagematch.features.store.DECODER_VERSION", "other")
    assert store.features(dataset, pixels()).computed == 3


def test_other_weights_in_the_file_have_every_picture_computed_again(store: FeatureStore, tmp_path: Path) -> None:
    dataset, file = Pictures(some_pictures(5)), tmp_path / "own.weights.h5"
    settings = {"feature_extractor": "small_cnn", "image_size": 16, "trainable": False, "seed": 0}

    def found(weights: Path) -> Features:
        network = make_extractor(SimpleNamespace(weights=str(weights), **settings))
        return store.features(dataset, network, engine="tensorflow", precision="float32")

    build_network(EXTRACTOR_REGISTRY.all()["small_cnn"], 16, 1).save_weights(file)
    first = found(file)
    assert first.computed == 5
    assert found(file.rename(tmp_path / "renamed.weights.h5")).computed == 0
    build_network(EXTRACTOR_REGISTRY.all()["small_cnn"], 16, 2).save_weights(file)
    other = found(file)
    assert other.computed == 5
    assert np.abs(other.array[:] - first.array[:]).max(axis=1).min() > 0
    assert len(list_entries(store.root)) == 2


def test_augmented_views_are_kept_and_always_the_same(store: FeatureStore, tmp_path: Path) -> None:
    dataset = Pictures(some_pictures(5))
    plain = store.features(dataset, pixels()).array
    first = store.features(dataset, pixels(), view=1, seed=3)
    second = store.features(dataset, pixels(), view=2, seed=3)
    assert (first.computed, second.computed) == (5, 5)
    assert store.features(dataset, pixels(), view=1, seed=3).computed == 0
    again = FeatureStore(tmp_path / "other").features(Pictures(dataset.pictures[::-1]), pixels(), view=1, seed=3)
    np.testing.assert_array_equal(again.array[::-1], first.array)
    for one, other in ((plain, first.array), (first.array, second.array)):
        assert np.abs(one - other).max(axis=1).min() > 0.01


def test_the_mirror_images_are_kept_as_a_view_of_their_own(store: FeatureStore) -> None:
    dataset = Pictures(some_pictures(5))
    plain = store.features(dataset, pixels())
    mirrored = store.features(dataset, pixels(), view=MIRROR)
    assert (plain.computed, mirrored.computed) == (5, 5)
    np.testing.assert_allclose(mirrored.array, expected([p[:, ::-1] for p in dataset.pictures]), rtol=1e-5, atol=1e-6)
    assert store.features(dataset, pixels(), view=MIRROR, seed=9).computed == 0
    np.testing.assert_array_equal(store.features(dataset, pixels()).array, plain.array)


def side_by_side_of(*names: str) -> Concatenation:
    settings = {"weights": "random", "trainable": False, "seed": 0, "image_size": 32}
    chosen = choose_extractor(SimpleNamespace(feature_extractor=names, **settings))
    assert isinstance(chosen, Concatenation)
    return chosen


def test_networks_side_by_side_are_kept_one_by_one(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Pictures(some_pictures(12))
    both = side_by_side_of("pixels", "mobilenet_025")
    alone = [store.features(dataset, member, engine="tensorflow") for member in both.members]
    dataset.decoded.clear()
    monkeypatch.setattr("imagematch.features.extraction.extract", lambda *_: pytest.fail("the network ran"))
    found = store.features(dataset, both, engine="tensorflow")
    assert (found.computed, found.engine, found.precision) == (0, "tensorflow", "float32")
    assert dataset.decoded == []
    arrays = [np.asarray(one.array) for one in alone]
    assert found.array.shape == (12, arrays[0].shape[1] + arrays[1].shape[1])
    assert len(found.array) == 12
    for rows in (np.array([[3, 1], [11, 1]]), slice(2, 7), np.array([], np.int64)):
        np.testing.assert_array_equal(found.array[rows], concatenate_features([array[rows] for array in arrays]))
    np.testing.assert_array_equal(np.asarray(found.array), concatenate_features(arrays))
    assert len(list_entries(store.root)) == 2


def test_what_is_kept_of_networks_side_by_side_is_what_their_engine_gives(store: FeatureStore) -> None:
    dataset = Pictures(some_pictures(9))
    both = side_by_side_of("mobilenet_025", "pixels")
    found = store.features(dataset, both)
    engine = open_engine(both, found.engine, found.precision, store.networks)
    given = engine.run(dataset.pictures)
    np.testing.assert_allclose(found.array[:], given, atol=2e-3 * np.linalg.norm(given, axis=1).max())


def test_a_picture_that_cannot_be_read_any_more_is_named_and_what_was_kept_stays(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagematch.features.computation.Computation._block_rows", lambda _self: 10)
    dataset = Pictures(some_pictures(30))

    def unreadable(row: int, max_size: int, _framing: object) -> np.ndarray:
        if row == 25:
            raise DataError("truncated", where="a/25.jpg")
        return dataset.pictures[row]

    broken = SimpleNamespace(digests=dataset.digests, pixels=unreadable)
    with pytest.raises(DataError, match=r"a/25\.jpg"):
        store.features(broken, pixels())
    assert store.features(dataset, pixels()).computed == 10


def test_features_that_half_precision_cannot_hold_are_refused(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagematch.features.store._DTYPES", {"float32": "float16"})
    dataset = Pictures(some_pictures(3))
    store.features(dataset, pixels())

    def factor(value: float) -> Any:
        return lambda pictures, size: enlarge(pictures, size) * np.float32(value)

    for size, value in ((9, 1e6), (10, 1e-9)):
        monkeypatch.setattr("imagematch.extractors.engines.engine.enlarge", factor(value))
        with pytest.raises(ModelError, match="too large or too small for half precision"):
            store.features(dataset, pixels(size))
    monkeypatch.setattr("imagematch.extractors.engines.engine.enlarge", factor(np.nan))
    with pytest.raises(ModelError, match="not numbers"):
        store.features(dataset, pixels(11))


def test_a_large_copy_lies_on_disk(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagematch.features.arrays._IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("imagematch.features.arrays._COPY_ROWS", 7)
    pictures = some_pictures(30)
    store.features(Pictures(pictures), pixels())
    before = sorted(store.root.rglob("*"))
    array = np.asarray(store.features(Pictures(pictures[::-1]), pixels()).array)
    assert isinstance(array.base, np.memmap)
    assert sorted(store.root.rglob("*")) == before
    np.testing.assert_allclose(array, expected(pictures[::-1]), rtol=1e-5, atol=1e-6)


def test_a_copy_that_the_disk_refuses_is_made_in_memory_up_to_a_limit(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    pictures = some_pictures(30)
    store.features(Pictures(pictures), pixels())
    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr("imagematch.features.arrays._IN_MEMORY_BYTES", 1000)
    array = np.asarray(store.features(Pictures(pictures[::-1]), pixels()).array)
    np.testing.assert_allclose(array, expected(pictures[::-1]), rtol=1e-5, atol=1e-6)
    monkeypatch.setattr("imagematch.features.arrays._MOST_IN_MEMORY_BYTES", 1000)
    with pytest.raises(StudyError, match=r"cannot write: No space left on device \(needs at least 23\.1 kB"):
        np.asarray(store.features(Pictures(pictures[::-1]), pixels()).array)


def test_what_is_kept_is_found_where_its_engine_cannot_run(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_extractor(
        SimpleNamespace(feature_extractor="small_cnn", weights="random", image_size=16, trainable=False, seed=0)
    )
    dataset = Pictures(some_pictures(6))
    kept = store.features(dataset, network, engine="openvino", precision="float32")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else real(name))
    found = store.features(dataset, network, engine="openvino", precision="float32")
    assert (found.computed, found.engine, found.precision) == (0, "openvino", "float32")
    np.testing.assert_array_equal(found.array, kept.array)
    for precision in ("float32", "auto"):
        with pytest.raises(ModelError, match="OpenVINO cannot run small_cnn: it is not installed"):
            store.features(Pictures(some_pictures(7)), network, engine="openvino", precision=precision)


def test_progress_is_told(store: FeatureStore) -> None:
    told: list[int] = []

    class Log(RunLog):
        def progress(self, what: str, total: int) -> Any:
            import contextlib

            told.append(-total)
            return contextlib.nullcontext(told.append)

    pictures = some_pictures(20)
    store.features(Pictures([*pictures, pictures[0]]), pixels(), log=Log())
    assert sum(told) == 0


def test_list_verify_and_clear(store: FeatureStore) -> None:
    assert list_entries(store.root) == []
    assert verify_features(store.root) == []
    assert clear_features(store.root) == 0
    store.features(Pictures(some_pictures(20)), pixels())
    store.features(Pictures(some_pictures(5)), pixels(9))
    listed = {entry.image_size: entry for entry in list_entries(store.root)}
    assert (listed[8].images, listed[9].images) == (20, 5)
    assert (listed[8].extractor, listed[8].precision) == ("pixels", "float32")
    assert listed[8].bytes > 20 * 8 * 8 * 3 * 4
    assert listed[8].damaged_images is None
    assert [entry.damaged_images for entry in verify_features(store.root)] == [0, 0]
    rows = store.root / listed[8].name / "rows.bin"
    data = bytearray(rows.read_bytes())
    data[1000] ^= 1
    rows.write_bytes(bytes(data))
    assert {entry.name: entry.damaged_images for entry in verify_features(store.root)} == {
        listed[8].name: 20,
        listed[9].name: 0,
    }
    with pytest.raises(StudyError, match="no features of 'nothing'"):
        clear_features(store.root, "nothing")
    clear_features(store.root, listed[8].name)
    assert [entry.image_size for entry in list_entries(store.root)] == [9]
    clear_features(store.root)
    assert list_entries(store.root) == []
    assert store.features(Pictures(some_pictures(5)), pixels(9)).computed == 5


def test_an_entry_in_use_is_not_cleared(store: FeatureStore) -> None:
    from imagematch.features.store import lock_path
    from imagematch.file_locks import locked

    store.features(Pictures(some_pictures(2)), pixels())
    folder = store.root / list_entries(store.root)[0].name
    with locked(lock_path(folder)), pytest.raises(StudyError, match="another process"):
        clear_features(store.root)


def test_damage_is_told(store: FeatureStore) -> None:
    dataset = Pictures(some_pictures(5))
    store.features(dataset, pixels())
    rows = next(store.root.glob("*/rows.bin"))
    rows.write_bytes(b"\0" * rows.stat().st_size)
    said = io.StringIO()
    assert store.features(dataset, pixels(), log=RunLog(stream=said)).computed == 5
    assert "5 cached features are damaged" in said.getvalue()


def saved_network(folder: Path, network: Extractor, digest: str) -> SavedExtractor:
    """What the card of a matcher's folder says of its network."""
    return SavedExtractor(
        network.name, network.image_size, network.feature_dim, folder, "extractor.safetensors", "0" * 32, digest
    )


def test_a_matcher_finds_the_features_of_its_training(store: FeatureStore, tmp_path: Path) -> None:
    """By the digest of its network's content, and only where this store was told of it: no matcher can claim them."""
    network = make_extractor(
        SimpleNamespace(feature_extractor="small_cnn", weights="random", image_size=16, trainable=False, seed=0)
    )
    dataset = Pictures(some_pictures(5))
    how = {"engine": "openvino", "precision": "float32"}
    cached = store.features(dataset, network, **how)
    own, foreign = (saved_network(tmp_path, network, digit * 32) for digit in "ab")
    store.link(own, network)
    found = store.features(dataset, own, **how)
    assert found.computed == 0
    np.testing.assert_array_equal(found.array, cached.array)
    with pytest.raises(ModelError, match="cannot be read"):  # it is run: its files are not there
        store.features(dataset, foreign, **how)


@pytest.mark.parametrize("content", [b"", b"../../x", b"\xff" * 32, b"0" * 33, b"0" * 4096])
def test_a_damaged_record_of_a_matcher_is_none(store: FeatureStore, tmp_path: Path, content: bytes) -> None:
    network = make_extractor(
        SimpleNamespace(feature_extractor="small_cnn", weights="random", image_size=16, trainable=False, seed=0)
    )
    own = saved_network(tmp_path, network, "a" * 32)
    store.link(own, network)
    assert store._network_digest(own) == network.digest
    store._link(own).write_bytes(content)
    assert store._network_digest(own) == own.digest


def test_a_matcher_trained_here_is_known(store: FeatureStore) -> None:
    assert not store.trained_here("a" * 32)
    store.remember("a" * 32)
    assert store.trained_here("a" * 32)
    assert not store.trained_here("b" * 32)
    assert list_entries(store.root) == []
