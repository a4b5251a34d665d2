"""Layouts: what the folders above an image say of its class, split, role and group. Recognised for certain, or refused.

A layout is decided by folders alone, never by how many files fit it. Where two readings give different classes or
splits, the data are refused with both readings, and the key `layout` chooses one:

- classes: every folder that directly holds images is a class, by its path.
- groups: an outermost folder is a class, a folder inside it a group.
- splits: train, val and test folders above the classes; splits_groups: above classes that hold groups.
- reid: train, query and gallery folders above the classes, as re-identification has them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from imagematch.errors import DataError
from imagematch.sources.listing import ImageRow, describe_classes

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}
ROLE_FOLDERS = {"query": "query", "gallery": "gallery", "gallery_all": "gallery"}
_BESIDE_A_SPLIT = re.compile(
    r"(images?|imgs?|img|photos?|pictures?|crops?|faces?|set|split|data|dataset|bounding|box|jpe?g|png|folder|\d*)"
)
"""Words that may stand beside the name of a split: `train_images`, `bounding_box_test`, `1-train`."""
_UNLABELLED = re.compile(r"_?un-?label+ed(_?(images|data))?|_?no_?labels?")
"""A folder of images that have no class."""
_SESSION = re.compile(
    r"(session|sess|sequence|seq|video|vid|clip|burst|visit|take|camera|cam|day|scene|track)s?[-_ ]?\d*"
    r"|(mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|(19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d.*"
)
"""A folder inside a class folder that is called so is a group, and no class."""
_NAMED = 3

NO_CLASS_FOLDER = "images in no class folder"
NO_LABEL = "images without a label"
BESIDE = "images beside the split folders"


class AmbiguousLayoutError(DataError):
    """Two readings of the folders are possible."""


@dataclass
class Reading:
    """How a folder was read.

    Attributes:
        layout: auto, or one of the above.
        rows: the labelled images.
        left_out: why -> the images of which nothing is used.
        above: the folders above the classes, in words; "" where there are none.
    """

    layout: str
    rows: list[ImageRow] = field(default_factory=list)
    left_out: dict[str, list[ImageRow]] = field(default_factory=lambda: defaultdict(list))
    above: str = ""

    def describe(self) -> str:
        """The reading in a line: splits, classes, and the class of one image."""
        groups = len({row.group for row in self.rows if row.group})
        inside = f", {groups:,} folders inside them are groups" if groups else ""
        above = f"{self.above}; " if self.above else ""
        return f"{above}{describe_classes(self.rows, inside)} (layout: {self.layout})"


def split_of(folder: str) -> str:
    """The split that a folder is named after, as `val` or `train_images`; "" where it is none."""
    if split := SPLIT_FOLDERS.get(folder.lower()):
        return split
    words = re.split(r"[-_ .]+", folder.lower())
    named = {SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS}
    others = [word for word in words if word not in SPLIT_FOLDERS]
    return named.pop() if len(named) == 1 and all(map(_BESIDE_A_SPLIT.fullmatch, others)) else ""


Folders = tuple[str, ...]
"""The folders that an image is in, outermost first."""


def read_layout(rows: Sequence[ImageRow], layout: str, where: str) -> Reading:
    """Reads the folders of images.

    Args:
        rows: the images, with paths relative to the folder.
        layout: auto, or one of the above.
        where: the folder, for errors.

    Raises:
        DataError: two readings are possible; or the images do not lie as `layout` says.
    """
    folders = {row: tuple(row.path.split("/")[:-1]) for row in rows}
    unlabelled = [] if layout == "classes" else [row for row, own in folders.items() if any(map(_says_no_label, own))]
    for row in unlabelled if len(unlabelled) < len(rows) else ():
        del folders[row]
    start = _wrapper({own for own in folders.values() if own}, layout)
    inside = {row: own[len(start) :] for row, own in folders.items() if own[: len(start)] == start and own != start}
    top_layout, nested = _top_layout(set(inside.values()), layout, where)
    reading = Reading(top_layout)
    if loose := [row for row in folders if row not in inside]:
        reading.left_out[NO_CLASS_FOLDER] = loose
    if len(folders) < len(rows):
        reading.left_out[NO_LABEL] = unlabelled
    above: dict[ImageRow, tuple[str, str]] = {}
    if top_layout not in ("classes", "groups"):
        above = _read_tops(inside, reading)
        inside = {row: inside[row][1:] for row in above}
    first = {"classes": "classes", "splits": "splits"}.get(top_layout, top_layout)
    meaning = _meanings(set(inside.values()), nested, first, where)
    for row, own in inside.items():
        label, is_group = meaning[own]
        split, role = above.get(row, ("", ""))
        group = "/".join(folders[row]) if is_group else ""
        label = unicodedata.normalize("NFC", label)
        reading.rows.append(row._replace(label=label, split=split, role=role, group=group))
    if any(row.group for row in reading.rows):
        reading.layout = {"classes": "groups", "splits": "splits_groups"}.get(top_layout, top_layout)
    reading.rows.sort()
    return reading


def _wrapper(every: Collection[Folders], layout: str) -> Folders:
    """The folders that only wrap the rest."""
    start: Folders = ()
    while True:
        deeper = [own for own in every if len(own) > len(start)]
        tops = {own[len(start)] for own in deeper}
        shallowest = 2 if layout == "groups" else 1
        if len(tops) != 1 or not any(len(own) > len(start) + shallowest for own in deeper):
            return start
        (top,) = tops
        if split_of(top):
            return start
        start = (*start, top)


def _says_no_label(folder: str) -> bool:
    return _UNLABELLED.fullmatch(folder.lower()) is not None


def _special(tops: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Split and role of the outermost folders that are named after one."""
    tops = sorted(tops)
    found = {top: (split, "") for top in tops if (split := split_of(top))}
    roles = {top: ROLE_FOLDERS[top.lower()] for top in tops if top.lower() in ROLE_FOLDERS}
    if set(roles.values()) == {"query", "gallery"}:
        found |= {top: ("test" if found else "", role) for top, role in roles.items()}
    return found


