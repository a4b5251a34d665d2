"""What a report concludes, rule by rule."""

from __future__ import annotations

import copy

import pytest

from imagematch.reporting.verdict import Findings, NamedConfusion, next_steps, verdict

BLOCK = {
    "roc_auc": 0.97,
    "eer": 0.05,
    "ci95": {"eer": [0.04, 0.06]},
    "classes": 98,
    "images": 500,
    "genuine_pairs": 900,
    "impostor_pairs": 9000,
    "shared_classes": False,
    "threshold": {
        "tar": 0.88,
        "far": 0.0123,
        "balanced_accuracy": 0.93,
        "confusion": {"tp": 792, "fn": 108, "fp": 100, "tn": 8900},
    },
}
REFERENCE = {"eer": 0.10, "ci95": {"eer": [0.08, 0.12]}}
CONFUSED = (NamedConfusion("c12", "c47", 60, 100),)


def metrics(baseline=REFERENCE, **changes):
    return {"test": {**copy.deepcopy(BLOCK), **changes}, "baseline": {"test": baseline}}


def test_the_verdict_is_one_sentence_with_all_that_matters():
    assert verdict(metrics(), CONFUSED) == (
        "On classes that it has not seen it recognises 88 % of the pairs of the same class, and wrongly matches 1.2 % "
        "of the pairs of different classes; 2 times fewer errors than the frozen network alone (equal error rate 5 % "
        "against 10 %); most of its false matches are between c12 and c47; to be trusted, from 98 classes."
    )


def test_the_whitened_baseline_is_compared_where_it_was_measured():
    given = metrics()
    given["baseline"]["whitened"] = {"test": {"eer": 0.06, "ci95": {"eer": [0.05, 0.07]}}}
    assert "; not clearly better than whitening (equal error rate 5 % against 6 %);" in verdict(given)


@pytest.mark.parametrize(
    ("own", "ends", "says"),
    [
        (0.02, [0.01, 0.03], "5 times fewer errors than the frozen network alone"),
        (0.09, [0.07, 0.11], "not clearly better than the frozen network alone"),
        (0.11, [0.09, 0.13], "not clearly worse than the frozen network alone"),
        (0.20, [0.18, 0.22], "worse than the frozen network alone"),
        (0.0, [0.0, 0.01], "without the errors of the frozen network alone"),
    ],
)
def test_a_difference_is_clear_only_where_the_intervals_are_apart(own, ends, says):
    assert f"; {says} (equal error rate" in verdict(metrics(eer=own, ci95={"eer": ends}))


@pytest.mark.parametrize(
    ("matches", "says"),
    [
        (50, "most of its false matches are between c12 and c47"),
        (10, "more of its false matches are between c12 and c47 than between any others (10 %)"),
        (9, "its false matches are spread over many classes"),
    ],
)
def test_two_classes_are_named_by_their_share_of_the_false_matches(matches, says):
    assert f"; {says};" in verdict(metrics(), [NamedConfusion("c12", "c47", matches, 100)])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shared_classes": True}, "On new images of classes that it has seen it recognises"),
        ({"shared_classes": None, "split_by": None}, "On the test images it recognises"),
        ({"classes": 29}, "a rough estimate, from 29 classes (30 or more can be trusted)."),
        ({"classes": 1, "impostor_pairs": 0}, "nothing can be said about false matches: there is only one class."),
        ({"genuine_pairs": 0}, "nothing can be said about matches: no class has two images."),
        ({"threshold": None}, "On classes that it has not seen its ROC AUC is 0.970;"),
    ],
)
def test_what_cannot_be_said_is_not_said(changes, says):
    assert says in verdict(metrics(**changes))


def test_nothing_measured_gives_a_sentence():
    assert verdict({"test": None}) == "Nothing was measured, so nothing can be said."
    assert next_steps({"test": None}, Findings()) == []


def test_a_good_matcher_needs_nothing():
    assert next_steps(metrics(identification={"fpir": 0.1}), Findings()) == []


@pytest.mark.parametrize(
    ("changes", "findings", "says"),
    [
        ({}, Findings(suspect_labels=1), "1 label may be wrong"),
        ({}, Findings(near_duplicates=3), "3 images of this split have a near duplicate outside of it"),
        ({}, Findings(weak_classes=[("c12", 4, 0.60), ("c1", 9, 0.92)]), "More images of these classes: c12 (4 images"),
        ({"roc_auc": 0.8}, Findings(), "try another feature_extractor"),
        ({"eer": 0.1, "ci95": {"eer": [0.08, 0.12]}}, Findings(), "Training brings nothing that can be shown"),
        ({"classes": 5}, Findings(), "Measure on 30 classes or more"),
        ({"classes": 50, "identification": {"fpir": 0.9}}, Findings(), "as `threshold: {far: 0.001}`, or search"),
        (
            {"threshold": {"calibration": {"note": "take 300 images"}}},
            Findings(),
            "The threshold does not hold what was asked: take 300 images.",
        ),
    ],
)
def test_each_rule_has_its_advice(changes, findings, says):
    (advice,) = next_steps(metrics(**changes), findings)
    assert says in advice
    assert "c1 " not in advice
