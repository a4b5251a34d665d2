"""kill -9 at random moments of an extraction, a training, and saves of matchers and indexes: many of them in a soak.

Studies: `test_short_soak` and `test_long_studies`; galleries: `contract/test_gallery_stores`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import ROOT, run_command
from tests.fault.killed_writers import IMAGES, extract

SEED = 0
Kill = Callable[[float], str]
"""Kills the writer after so many seconds; returns "killed", or "ended" where it was done before."""


@pytest.fixture
def killing(tmp_path: Path) -> Iterator[Callable[[str], Kill]]:
    """Starts the program that forks and kills a writer of `killed_writers` in the test's folder."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str) -> Kill:
        paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.killed_writers", name, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(program)

        def kill(seconds: float) -> str:
            assert program.stdin is not None
            assert program.stdout is not None
            print(seconds, file=program.stdin, flush=True)
            return program.stdout.readline().strip()

        return kill

    yield start
    for program in running:
        program.kill()
        program.communicate()


KILLS = [pytest.param(5, id="5"), pytest.param(100, id="100", marks=pytest.mark.soak)]
SAVES = [pytest.param(5, id="5"), pytest.param(50, id="50", marks=pytest.mark.soak)]


@pytest.mark.parametrize("kills", KILLS)
def test_an_extraction(kills: int, tmp_path: Path, killing: Callable[[str], Kill]) -> None:
    from imagematch.features import verify_features

    kill, draw, kept = killing("extract"), random.Random(SEED), [0]
    ended = 0
    for _ in range(kills):
        ended += kill(draw.uniform(0, 0.4)) == "ended"
        for report in verify_features(tmp_path):
            assert (report.damaged_images, report.damage) == (0, ""), "a kill damages nothing"
            kept.append(report.images)
    assert kept == sorted(kept), "nothing that was stored is lost"
    assert extract(tmp_path) == IMAGES - kept[-1]
    print(f"\n{kills} kills, seed {SEED}: {kept[-1]} of {IMAGES} images stored between them; {ended} runs ended")


@pytest.mark.parametrize("kills", SAVES)
def test_saving_an_index(kills: int, tmp_path: Path, killing: Callable[[str], Kill]) -> None:
    from imagematch.retrieval.saved_index import SavedIndex

    kill, draw, found = killing("save_indexes"), random.Random(SEED), 0
    for _ in range(kills):
        assert kill(draw.uniform(0, 0.2)) == "killed"
        made = SavedIndex.create("flat", "euclidean", model="model", space="embedding", dim=4)
        index = made.reopened(tmp_path / "index")
        if index is None:
            assert not found, "an index that was there is there"
            continue
        found += 1
        count = len(index)
        assert count == len(index.ids)
        assert count % 10 == 0
        near = index.search(np.full((1, 4), count, np.float32), 1)
        assert near.distances[0, 0] == 0, "images and vectors are of one saving"
    assert found
    print(f"\n{kills} kills, seed {SEED}: an index was opened {found} times, each time a whole one")


@pytest.mark.parametrize("kills", SAVES)
def test_saving_a_matcher(kills: int, tmp_path: Path, killing: Callable[[str], Kill]) -> None:
    from imagematch.matching import ImageMatcher

    kill, draw, loaded = killing("save_matchers"), random.Random(SEED), 0
    seconds = 3.0
    for _ in range(kills):
        assert kill(draw.uniform(0, seconds)) == "killed"
        if any(tmp_path.glob("*matcher*/matcher.json")):
            matcher = ImageMatcher.load(tmp_path / "matcher")  # checks the digest of each file
            assert matcher.card.name == "small"
            loaded += 1
        else:
            assert not loaded, "a matcher that was there is there"
            seconds += 2.0
    assert loaded
    print(f"\n{kills} kills, seed {SEED}: a matcher was loaded {loaded} times, each time a whole one")


@pytest.mark.soak
def test_a_training(tmp_path: Path) -> None:
    """Resumed after a hundred kills it comes to the same epochs as without any."""
    config = "experiment_name: t\ndataset: digits\nfeature_extractor: small_cnn\nimage_size: 16\nepochs: 12\n"
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.yaml").write_text(config)
    arguments = ("train.py", "--config", "train.yaml", "--resume")
    assert run_command(*arguments, cwd=tmp_path / "whole").returncode == 0
    draw, checkpoint, epochs = random.Random(SEED), tmp_path / "cut/exp/saved_models/.t.training/checkpoint.npz", [0]
    kills = 0
    while kills < 100 and not (tmp_path / "cut/exp/saved_models/t/matcher.json").exists():
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *arguments[1:]],
            cwd=tmp_path / "cut",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(draw.uniform(0.2, 9.0))
        process.kill()
        process.communicate()
        kills += 1
        if checkpoint.exists():
            with np.load(checkpoint, allow_pickle=False) as archive:
                epochs.append(len(json.loads(archive["about"].tobytes())["history"]))
    assert epochs == sorted(epochs), "no finished epoch is lost"
    done = run_command(*arguments, cwd=tmp_path / "cut")
    assert done.returncode == 0, done.stderr
    whole, cut = ((tmp_path / name / "exp/saved_models/t/history.csv").read_text() for name in ("whole", "cut"))
    assert whole == cut
    print(
        f"\n{kills} kills, seed {SEED}: checkpoints of {sorted(set(epochs))} epochs; the same history as without kills"
    )
