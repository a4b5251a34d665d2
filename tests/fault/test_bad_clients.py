"""A server among clients that send what they should not: each is answered, and nobody else notices."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import ROOT

from imagematch.matching import ImageMatcher


def _benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("serving_benchmark", ROOT / "benchmarks" / "serving.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("count", [pytest.param(65, id="65"), pytest.param(2_000, id="2000", marks=pytest.mark.soak)])
def test_every_bad_request_is_a_4xx_and_no_good_one_is_lost(count: int, tmp_path: Path) -> None:
    """16 of them at a time, beside four clients that search; 65 are five of each kind."""
    benchmark = _benchmark()
    benchmark.write_matcher(tmp_path / "matcher", "pixels")
    benchmark.fill_gallery(tmp_path / "gallery", ImageMatcher.load(tmp_path / "matcher"), 100)
    files = benchmark.jpegs(1)
    with benchmark.abused_server(tmp_path / "matcher", tmp_path / "gallery") as (port, process):
        asyncio.run(benchmark.abuse(port, files, 26))
        memory = psutil.Process(process).memory_info
        before = memory().rss
        bad, good = asyncio.run(benchmark.abuse(port, files, count))
        growth = (memory().rss - before) / 1e6
    statuses = {kind: {status for name, status in bad if name == kind} for kind, _ in bad}
    assert statuses == {
        "no image": {422},
        "truncated": {422},
        "bomb": {422},
        "a body of 1 GB": {413},
        "a body without end": {413},
        "slow body": {408},
        "other type": {415},
        "no JSON": {400},
        "wrong field": {422},
        "wrong token": {401},
        "other site": {403},
        "10,000 files": {413},
        "other path": {404},
    }
    assert bad.total() == count
    assert set(good) == {200}
    assert growth < 50
    print(f"\n{count:,} bad requests; {good[200]:,} good ones beside them; memory grew by {growth:.1f} MB")
