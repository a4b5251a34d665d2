"""kill -9 at random moments of an extraction, a training, and saves of matchers and indexes: many of them in a soak.

Studies: `test_short_soak` and `test_long_studies`; galleries: `contract/test_gallery_stores`.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import ROOT, run_command
from tests.fault.killed_writers import IMAGES, extract
from tests.unit.matching.conftest import write_matcher

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

    kill, draw, found, killed = killing("save_indexes"), random.Random(SEED), 0, 0
    while killed < kills or not found:  # on a busy machine the first saving may take longer than all that are drawn
        killed += 1
        assert kill(draw.uniform(0, 0.2) * (1 + killed // kills)) == "killed"
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


@pytest.mark.parametrize("kills", [pytest.param(3, id="3"), pytest.param(50, id="50", marks=pytest.mark.soak)])
def test_serving_a_gallery(kills: int, tmp_path: Path, killing: Callable[[str], Kill]) -> None:
    """Three images a request: what was answered is there for good; of what was not, all three or none."""
    from imagematch.retrieval import Gallery

    write_matcher(tmp_path / "matcher")
    with Gallery.create(tmp_path / "gallery", tmp_path / "matcher") as gallery:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (tmp_path / "port").write_text(str(port))
        kill, draw, answered, sent = killing("serve_gallery"), random.Random(SEED), dict[str, list[int]](), 0
        seconds, kept = 1.0, 0
        with ThreadPoolExecutor(1) as pool:
            for _ in range(kills):
                before = len(answered)
                killed = pool.submit(kill, draw.uniform(0.5, 1.0) * seconds)
                while not wait([killed], timeout=0.001).done:
                    if (ids := _added(port, sent)) is not None:
                        answered[str(sent)] = ids
                    sent += 1
                assert killed.result() == "killed"
                seconds += 0.0 if len(answered) > before else 0.5
                there = gallery.labels()
                assert set(there.values()) <= {3}
                assert all(sorted(gallery.find(ids)) == ids for ids in answered.values())
                for label in list(there)[-1:]:
                    assert gallery.search(_image(int(label), 0), k=1)[0].distance < 1e-5
                kept = len(there)
        assert answered
    print(f"\n{kills} kills, seed {SEED}: {len(answered)} of {sent} requests answered, {kept} there")


def _image(number: int, part: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng([number, part]).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _added(port: int, number: int) -> list[int] | None:
    """The ids of three images under the label `number`; None where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    images = [base64.b64encode(_image(number, part)).decode() for part in range(3)]
    try:
        body, headers = json.dumps({"image": images, "label": str(number)}), {"Content-Type": "application/json"}
        connection.request("POST", "/gallery", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200
        ids: list[int] = json.load(answer)["ids"]
        return ids
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


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
