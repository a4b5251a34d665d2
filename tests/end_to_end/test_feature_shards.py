"""`features compute --shard` on several machines, `features merge`, and a training that computes nothing any more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Invoke

from imagematch.config import load_train
from imagematch.features import FeatureStore, list_entries
from imagematch.pipeline import Shard
from imagematch.training import load_training_data

TRAIN = "experiment_name: a\ndataset: digits\nfeature_extractor: pixels\nimage_size: 8\nepochs: 1\n"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text(TRAIN)


def computed(invoke: Invoke, *arguments: str) -> int:
    done = invoke("features", "compute", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return sum(one["computed"] for one in json.loads(done.stdout))


def test_three_parts_make_the_whole(invoke: Invoke) -> None:
    counts = [computed(invoke, "train.yaml", "--shard", f"{n}/3", "--feature-dir", f"part{n}") for n in (1, 2, 3)]
    assert min(counts) > 400
    assert sum(counts) == 1797
    assert computed(invoke, "train.yaml", "--shard", "2/3", "--feature-dir", "part2") == 0, "nothing is done twice"
    done = invoke("features", "merge", "part1", "part2", "part3", "part2", "--json")
    assert done.returncode == 0, done.stderr
    merged = json.loads(done.stdout)
    assert merged["part1"] == {"images": counts[0], "known": 0, "damaged": 0}
    assert merged["part2"] == {"images": 0, "known": counts[1], "damaged": 0}, "the second time"
    assert invoke("features", "verify").returncode == 0
    data = load_training_data(load_train(Path("train.yaml")), manifest_dir=Path("exp/manifests"))
    assert data.features.computed == 0
    whole = FeatureStore(Path("whole")).features(data.dataset, data.extractor)
    np.testing.assert_array_equal(np.asarray(data.features.array), np.asarray(whole.array))


def test_a_study_computes_for_each_network_that_it_searches(invoke: Invoke) -> None:
    study = TRAIN.replace("experiment_name", "study_name").replace("image_size: 8", "image_size_grid: [8, 9]")
    Path("study.yaml").write_text(f"{study}embedding_dim_grid: [4, 8]\n")
    assert computed(invoke, "study.yaml", "--feature-dir", "store") == 2 * 1797
    assert sorted(entry.image_size for entry in list_entries(Path("store"))) == [8, 9]


def test_damaged_blocks_are_left_out(invoke: Invoke) -> None:
    computed(invoke, "train.yaml", "--feature-dir", "part")
    (rows,) = Path("part").glob("*/rows.bin")
    data = bytearray(rows.read_bytes())
    data[100] ^= 1
    rows.write_bytes(data)
    found = json.loads(invoke("features", "merge", "part", "--json").stdout)["part"]
    assert found["damaged"] > 0
    assert found["images"] + found["damaged"] == 1797


def test_mistakes_are_one_line(invoke: Invoke) -> None:
    Path("cnn.yaml").write_text(TRAIN.replace("pixels", "small_cnn").replace("image_size: 8", "image_size: 16"))
    cases = [
        (2, "'3/2' is not a part", ("compute", "train.yaml", "--shard", "3/2")),
        (2, "small_cnn is trained", ("compute", "cnn.yaml")),
        (4, "no features are there", ("merge", "nowhere")),
    ]
    for code, part, arguments in cases:
        done = invoke("features", *arguments)
        assert (done.returncode, done.stderr.splitlines()[-1].count(part)) == (code, 1), done.stderr


def test_parts_are_disjoint_and_complete() -> None:
    digests = np.array([f"{number * 7919:032x}"[::-1] for number in range(1000)])
    parts = [set(Shard(n, 7).rows(digests).tolist()) for n in range(1, 8)]
    assert sum(map(len, parts)) == 1000
    assert set.union(*parts) == set(range(1000))
