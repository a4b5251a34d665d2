"""The audit of a data set before training: counts, imbalance, sizes, corrupt files, duplicates where they do harm."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.data.boxes import box_size
from imagematch.data.build import Scan, build_dataset, scan_images
from imagematch.data.dataset import Dataset
from imagematch.errors import DataError
from imagematch.events import SILENT, RunLog
from imagematch.sources import SYSTEM_FILES, ImageRow, kind_in_words, listing_notes, same_when_folded

if TYPE_CHECKING:
    from imagematch.config import TrainSettings

CAVEAT = (
    "near duplicates are found by a perceptual hash: resized, recompressed or slightly changed copies, not cropped, "
    "mirrored or turned ones; simple drawings may look alike without being copies"
)
_IMBALANCED = 10
_EXAMPLES = 1000


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        report: everything, as JSON; `summary` says what matters. Of duplicates the most telling come first.
        scan: the images with what is known of them.
        dataset: the data set, as training would see it; None where it could not be trained on.
        problem: why it could not.
    """

    report: dict[str, Any]
    scan: Scan
    dataset: Dataset | None
    problem: DataError | None


def audit_data(settings: TrainSettings, *, manifest_dir: Path, log: RunLog = SILENT) -> Audit:
    """Looks at all images that the settings name. What makes training impossible is reported, not raised.

    Raises:
        DataError: the folder is not there or empty, or there are too few images or classes to look at.
        StudyError: the manifest cannot be written.
    """
    scan = scan_images(settings, manifest_dir=manifest_dir, log=log)
    dataset, problem = None, None
    try:
        dataset = build_dataset(scan)
    except DataError as error:
        problem = error
    listed = Counter(row.label for row in scan.listing.rows)
    readable = scan.usable
    report: dict[str, Any] = {
        "dataset": settings.dataset,
        "root": None if scan.source.root is None else str(scan.source.root),
        "images": listed.total(),
        "classes": len(listed),
        "problem": None if problem is None else str(problem),
        "used": None if dataset is None else dataset.summary(),
        "corrupt": [{"path": row.path, "reason": row.reason} for row in scan.rows if row.reason],
        "images_per_class": _spread(Counter(row.label for row in readable).values()),
        "widths": _spread(row.width for row in readable),
        "heights": _spread(row.height for row in readable),
        "modes": dict(Counter(row.mode for row in readable).most_common()),
        "boxes": _boxes(readable),
        "faces": None,
        "value_range": scan.range_note or None,
        "exact_duplicates": _exact(scan, dataset),
        "near_duplicates": None if dataset is None else _near(dataset),
    }
    if scan.faces:
        searched = sum(row.digest in scan.faces for row in readable)
        report["faces"] = {"searched": searched, "found": searched - len(scan.faceless)}
    findings = _findings(report, scan)
    report["findings"] = [asdict(finding) for finding in findings]
    report["notes"] = listing_notes(scan.listing, settings.split_by)
    report["left_out"] = {kind: len(paths) for kind, paths in scan.listing.left_out.items()}
    report["summary"] = _summary(report, findings)
    return Audit(report, scan, dataset, problem)


def _boxes(readable: Iterable[ImageRow]) -> dict[str, int] | None:
    """How many images have a box of their own, and how many of those stick out of their file's; None without boxes."""
    sizes = [(box_size(row.box), (row.width, row.height)) for row in readable if row.box is not None]
    return {"given": len(sizes), "cut_at_the_edge": sum(asked != got for asked, got in sizes)} if sizes else None


def _spread(values: Iterable[int]) -> dict[str, float] | None:
    numbers = list(values)
    if not numbers:
        return None
    return {"min": min(numbers), "median": float(np.median(numbers)), "max": max(numbers)}


def _exact(scan: Scan, dataset: Dataset | None) -> dict[str, Any]:
    """Byte-identical images: groups of them, those under several labels, those left out for a copy in another split."""
    copies: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in scan.usable:
        copies[row.digest].append((row.path, row.label))
    groups = [group for group in copies.values() if len(group) > 1]
    mislabelled = [group for group in groups if not _one_label(group)]
    used = set() if dataset is None else set(dataset.paths.tolist())
    usable = set() if dataset is None else set(dataset.class_names)
    gone = set() if dataset is None else {image.path for image in dataset.quarantined}

    def left_out(group: Sequence[tuple[str, str]]) -> int:
        return sum(label in usable and path not in used and path not in gone for path, label in group)

    groups.sort(key=lambda group: (not left_out(group), _one_label(group)))
    return {
        "groups": len(groups),
        "images": sum(map(len, groups)),
        "under_different_labels": len(mislabelled),
        "across_splits": sum(map(left_out, groups)),
        "examples": [[path for path, _ in group] for group in groups[:_EXAMPLES]],
    }


def _one_label(group: Sequence[tuple[str, str]]) -> bool:
    return len({label for _, label in group}) == 1


