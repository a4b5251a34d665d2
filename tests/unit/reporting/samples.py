"""Small splits, figures and histories that the tests draw."""

from __future__ import annotations

import numpy as np

from imagematch.evaluation import Threshold, split_metrics
from imagematch.reporting import SplitView

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "two\nlines\tand a tab\x1b[31m",
    "=1+1",
    "é" * 127,
    '"><a href="javascript:alert(3)">x</a>',
    "%{x} $a$ [/red]",
    "\udcff not UTF-8",
    '"=HYPERLINK(1)',
)


def make_view(
    images: int = 60,
    classes: int = 6,
    dim: int = 8,
    noise: float = 0.5,
    names: tuple[str, ...] | None = None,
    seed: int = 0,
) -> SplitView:
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    vectors = random.normal(size=(classes, dim))[labels] + noise * random.normal(size=(images, dim))
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    images_of = random.integers(0, 255, (images, 10, 12, 3), dtype=np.uint8)
    names = names or tuple(f"class {number}" for number in range(classes))
    paths = [f"{names[label]}/{row}.png" for row, label in enumerate(labels)]
    return SplitView(embeddings, labels, names, paths, lambda row: images_of[row])


def make_metrics(view: SplitView, baseline: SplitView, threshold: Threshold, split_by: str = "image") -> dict:
    def block(one: SplitView) -> dict:
        return split_metrics(one.embeddings, one.labels, threshold=threshold, split_by=split_by)

    return {"validation": None, "test": block(view), "baseline": {"test": block(baseline)}}


def make_history(epochs: int = 5) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "loss": 1 / epoch,
            "active": 0.5,
            "val_map_at_r": 0.5 + 0.1 * (epoch if epoch < 4 else 2),
            "val_loss": 0.3,
            "spread": 0.9,
            "learning_rate": 1e-3,
        }
        for epoch in range(1, epochs + 1)
    ]
