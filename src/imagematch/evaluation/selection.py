"""The figures that models are selected by: every epoch's, and any other by its name, from one pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.at_threshold import at_threshold
from imagematch.evaluation.blocks import half_square_blocks, in_class_order
from imagematch.evaluation.pairs import PairCollector, PairDistances
from imagematch.evaluation.ranking import Ranker
from imagematch.evaluation.retrieval import RetrievalFigures, means_of
from imagematch.evaluation.thresholds import choose_threshold
from imagematch.evaluation.verification import average_precision, eer, roc_auc, tar_at_far

_QUICK = ("roc_auc", "eer", "map_at_r", "recall_at_1", "r_precision")
_FARS = ("0.1", "0.01", "0.001")
_KS = (1, 5, 10)


def _rate_at(far: str) -> Callable[[PairDistances], float]:
    def tar(pairs: PairDistances) -> float:
        found = tar_at_far(pairs, [float(far)])[0]
        if found.tar is None:
            needed = round(30 / float(far))
            raise DataError(
                f"{pairs.impostor.count:,} impostor pairs of the validation images are too few for a rate at a false "
                f"accept rate of {far}, which needs {needed:,}",
                where="objective",
                do="name a higher rate, or raise validation_max_images or validation's share of the split",
            )
        return found.tar

    return tar


def _best(criterion: str) -> Callable[[PairDistances], float]:
    """The figure at the threshold that makes it best on these very pairs."""

    def figure(pairs: PairDistances) -> float:
        value = getattr(at_threshold(pairs, choose_threshold(pairs, criterion).distance), criterion)
        return 0.0 if value is None else float(value)

    return figure


_OF_PAIRS: dict[str, Callable[[PairDistances], float]] = {
    "roc_auc": roc_auc,
    "eer": eer,
    "average_precision": average_precision,
    **{f"tar_at_far_{far}": _rate_at(far) for far in _FARS},
    **{f"frr_at_far_{far}": lambda pairs, far=far: 1.0 - _rate_at(far)(pairs) for far in _FARS},  # type: ignore[misc]
    **{name: _best(name) for name in ("accuracy", "balanced_accuracy", "f1")},
}
_OF_RANKING: dict[str, Callable[[RetrievalFigures], float | None]] = {
    "map_at_r": lambda found: found.map_at_r,
    "r_precision": lambda found: found.r_precision,
    "mean_average_precision": lambda found: found.mean_average_precision,
    **{f"recall_at_{k}": lambda found, k=k: found.recall_at_k[k] for k in _KS},  # type: ignore[misc]
}

SELECTABLE = (*_OF_PAIRS, *_OF_RANKING)
"""Every figure that `quick_figures` can give."""


def quick_figures(embeddings: np.ndarray, labels: np.ndarray, also: Collection[str] = ()) -> dict[str, float]:
    """Computes roc_auc, eer, map_at_r, recall_at_1 and r_precision from one pass, for validation at every epoch.

    The same values as `roc_auc`, `eer` and `retrieval_figures` give.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,) class of each row.
        also: other names of SELECTABLE. accuracy, balanced_accuracy and f1 are the best that any threshold reaches on
            these pairs: good for comparing models, too good as an estimate.

    Raises:
        DataError: there is no genuine or no impostor pair, too few for a rate that was asked for, or embeddings are
            unusable as in `pair_distances`.
    """
    wanted = dict.fromkeys((*_QUICK, *also))
    order = in_class_order(embeddings, labels)
    ks = [k for k in _KS if f"recall_at_{k}" in wanted]
    collector, ranker = PairCollector(order), Ranker(order, ks, whole_ranking="mean_average_precision" in wanted)
    for block in half_square_blocks(order.rows, upper_triangle=False):
        collector.add(block)
        ranker.add(block)
    pairs = collector.finish()
    pairs.require()
    found = means_of(ranker.finish(), len(order.rows))
    figures = {}
    for name in wanted:
        value = _OF_PAIRS[name](pairs) if name in _OF_PAIRS else _OF_RANKING[name](found)
        assert value is not None, "the ranking was whole where that is needed"
        figures[name] = value
    return figures
