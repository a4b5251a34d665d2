"""`imagematch study dashboard`: a page, the trials, and each trial's learning curve and configuration."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Invoke

pytest.importorskip("optuna_dashboard")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def fetch(url: str) -> tuple[str, bytes]:
    """Content type and body."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read()


@pytest.fixture(name="address")
def address_fixture(small_study: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "imagematch", "study", "dashboard", "--port", str(port)]  # the only study there is
    with subprocess.Popen(command, cwd=small_study, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(OSError):
                fetch(address + "/dashboard/")
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield address
        process.kill()


def test_each_trial_has_its_curve_and_its_configuration(address: str, invoke: Invoke, tmp_path: Path) -> None:
    _, page = fetch(address + "/dashboard/")
    assert b"<html" in page.lower()
    studies = json.loads(fetch(address + "/api/studies")[1])["study_summaries"]
    study = next(one["study_id"] for one in studies if one["study_name"] == "small")
    trials = json.loads(fetch(f"{address}/api/studies/{study}?after=0")[1])["trials"]
    finished = [t for t in trials if t["state"] in ("Complete", "Pruned") and len(t["artifacts"])]
    assert len(finished) == 3
    for trial in finished:
        kept = {one["filename"]: one["artifact_id"] for one in trial["artifacts"]}
        assert set(kept) == {"learning_curve.svg", "config.yaml"}
        where = f"{address}/artifacts/{study}/{trial['trial_id']}/"
        kind, picture = fetch(where + kept["learning_curve.svg"])
        assert kind == "image/svg+xml"
        assert picture.startswith(b"<svg")
        configuration = fetch(where + kept["config.yaml"])[1].decode()
        params = {one["name"]: one["param_external_value"] for one in trial["params"]}
        assert f"embedding_dim: {params['embedding_dim']}" in configuration
        file = tmp_path / f"config-{trial['number']}.yaml"
        file.write_text(configuration)
        assert invoke("train", "--config", file, "--validate").returncode == 0


def test_a_dashboard_of_no_study(command: Invoke) -> None:
    done = command("study", "dashboard", "--study", "none")
    assert done.returncode == 2
    assert "study list" in done.stderr