def _near(dataset: Dataset) -> dict[str, Any] | None:
    """Near duplicates, and those of them that are in different splits or under different labels."""
    found = dataset.near_duplicates
    if found is None:
        return None
    first, second = found.pairs[:, 0], found.pairs[:, 1]
    across = dataset.splits[first] != dataset.splits[second]
    mislabelled = dataset.labels[first] != dataset.labels[second]
    order = np.argsort(-(2 * mislabelled.astype(int) + across), kind="stable")[:_EXAMPLES]
    return {
        "pairs": len(found.pairs),
        "across_splits": int(across.sum()),
        "test_images_seen_in_training": dataset.near_training.get("test", 0),
        "under_different_labels": int(mislabelled.sum()),
        "not_compared": found.not_compared,
        "complete": found.complete,
        "caveat": CAVEAT,
        "examples": [[str(dataset.paths[row]) for row in pair] for pair in found.pairs[order]],
    }


@dataclass(frozen=True)
class AuditFinding:
    """What stands out.

    Attributes:
        count: how many; 0 where it is not counted.
        what: of what.
        do: the remedy.
        example: one, or "".
    """

    count: int
    what: str
    do: str
    example: str = ""

    @property
    def text(self) -> str:
        """The finding in words."""
        return f"{self.count:,} {self.what}" if self.count else self.what


def _findings(report: dict[str, Any], scan: Scan) -> list[AuditFinding]:
    """What stands out, what does most harm first."""
    exact, near, faces = report["exact_duplicates"], report["near_duplicates"] or {}, report["faces"]
    per_class, boxes = report["images_per_class"], report["boxes"] or {}
    pair = " ~ ".join(next(iter(near.get("examples", ())), ()))
    copy = " = ".join(next(iter(exact["examples"]), ())[:2])
    several = [row.path for row in scan.usable if row.more_frames]
    counted = [
        AuditFinding(
            near.get("test_images_seen_in_training", 0),
            "test images with a near duplicate in training: the metrics flatter",
            "give groups, or near_duplicates: together",
            pair,
        ),
        AuditFinding(
            exact["under_different_labels"], "groups of exact copies under different labels", "keep one", copy
        ),
        AuditFinding(
            near.get("under_different_labels", 0),
            "pairs of near duplicates under different labels",
            "look at them: one of the labels may be wrong",
            pair,
        ),
        *(
            AuditFinding(
                len(paths),
                f"{kind_in_words(kind, len(paths))} left out",
                _REMEDIES.get(kind, "convert them, or take them away"),
                paths[0],
            )
            for kind, paths in sorted(scan.listing.left_out.items(), key=lambda item: -len(item[1]))
            if paths and kind not in _HARMLESS
        ),
        *(
            AuditFinding(len(names), f"spellings of what may be one class: {', '.join(names)}", "give it one spelling")
            for names in same_when_folded(row.label for row in scan.listing.rows)
        ),
        AuditFinding(
            len(report["corrupt"]),
            "corrupt images left out",
            "replace or remove them",
            next((image["path"] for image in report["corrupt"]), ""),
        ),
        AuditFinding(
            exact["across_splits"], "exact copies left out, since they are in another split too", "keep one", copy
        ),
        AuditFinding(
            len(several),
            "images with more pages or frames than the first, which alone is used",
            "save each as an image of its own, if they are meant to be used",
            several[0] if several else "",
        ),
        AuditFinding(boxes.get("cut_at_the_edge", 0), "boxes cut at the edge of their image", "correct the boxes"),
    ]
    said: list[AuditFinding] = []
    if report["value_range"]:
        said.append(AuditFinding(0, report["value_range"], "give value_range where another rule is right for grey"))
    if faces and faces["found"] < faces["searched"]:
        share = 1 - faces["found"] / faces["searched"]
        without = scan.faceless[0].path if scan.faceless else ""
        said.append(AuditFinding(0, f"no face found in {share:.1%} of the images", "see face_missing", without))
    if per_class["max"] >= _IMBALANCED * per_class["min"]:
        what = f"classes of {per_class['min']:,} to {per_class['max']:,} images"
        said.append(AuditFinding(0, what, "add images of the small ones, or raise min_images_per_class"))
    return [finding for finding in counted if finding.count] + said


_REMEDIES = {
    "images in no class folder": "put them in the folder of their class, if they are meant to be used",
    "images without a label": "put them in class folders, if they are meant to be used",
    "images beside the split folders": "give layout: classes, if they are classes",
    "photo libraries": "export the photos from them, if they are meant to be used",
    "video": "take images from them, if they are meant to be used",
    "ZIP": "unpack them, if they hold images",
}
_HARMLESS = (
    SYSTEM_FILES,
    *(".aae", ".csv", ".db", ".htm", ".html", ".ini", ".json", ".lnk", ".log", ".lrcat", ".md", ".thm", ".tsv"),
    *(".txt", ".url", ".xml", ".xmp", ".yaml", ".yml"),
)
"""Kinds of files that lie beside images and are none: counted in the notes, and not to be looked at."""


def _summary(report: dict[str, Any], findings: Sequence[AuditFinding]) -> str:
    """The verdict, in a line."""
    used = report["used"]
    if used is None:
        return f"cannot be trained on: {report['problem']}"
    start = f"{used['images']:,} images of {used['classes']:,} classes can be used"
    return f"{start}; look at: {'; '.join(f.text for f in findings)}" if findings else f"{start}; nothing stands out"
