from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np

from imagematch.data import read_corrections
from imagematch.reporting import suspect_labels, write_suspect_labels
from imagematch.reporting.suspects import near_duplicates

from .samples import make_view


def mislabelled(rows=(7,), names=None):
    """Six classes that are far apart, of ten images each; some images have the next class's label."""
    view = make_view(images=60, classes=6, noise=0.05, names=names)
    labels = view.labels.copy()
    for row in rows:
        labels[row] = (labels[row] + 1) % 6
    return replace(view, labels=labels)


def loop(view):
    """Row -> suggested label where four or five of the five nearest others agree on another, by plain loops."""
    found = {}
    for row in range(len(view)):
        distances = [
            (float(np.linalg.norm(view.embeddings[row] - view.embeddings[other])), other)
            for other in range(len(view))
            if other != row
        ]
        votes = [int(view.labels[other]) for _, other in sorted(distances)[:5]]
        best = max(set(votes), key=votes.count)
        if votes.count(best) >= 4 and best != view.labels[row]:
            found[row] = best
    return found


def test_a_wrong_label_is_found_and_the_right_one_suggested():
    view = mislabelled()
    (found,) = suspect_labels([view])
    assert (found.row, found.suggested, found.share) == (7, 1, 1.0)
    assert view.labels[found.nearest] == 1
    assert 0 < found.contrast < 0.5


def test_suspects_are_those_of_plain_loops_the_clearest_first(monkeypatch):
    monkeypatch.setattr("imagematch.reporting.suspects._BLOCK_COSINES", 500)
    view = replace(make_view(images=90, classes=5, noise=0.9), embeddings=make_view(90, 5, noise=0.9).embeddings)
    found = suspect_labels([view])
    assert len(found) >= 3
    assert {one.row: one.suggested for one in found} == loop(view)
    order = [(-one.share, one.contrast) for one in found]
    assert order == sorted(order)


def test_a_view_whose_labels_the_neighbours_do_not_know_says_nothing():
    view = make_view(images=60, classes=6)
    assert suspect_labels([replace(view, labels=np.random.default_rng(0).integers(0, 6, 60))]) == []


def test_few_images_and_classes_of_two_images_give_no_suspects():
    assert suspect_labels([make_view(images=5, classes=2)]) == []
    assert suspect_labels([make_view(images=400, classes=200, noise=0.01, dim=16)]) == []


def test_the_table_becomes_corrections_when_its_answers_are_filled_in(tmp_path):
    view = mislabelled(names=("a", "b", "=1+1", "d", "e", "f"))
    view = replace(view, label_names=("n0", "=n1", "n2", "n3", "n4", "n5"))
    write_suspect_labels(tmp_path / "s.csv", suspect_labels([view]))
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {"path": "b/7.png", "label": "n2", "new_label": "=n1", "share of neighbours": "1.0", "answer": ""}
    assert read_corrections(tmp_path / "s.csv") == []
    (tmp_path / "s.csv").write_text((tmp_path / "s.csv").read_text()[:-1] + "wrong label\n")
    (said,) = read_corrections(tmp_path / "s.csv")
    assert (said.image, said.answer, said.new_label) == ("b/7.png", "wrong label", "=n1")
    write_suspect_labels(tmp_path / "none.csv", [])
    assert (tmp_path / "none.csv").read_text() == "path,label,new_label,share of neighbours,answer\n"


def test_near_duplicates_are_counted_across_views():
    view, others = make_view(seed=1), make_view(seed=2)
    assert near_duplicates(view, others) == 0
    copies = others.embeddings.copy()
    copies[[3, 9]] = view.embeddings[[0, 5]]
    assert near_duplicates(view, replace(others, embeddings=copies)) == 2
    assert near_duplicates(view, None) == near_duplicates(None, others) == 0
