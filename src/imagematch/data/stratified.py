"""Sharing images out among splits, class by class, so that what belongs together stays together."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from imagematch.files import digest_bytes
from imagematch.sources import ImageRow

SPLITS = ("train", "validation", "calibration", "test")
LEFT_OUT = ""
MIN_CLASSES = 2
MIN_IMAGES = 2
_EPSILON = 1e-9


@dataclass(frozen=True)
class SplitImages:
    """The columns that splitting needs, one item an image, sorted by path; images of one unit stay together."""

    rows: Sequence[ImageRow]
    units: Sequence[int]
    placed: Sequence[str]
    labels: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", [row.label for row in self.rows])


def together(rows: Sequence[ImageRow], near: Iterable[tuple[int, int]] = ()) -> list[int]:
    """The unit of each image, the number of its first row: byte-identical images, those of a group, near duplicates."""
    first: dict[tuple[str, str], int] = {}
    sets = DisjointSets(len(rows))
    for number, row in enumerate(rows):
        sets.join(first.setdefault(("content", row.digest), number), number)
        if row.group:
            sets.join(first.setdefault(("group", row.group), number), number)
    for one, other in near:
        sets.join(one, other)
    return [sets.of(number) for number in range(len(rows))]


class DisjointSets:
    """Sets of numbers, each called by its smallest.

    Source: R. Tarjan, Efficiency of a good but not linear set union algorithm, J. ACM 1975.
    """

    def __init__(self, n: int) -> None:
        self._parents = list(range(n))

    def of(self, number: int) -> int:
        """The smallest number of the set that a number is in."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Makes one set of the two."""
        if one != other:
            low, high = sorted((self.of(one), self.of(other)))
            self._parents[high] = low


def share_out(images: SplitImages, rows: Collection[int], shares: Mapping[str, float], seed: int) -> list[str]:
    """Divides every class among the splits, carrying rounding errors over to the next class. Other rows: LEFT_OUT.

    The first of `shares` takes what the others, the held-out ones, leave. Images that were placed stay, and the other
    images of their units go to them.
    """
    splits = [LEFT_OUT] * len(images.rows)
    members: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        members[images.units[row]].append(row)
        if images.placed[row] in shares:
            splits[row] = images.placed[row]
    new: list[list[int]] = []
    for unit in members.values():
        where = next((splits[row] for row in unit if splits[row]), LEFT_OUT)
        for row in unit:
            splits[row] = splits[row] or where
        if not where:
            new.append(unit)
    _deal_mixed([unit for unit in new if len({images.labels[row] for row in unit}) > 1], images, splits, shares, seed)
    sizes = Counter(images.labels[row] for row in rows)
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    waiting: dict[str, list[list[int]]] = defaultdict(list)
    for row in rows:
        if splits[row]:
            taken[images.labels[row]][splits[row]] += 1
    for unit in new:
        if not splits[unit[0]]:
            waiting[images.labels[unit[0]]].append(unit)
    remainder, *held_out = shares
    # In a very small data set validation and test get more than their share: enough for two classes of two images.
    enough = min(MIN_CLASSES * MIN_IMAGES / max(sizes.total(), 1), 0.25)
    rates = {split: shares[split] if split == "calibration" else max(shares[split], enough) for split in held_out}
    owed = dict.fromkeys(held_out, 0.0)
    for label in sorted(sizes, key=lambda label: draw(seed, label)):
        have = taken[label]
        left = _takes(sizes[label], rates, owed, have)
        left[remainder] = sizes[label] - sum(left.values())
        left = {split: left[split] - have[split] for split in left}
        for unit in _in_drawn_order(waiting[label], images, seed):
            split = max(left, key=left.__getitem__)
            left[split] -= len(unit)
            have[split] += len(unit)
            for row in unit:
                splits[row] = split
        for unit in waiting[label]:
            if len(unit) == 1 and splits[unit[0]] != remainder and have[splits[unit[0]]] == 1:
                have[splits[unit[0]]] -= 1
                splits[unit[0]] = remainder
        for split in held_out:
            owed[split] -= have[split]
    _fill_up(images, [unit for units in waiting.values() for unit in units], splits, shares, seed)
    return splits


