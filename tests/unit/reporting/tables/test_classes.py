from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from tests.unit.reporting.samples import make_view

from imagematch.reporting import class_table, worst_and_best_classes


def test_a_classes_rates_are_those_of_a_plain_loop():
    view = make_view(images=24, classes=4, noise=1.0)
    table = class_table(view, 0.9).set_index("class")
    for label in range(4):
        genuine, impostor = [], []
        for a, b in combinations(range(24), 2):
            matched = np.linalg.norm(view.embeddings[a] - view.embeddings[b]) < 0.9
            if view.labels[a] == view.labels[b] == label:
                genuine.append(matched)
            elif label in (view.labels[a], view.labels[b]):
                impostor.append(matched)
        row = table.loc[f"class {label}"]
        assert row["genuine pairs matched"] == pytest.approx(np.mean(genuine))
        assert row["impostor pairs matched"] == pytest.approx(np.mean(impostor))


def test_no_class_is_among_the_worst_and_the_best():
    worst, best = worst_and_best_classes(make_view(images=30, classes=5, noise=1.0), 0.9)
    assert len(worst) == 3
    assert len(best) == 2
    assert not set(worst["class"]) & set(best["class"])
    assert worst["balanced accuracy"].max() <= best["balanced accuracy"].min()
