"""Whole commands: SIGTERM ends each within ten seconds, and none needs `/dev/shm`. Minutes, so in a soak."""

from __future__ import annotations

import ast
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import ROOT, run_command
from tests.fault.conftest import with_tests

import imagematch

WITHIN_S = 10
PATIENT = "early_stopping_patience: 4000\n"
COMMON = "dataset: digits\nimage_size: 32\nweights: random\n"
FILES = {
    "head.yaml": f"experiment_name: head\n{COMMON}feature_extractor: pixels\nepochs: 4000\n{PATIENT}",
    "whole.yaml": f"experiment_name: whole\n{COMMON}feature_extractor: small_cnn\nepochs: 400\n",
    "slow.yaml": f"experiment_name: slow\n{COMMON}feature_extractor: convnext_tiny\nfeature_precision: float32\n",
    "study.yaml": (
        f"study_name: study\n{COMMON}feature_extractor: pixels\nepochs: 400\n{PATIENT}"
        "embedding_dim_grid: [32, 64]\nlearning_rate_range: {low: 1.0e-4, high: 1.0e-2, log: true}\nn_trials: 30\n"
    ),
    "small.yaml": f"experiment_name: small\n{COMMON}feature_extractor: small_cnn\nepochs: 1\nmax_classes: 4\n",
}
COMMANDS = {
    "a training": (["train", "--config", "head.yaml"], "epoch", 0.5),
    "a training of a network": (["train", "--config", "whole.yaml"], "epoch", 0.5),
    "an extraction for a training": (["train", "--config", "slow.yaml"], "", 12.0),
    "an extraction": (["features", "compute", "slow.yaml"], "", 12.0),
    "a study": (["hpt", "--hpt-config-filepath", "study.yaml"], "trial   1", 0.5),
    "a study's beginning": (["hpt", "--hpt-config-filepath", "study.yaml"], "", 4.0),
    "retrieval": (["retrieve", "--model", "M", "--query", "images", "--gallery", "images", "--index", "hnsw"], "", 5.0),
    "duplicates": (["duplicates", "--model", "M", "images"], "", 5.0),
    "a gallery": (["gallery", "add", "gallery", "images", "--model", "M"], "", 6.0),
    "an evaluation": (["evaluate", "--model", "M"], "", 5.0),
    "an export": (["export", "--model", "M", "--format", "saved_model", "--output", "out"], "", 6.0),
    "a server": (["serve", "--model", "M", "--port", "0"], "http://", 0.5),
    "a server of two workers": (["serve", "--model", "M", "--port", "0", "--workers", "2"], "http://", 8.0),
}
"""What runs -> its arguments, the line after which it is stopped, and seconds after that."""


@pytest.fixture(name="place", scope="module")
def place_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matcher `M`, a gallery of it and 3,000 images."""
    folder = tmp_path_factory.mktemp("long")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    random = np.random.default_rng(0)
    for number in range(3000):
        path = folder / "images" / str(number % 10) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (96, 96, 3), np.uint8)).save(path)
    done = run_command("-m", "imagematch", "train", "--config", "small.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "M").symlink_to(folder / "exp/saved_models/small")
    done = run_command("-m", "imagematch", "gallery", "create", "gallery", "--model", "M", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def started(command: list[str], folder: Path, says: str, after_s: float) -> subprocess.Popen[str]:
    """A command, so many seconds after it has said that; it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imagematch", *command],
        cwd=folder,
        env={**with_tests(), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while says and says not in process.stdout.readline():
        assert process.poll() is None, process.communicate()
    time.sleep(after_s)
    return process


@pytest.mark.soak
@pytest.mark.parametrize("name", COMMANDS)
def test_sigterm(name: str, place: Path) -> None:
    command, says, after_s = COMMANDS[name]
    for earlier in (1, 0.6, 0.4, 0.2):
        process = started(command, place, says, earlier * after_s)
        if process.poll() is None:
            break
        process.communicate()
        (place / "out").exists() and shutil.rmtree(place / "out")
    process.terminate()
    begun = time.monotonic()
    try:
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    seconds = time.monotonic() - begun
    print(f"\n{name}: {seconds:.1f} s, code {process.returncode}: {stderr.strip()[-120:]}")
    assert seconds < WITHIN_S
    assert process.returncode in (0, 130, -signal.SIGTERM)
    assert "Traceback" not in stderr


@pytest.mark.soak
def test_sigterm_while_a_server_waits_for_the_rest_of_a_request(place: Path) -> None:
    process = started(["serve", "--model", "M", "--port", "0"], place, "", 0)
    assert process.stdout is not None
    port = int(process.stdout.readline().split()[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        head = (
            f"POST /embed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\n"
        )
        client.sendall(head.encode() + b"\x89PNG")
        time.sleep(1)
        process.terminate()
        begun = time.monotonic()
        process.communicate(timeout=100)
    assert time.monotonic() - begun < WITHIN_S


def test_no_module_asks_for_shared_memory() -> None:
    """Processes of ours share files, which the disk's own room bounds; `/dev/shm` is small in containers."""
    for path in Path(imagematch.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("multiprocessing")], path
            assert not (isinstance(node, ast.Constant) and "/dev/shm" in str(node.value)), path


FULL = "mount -t tmpfs -o size=16k none /dev/shm && ! head -c 20000 /dev/zero > /dev/shm/full 2> /dev/null; "


@pytest.mark.soak
def test_a_full_dev_shm_is_no_matter(tmp_path: Path) -> None:
    """A mount of its own, for which the system must let a process be root in a namespace."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "sh", "-c", FULL + "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a /dev/shm of their own")
    (tmp_path / "study.yaml").write_text(FILES["study.yaml"].replace("400", "3").replace("30", "3"))
    script = f"{FULL}df /dev/shm | tail -1; {sys.executable} {ROOT}/hpt.py --hpt-config-filepath study.yaml --workers 2"
    done = subprocess.run(
        [unshare, "-m", "sh", "-c", script], cwd=tmp_path, env=with_tests(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "100% /dev/shm" in done.stdout
    assert json.loads((tmp_path / "exp/saved_models/study/metrics.json").read_text())["test"]
