"""LFW's protocol: folds of listed pairs, each at the threshold chosen on the others."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.blocks import checked_embeddings
from imagematch.evaluation.pairs import listed_pairs
from imagematch.evaluation.thresholds import Criterion, choose_threshold
from imagematch.evaluation.verification import roc_auc
from imagematch.files import os_reason
from imagematch.reading import MAX_LINES, TABLE_BYTES, text_lines

_MOST_DIGITS = 9


@dataclass(frozen=True)
class ListedPair:
    """One line of a list of pairs.

    Attributes:
        first, second: (person, number of the image, from 1).
        same: whether both are of the same person.
        fold: the fold, from 0.
    """

    first: tuple[str, int]
    second: tuple[str, int]
    same: bool
    fold: int


@contextlib.contextmanager
def pair_list_errors(path: Path) -> Iterator[None]:
    """Turns the errors of reading a list of pairs into a DataError that names the file.

    Examples:
        >>> with pair_list_errors(Path("pairs.txt")):
        ...     Path("pairs.txt").read_text()
        Traceback (most recent call last):
        imagematch.errors.DataError: pairs.txt: the list of pairs cannot be read: No such file or directory
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"the list of pairs cannot be read: {os_reason(error)}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError(
            "the list of pairs cannot be read: it is not UTF-8 text", where=str(path), do="save it as UTF-8"
        ) from error


def read_lfw_pairs(path: Path) -> list[ListedPair]:
    """Reads a list of pairs in LFW's format.

    The first line is `folds<TAB>pairs` (or `pairs` alone: one fold). Each fold has that many lines `name n1 n2` of
    the same person, then as many `name1 n1 name2 n2` of two people. The image of (name, n) is
    `name/name_000n.jpg`: see `lfw_path`.

    Raises:
        DataError: the file cannot be read, or a line is not of that format; names file and line.

    Source: Huang et al., Labeled Faces in the Wild, UMass 07-49, 2007.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "pairs.txt"
        ...     _ = path.write_text("1\\nAnn\\t1\\t2\\nAnn\\t1\\tBob\\t3\\n")
        ...     read_lfw_pairs(path)[1]
        ListedPair(first=('Ann', 1), second=('Bob', 3), same=False, fold=0)
    """
    with pair_list_errors(path):
        lines = _numbered_fields(path)
        number, header = next(lines, (0, []))
        if not header:
            raise DataError("the list of pairs is empty", where=str(path))
        if len(header) > 2 or not all(_is_count(field) for field in header):
            raise _bad_line(path, number, "the first line must be folds<TAB>pairs")
        folds, each = (1, int(header[0])) if len(header) == 1 else (int(header[0]), int(header[1]))
        announced = folds * each * 2
        numbered = list(itertools.islice(lines, min(announced, MAX_LINES)))
        more = sum(1 for _ in lines)
    if len(numbered) + more != announced:
        raise DataError(
            f"{len(numbered) + more} pairs where the first line announces {folds} x 2 x {each}", where=str(path)
        )
    return [
        _listed_pair(path, number, fields, index // (2 * each), same=index % (2 * each) < each)
        for index, (number, fields) in enumerate(numbered)
    ]


def lfw_path(image: tuple[str, int]) -> str:
    """The relative path of an image of LFW.

    Examples:
        >>> lfw_path(("Abel_Pacheco", 4))
        'Abel_Pacheco/Abel_Pacheco_0004.jpg'
    """
    name, number = image
    return f"{name}/{name}_{number:04d}.jpg"


def _numbered_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty: their number from 1, and their fields; of five, the fifth is the rest."""
    for number, line in enumerate(text_lines(path, max_bytes=TABLE_BYTES), 1):
        if line.strip():
            yield number, line.rstrip("\n").split("\t", 4)


def _listed_pair(path: Path, number: int, fields: list[str], fold: int, *, same: bool) -> ListedPair:
    fields = [field.strip() for field in fields]
    if same and len(fields) == 3 and _is_count(fields[1]) and _is_count(fields[2]):
        return ListedPair((fields[0], int(fields[1])), (fields[0], int(fields[2])), True, fold)
    if not same and len(fields) == 4 and _is_count(fields[1]) and _is_count(fields[3]):
        return ListedPair((fields[0], int(fields[1])), (fields[2], int(fields[3])), False, fold)
    expected = "name<TAB>n1<TAB>n2" if same else "name1<TAB>n1<TAB>name2<TAB>n2"
    raise _bad_line(path, number, f"expected {expected}")


def _is_count(text: str) -> bool:
    digits = text.strip()
    return digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS and int(digits) > 0


def _bad_line(path: Path, number: int, what: str) -> DataError:
    return DataError(what, where=f"{path}:{number}")


def distances_of_rows(embeddings: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Computes the Euclidean distances of listed pairs of rows.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        first, second: (pairs,) int, the rows of each pair.

    Returns:
        (pairs,) float32.

    Raises:
        DataError: embeddings are NaN, infinite or not L2-normalised.

    Examples:
        >>> print(distances_of_rows(np.eye(3), np.array([0, 1]), np.array([0, 2])))
        [0.        1.4142135]
    """
    rows = checked_embeddings(embeddings)
    chunk = max(1, (1 << 22) // max(1, rows.shape[1]))
    parts = [
        np.linalg.norm(rows[first[at : at + chunk]] - rows[second[at : at + chunk]], axis=1)
        for at in range(0, len(first), chunk)
    ]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class FoldedAccuracy:
    """Accuracy on each fold at the threshold that was chosen on the other folds.

    Attributes:
        accuracies, thresholds: one for each fold.
        mean: the mean accuracy.
        standard_error: of the mean, std(accuracies, ddof=1) / sqrt(folds).
        roc_auc: over the pairs of all folds.
    """

    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]
    mean: float
    standard_error: float
    roc_auc: float


def folded_accuracy(
    distances: np.ndarray, same: np.ndarray, folds: np.ndarray, *, criterion: Criterion = "accuracy"
) -> FoldedAccuracy:
    """LFW's protocol: for each fold, choose the threshold on all other folds and measure its accuracy on this fold.

    Args:
        distances: (pairs,) of listed pairs.
        same: (pairs,) bool.
        folds: (pairs,) fold of each pair.
        criterion: as in `choose_threshold`.

    Raises:
        DataError: fewer than two folds, or folds without genuine or impostor pairs to choose on.

    Examples:
        >>> distances, same = np.array([0.2, 1.0, 0.3, 1.2]), np.array([True, False, True, False])
        >>> folded_accuracy(distances, same, np.array([0, 0, 1, 1])).accuracies
        (1.0, 1.0)
    """
    distances, same, folds = np.asarray(distances, dtype=np.float32), np.asarray(same, dtype=bool), np.asarray(folds)
    names = np.unique(folds)
    if len(names) < 2:
        raise DataError("a threshold chosen on other folds needs two folds or more")
    accuracies, thresholds = [], []
    for name in names:
        held_out = folds == name
        chosen = choose_threshold(listed_pairs(distances[~held_out], same[~held_out]), criterion).distance
        right = (distances[held_out] < np.float32(chosen)) == same[held_out]
        accuracies.append(float(right.mean()))
        thresholds.append(chosen)
    error = float(np.std(accuracies, ddof=1) / np.sqrt(len(names)))
    area = roc_auc(listed_pairs(distances, same))
    return FoldedAccuracy(tuple(accuracies), tuple(thresholds), float(np.mean(accuracies)), error, area)