def _top_layout(every: Collection[Folders], layout: str, where: str) -> tuple[str, str]:
    """The layout of the outermost folders, and how folders inside class folders are read: classes, groups or auto."""
    tops = {own[0] for own in every}
    special = _special(tops)
    holding = {own[0] for own in every if len(own) > 1 and own[0] in special}
    is_reid = any(role for _, role in special.values())
    if layout in ("classes", "groups"):
        return layout, layout
    if layout != "auto":
        if not holding or (layout == "reid" and not is_reid):
            names = "train, query and gallery" if layout == "reid" else "train, val or test"
            raise DataError(f"has no {names} folders with class folders", where=where, do="leave out layout")
        return layout.removesuffix("_groups"), "groups" if layout == "splits_groups" else "classes"
    others, without = sorted(tops - set(special)), sorted(set(special) - holding)
    if not special or (not holding and others and len({split for split, _ in special.values() if split}) < 2):
        return "classes", "auto"
    own = "reid" if is_reid else "splits"
    above = f"{_listed(sorted(special))} {_words(special)}"
    as_classes = f"every folder is a class, as {_listed(sorted(map('/'.join, every)))}"
    if others:
        left = f"{_listed(others)} {'is' if len(others) == 1 else 'are'} left out"
        raise _ambiguous((own, f"{above} and {left}"), ("classes", as_classes), where)
    if not holding or any(special[top][0] == "train" or special[top][1] for top in without):
        lost = f"{above} and the images directly in {_listed(without)} have no label"
        raise _ambiguous((own, lost), ("classes", as_classes), where)
    return own, "auto"


def _read_tops(inside: Mapping[ImageRow, Folders], reading: Reading) -> dict[ImageRow, tuple[str, str]]:
    """Split and role of each image that is in a class folder below a split's."""
    special = _special({own[0] for own in inside.values()})
    reading.above = f"{_listed(sorted(special))} {_words(special)}"
    holding = {own[0] for own in inside.values() if len(own) > 1}
    found = {}
    for row, own in inside.items():
        if own[0] not in special:
            reading.left_out[BESIDE].append(row)
        elif len(own) == 1:
            reading.left_out[NO_CLASS_FOLDER if own[0] in holding else NO_LABEL].append(row)
        else:
            found[row] = special[own[0]]
    return found


def _meanings(every: Collection[Folders], nested: str, layout: str, where: str) -> dict[Folders, tuple[str, bool]]:
    """The class of images in each folder, and whether the folder is a group inside its class."""
    as_groups = {own: (own[0], len(own) > 1) for own in every}
    if nested == "groups":
        return as_groups
    if nested == "classes":
        return {own: ("/".join(own), False) for own in every}
    inner: dict[str, set[Folders]] = defaultdict(set)
    for own in every:
        inner[own[0]].add(own)
    if all(len(folders) == 1 for folders in inner.values()):  # both readings have the same classes
        return {own: (own[0], False) for own in every}
    if all(len(own) == 1 or own[:1] in every for own in every):  # images lie in the class folders themselves
        return as_groups
    if all(_SESSION.fullmatch(name.lower()) for own in every for name in own[1:]):
        return as_groups
    deep = sorted(own for own in every if len(own) > 1)
    names = sorted({own[0] for own in deep})
    groups = {"classes": "groups", "splits": "splits_groups"}.get(layout, "groups")
    raise _ambiguous(
        (layout, f"{_listed(list(map('/'.join, deep)))} are classes"),
        (groups, f"{_listed(names)} are classes, and {_listed(sorted({own[1] for own in deep}))} groups inside them"),
        where,
    )


def _words(special: Mapping[str, tuple[str, str]]) -> str:
    if all(role for _, role in special.values()):
        return "are query and gallery"
    if any(role for _, role in special.values()):
        return "are splits, query and gallery"
    return "are splits" if len(special) > 1 else "is a split"


def _listed(folders: Sequence[str]) -> str:
    return ", ".join(f"{folder}/" for folder in folders[:_NAMED]) + (", ..." if len(folders) > _NAMED else "")


def _ambiguous(first: tuple[str, str], second: tuple[str, str], where: str) -> AmbiguousLayoutError:
    readings = "; or ".join(f"{reading} (layout: {layout})" for layout, reading in (first, second))
    do = f"give layout: {first[0]} or layout: {second[0]}, or move the folders"
    return AmbiguousLayoutError(f"its folders can be read in two ways: {readings}", where=where, do=do)
