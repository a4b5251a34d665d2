"""What a report concludes, by the rules of docs/reports.md: a sentence of verdict, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagematch.evaluation import TRUSTED_CLASSES
from imagematch.reporting.escaping import visible
from imagematch.reporting.numbers import count_text, percent_text, two_digits
from imagematch.reporting.tables.metrics import baseline_metrics, interval, main_split, whitened_metrics

MOSTLY, PARTLY = 0.5, 0.1
"""Shares of the false matches from which two classes are named for most of them, and for more than others."""

_WEAK_AUC = 0.9
_BELOW_OTHERS = 0.05
_HIGH_FPIR, _USUAL_FPIR = 0.2, 0.05
_NAMED_CLASSES = 5


@dataclass(frozen=True)
class NamedConfusion:
    """Two classes with their false matches.

    Attributes:
        first, second: names.
        matches: pairs of an image of each that match.
        pairs: all pairs of an image of each.
        labels: of the two.
    """

    first: str
    second: str
    matches: int
    pairs: int
    labels: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Findings:
    """What a report found in the images, beyond `metrics.json`.

    Attributes:
        confused: the pairs of classes with the most false matches, the most first.
        weak_classes: class, images and balanced accuracy, the worst first.
        suspect_labels: how many labels the nearest neighbours contradict.
        near_duplicates: how many images of the split have a near duplicate outside of it.
    """

    confused: Sequence[NamedConfusion] = ()
    weak_classes: Sequence[tuple[str, int, float]] = ()
    suspect_labels: int = 0
    near_duplicates: int = 0


def verdict(metrics: Mapping[str, Any], confused: Sequence[NamedConfusion] = ()) -> str:
    """One sentence: what a matcher can do, against its baselines, where it is mostly wrong, and how far to trust that.

    Args:
        metrics: the contents of `metrics.json`.
        confused: see `Findings`.
    """
    split = main_split(metrics)
    block = metrics.get(split) or {}
    if not block:
        return "Nothing was measured, so nothing can be said."
    subject = _subject(block, split)
    if not block.get("genuine_pairs", 1):
        return f"{subject} nothing can be said about matches: no class has two images."
    if not block.get("impostor_pairs", 1):
        return f"{subject} nothing can be said about false matches: there is only one class."
    clauses = [f"{subject} {_quality(block)}"]
    references = (("the frozen network alone", baseline_metrics(metrics)), ("whitening", whitened_metrics(metrics)))
    clauses += [clause for name, reference in references if (clause := _comparison(block, reference, name))]
    clauses += [clause for clause in (_mistakes(block, confused), _trust(block)) if clause]
    return "; ".join(clauses) + "."


def _subject(block: Mapping[str, Any], split: str) -> str:
    if split == "train":
        return "On the very images that it was trained on"
    shared = block.get("shared_classes", block.get("split_by") == "image")
    if shared is None:
        return f"On the {split} images"
    return "On new images of classes that it has seen" if shared else "On classes that it has not seen"


def _quality(block: Mapping[str, Any]) -> str:
    at = block.get("threshold") or {}
    if at.get("tar") is None or at.get("far") is None:
        auc = block.get("roc_auc")
        return "its threshold was not measured" if auc is None else f"its ROC AUC is {auc:.3f}"
    return (
        f"it recognises {percent_text(at['tar'])} of the pairs of the same class, and wrongly matches "
        f"{percent_text(at['far'])} of the pairs of different classes"
    )


def _comparison(block: Mapping[str, Any], reference: Mapping[str, Any] | None, name: str) -> str:
    """How the equal error rates compare; clear only where their 95 % intervals do not overlap."""
    own, other = block.get("eer"), (reference or {}).get("eer")
    if own is None or other is None:
        return ""
    rates = f"equal error rate {percent_text(own)} against {percent_text(other)}"
    ends, others = interval(block, "eer"), interval(reference, "eer")
    if ends is not None and others is not None and ends[0] <= others[1] and others[0] <= ends[1]:
        return f"not clearly {'better' if own <= other else 'worse'} than {name} ({rates})"
    if own >= other:
        return f"{'as good as' if own == other else 'worse than'} {name} ({rates})"
    times = other / own if own else float("inf")
    factor = "without the errors of" if times == float("inf") else f"{two_digits(times)} times fewer errors than"
    return f"{factor} {name} ({rates})"


def _mistakes(block: Mapping[str, Any], confused: Sequence[NamedConfusion]) -> str:
    confusion = (block.get("threshold") or {}).get("confusion") or {}
    wrong = confusion.get("fp")
    if wrong is None:
        return ""
    if wrong == 0:
        return "no false match"
    if not confused:
        return ""
    most = confused[0]
    share = most.matches / wrong
    between = f"between {visible(most.first, 40)} and {visible(most.second, 40)}"
    if share >= MOSTLY:
        return f"most of its false matches are {between}"
    if share >= PARTLY:
        return f"more of its false matches are {between} than between any others ({percent_text(share)})"
    return "its false matches are spread over many classes"


def _trust(block: Mapping[str, Any]) -> str:
    classes = block.get("classes")
    if not isinstance(classes, int):
        return ""
    if classes < TRUSTED_CLASSES:
        return f"a rough estimate, from {count_text(classes, 'class')} ({TRUSTED_CLASSES} or more can be trusted)"
    return f"to be trusted, from {count_text(classes, 'class')}"


def next_steps(metrics: Mapping[str, Any], findings: Findings) -> list[str]:
    """What to do next, the most urgent first; empty where no rule applies."""
    block = metrics.get(main_split(metrics)) or {}
    steps = []
    if findings.near_duplicates:
        steps.append(
            f"{count_text(findings.near_duplicates, 'image')} of this split "
            f"{'has' if findings.near_duplicates == 1 else 'have'} a near duplicate outside of it, which makes the "
            "metrics too good: near_duplicates: together keeps them on one side."
        )
    if findings.suspect_labels:
        steps.append(
            f"{count_text(findings.suspect_labels, 'label')} may be wrong: look at them below, and correct "
            "suspect_labels.csv."
        )
    if weak := _weak(block, findings.weak_classes):
        steps.append(f"More images of these classes: {weak}.")
    calibration = (block.get("threshold") or {}).get("calibration") or {}
    if calibration.get("note"):
        steps.append(f"The threshold does not hold what was asked: {calibration['note']}.")
    searches, classes = block.get("identification") or {}, block.get("classes")
    if classes and (searches.get("fpir") or 0.0) > _HIGH_FPIR:
        far = f"{_USUAL_FPIR / classes:.1g}"
        steps.append(
            f"The threshold is loose for a gallery: {percent_text(searches['fpir'])} of searches for unenrolled "
            f"classes return an image. Ask for a lower rate, as `threshold: {{far: {far}}}`, or search with "
            f"`--far {far}`."
        )
    reference = baseline_metrics(metrics)
    if _comparison(block, reference, "x").startswith(("not clearly", "worse", "as good")):
        steps.append("Training brings nothing that can be shown: try another loss, or more classes to train on.")
    if (block.get("roc_auc") or 1.0) < _WEAK_AUC:
        steps.append(
            f"A ROC AUC under {_WEAK_AUC:g} is weak: try another feature_extractor (`imagematch extractors list`), or "
            "a larger image_size."
        )
    if isinstance(classes, int) and classes < TRUSTED_CLASSES:
        steps.append(f"Measure on {TRUSTED_CLASSES} classes or more before you rely on the metrics.")
    return steps


def _weak(block: Mapping[str, Any], classes: Sequence[tuple[str, int, float]]) -> str:
    overall = (block.get("threshold") or {}).get("balanced_accuracy")
    if overall is None:
        return ""
    weak = [one for one in classes if one[2] < overall - _BELOW_OTHERS][:_NAMED_CLASSES]
    return ", ".join(
        f"{visible(name, 40)} ({count_text(images, 'image')} here, balanced accuracy {accuracy:.2f})"
        for name, images, accuracy in weak
    )
