"""From answers of a review to a matcher that was trained with them, compared with the one that it replaces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagematch.files import digest_bytes
from imagematch.matching import ImageMatcher
from imagematch.pipeline.answered_pairs import sign_test


def test_a_retrained_matcher_is_compared_on_the_answered_pairs_before_it_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Callable[..., object]
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for label in range(4):
        Path(f"photos/{label}").mkdir(parents=True)
        base = random.integers(0, 255, (8, 8, 3))
        for number in range(10):
            pixels = np.clip(base + random.normal(0, 90, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(f"photos/{label}/{number}.png")
    train = (
        "experiment_name: x\ndataset: folder\ndata_dir: photos\nfeature_extractor: pixels\nimage_size: 8\nepochs: 1\n"
    )
    Path("train.yaml").write_text(train)
    digests = {
        f"{label}/{n}": digest_bytes(Path(f"photos/{label}/{n}.png").read_bytes()) for label in "01" for n in (0, 1)
    }
    rows = [
        "digest,label,other_digest,other_label,distance,answer,new_label,answered",
        f"{digests['0/0']},0,{digests['0/1']},0,0.5,same,,",
        f"{digests['0/0']},0,{digests['1/0']},1,0.5,different,,",
        f"{digests['1/1']},1,{digests['1/0']},1,0.5,different,,",
        f"{digests['1/1']},1,{'0' * 32},1,0.5,same,,",
        f"{digests['1/1']},1,,,,wrong label,0,",
    ]
    Path("corrections.csv").write_text("\n".join(rows))
    assert invoke("train", "--config", "train.yaml").returncode == 0
    old = ImageMatcher.load("exp/saved_models/x")
    Path("train.yaml").write_text(train + "corrections: corrections.csv\ntraining_seed: 7\n")
    done = invoke("train", "--config", "train.yaml", "--fresh")
    assert done.returncode == 0, done.stderr
    new = ImageMatcher.load("exp/saved_models/x")
    said = done.stdout + done.stderr
    assert "1 images got another label" in said
    assert "3 answered pairs, 1 the same, 2 different; 1 more have an image that is not there" in said

    pairs = [("0/0", "0/1", True), ("0/0", "1/0", False), ("1/1", "1/0", False)]
    expected = []
    for matcher in (old, new):
        answers = [matcher.match(f"photos/{a}.png", f"photos/{b}.png").is_match == same for a, b, same in pairs]
        expected.append(answers)
    found = json.loads(Path("exp/saved_models/x/answered_pairs.json").read_text())
    assert [found["old"]["right"], found["new"]["right"]] == [sum(one) for one in expected]
    assert found["only_new"] == sum(b and not a for a, b in zip(*expected, strict=True))

    again = invoke("compare", "exp/saved_models/x", "exp/saved_models/x", "--json")
    assert json.loads(again.stdout)["new"]["right"] == found["new"]["right"]
    Path("corrections.csv").write_text(rows[0] + "\n" + rows[-1])
    nothing = invoke("compare", "exp/saved_models/x", "exp/saved_models/x")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (3, 1)
    assert "no pair that was called the same or different" in nothing.stderr


def test_the_sign_test_is_the_binomial_one() -> None:
    from scipy.stats import binomtest

    for one, other in ((0, 0), (0, 1), (2, 9), (5, 5), (40, 20)):
        expected = binomtest(one, one + other).pvalue if one + other else 1.0
        assert sign_test(one, other) == pytest.approx(expected)