def _in_drawn_order(units: Iterable[list[int]], images: SplitImages, seed: int) -> list[list[int]]:
    return sorted(units, key=lambda unit: (-len(unit), draw(seed, images.rows[unit[0]].path)))


def _takes(size: int, rates: Mapping[str, float], owed: dict[str, float], have: Mapping[str, int]) -> dict[str, int]:
    """How many of a class's `size` images each held-out split takes: none or two and more, and at least what it has."""
    takes = dict.fromkeys(rates, 0)
    room = size if size <= MIN_IMAGES else size - 1
    for split, rate in rates.items():
        owed[split] += rate * size
    for split in sorted(rates, key=lambda split: -owed[split]):
        take = math.floor(owed[split] + 0.5 + _EPSILON)
        if take < MIN_IMAGES:
            take = MIN_IMAGES if owed[split] > 1 - _EPSILON or rates[split] * size > MIN_IMAGES - _EPSILON else 0
        take = min(take, room)
        takes[split] = max(take if take >= MIN_IMAGES else 0, have.get(split, 0))
        room = max(0, room - takes[split])
    return takes


def _deal_mixed(
    units: list[list[int]], images: SplitImages, splits: list[str], shares: Mapping[str, float], seed: int
) -> None:
    """Assigns units of several classes, the largest first, each to the split that is most short of images.

    Where most images are in such units, as those of a few photographers, the smallest go to the empty splits.
    """
    mixed = sum(map(len, units))
    wanted = {split: share * (mixed + sum(map(bool, splits))) - splits.count(split) for split, share in shares.items()}
    empty = [split for split in reversed(list(shares)) if split != "calibration" and split not in splits]
    order = _in_drawn_order(units, images, seed)
    first = dict(zip(map(id, reversed(order)), empty, strict=False)) if 2 * mixed > len(images.rows) else {}
    for unit in order:
        split = first.get(id(unit)) or max(wanted, key=wanted.__getitem__)
        wanted[split] -= len(unit)
        for row in unit:
            splits[row] = split


def _fill_up(
    images: SplitImages, units: Sequence[list[int]], splits: list[str], shares: Mapping[str, float], seed: int
) -> None:
    """Moves new units out of the remainder into held-out splits that would lack pairs, from classes that have more."""
    remainder = next(iter(shares))
    for split in reversed(list(shares)):
        if split in ("calibration", remainder):
            continue
        candidates: list[list[int]] | None = None
        while lack(images.labels, splits, split):
            if candidates is None:
                movable = [unit for unit in units if len(unit) >= MIN_IMAGES and splits[unit[0]] == remainder]
                candidates = _in_drawn_order(movable, images, seed)
            inside = {label for label, own in zip(images.labels, splits, strict=True) if own == split}
            trained = Counter(images.labels[u[0]] for u in units if splits[u[0]] == remainder)
            spare = [u for u in candidates if images.labels[u[0]] not in inside and trained[images.labels[u[0]]] > 1]
            if not spare:
                break
            candidates.remove(spare[-1])
            for row in spare[-1]:
                splits[row] = split


def lack(labels: Iterable[Hashable], splits: Iterable[str], split: str) -> str:
    """What a split lacks for there to be genuine and impostor pairs in it; "" where it lacks nothing."""
    sizes = Counter(label for label, own in zip(labels, splits, strict=True) if own == split)
    if not sizes:
        return "has no images"
    if len(sizes) < MIN_CLASSES:
        return "has images of one class only, so no impostor pair"
    if max(sizes.values()) < MIN_IMAGES:
        return "has no two images of one class, so no genuine pair"
    return ""


def draw(seed: int, name: str) -> str:
    """Orders names at random, the same way everywhere."""
    return digest_bytes(f"{seed} {name}".encode(errors="surrogateescape"))
