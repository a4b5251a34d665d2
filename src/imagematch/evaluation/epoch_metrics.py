"""The metrics by which models are selected, from one pass over the images: those of every epoch, others on request."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.at_threshold import at_threshold
from imagematch.evaluation.blocks import cosine_distance_blocks, in_class_order
from imagematch.evaluation.pairs import PairCollector, PairDistances
from imagematch.evaluation.ranking import Ranker
from imagematch.evaluation.retrieval import RECALL_KS, RetrievalMetrics, means_of
from imagematch.evaluation.thresholds import choose_threshold
from imagematch.evaluation.verification import average_precision, eer, roc_auc, tar_at_far

_ALWAYS = ("roc_auc", "eer", "map_at_r", "recall_at_1", "r_precision")
_FARS = ("0.1", "0.01", "0.001")


def _tar_at(far: str) -> Callable[[PairDistances], float]:
    def tar(pairs: PairDistances) -> float:
        found = tar_at_far(pairs, [float(far)])[0]
        if found.tar is None:
            needed = round(30 / float(far))
            raise DataError(
                f"the validation images have {pairs.impostor.count:,} impostor pairs, too few for a false accept rate "
                f"of {far}, which needs {needed:,}",
                where="objective",
                do="use a higher rate, or raise validation_max_images or the share of validation in split",
            )
        return found.tar

    return tar


def _best(name: str) -> Callable[[PairDistances], float]:
    """The largest value that a metric reaches at any threshold on the same pairs."""

    def metric(pairs: PairDistances) -> float:
        value = getattr(at_threshold(pairs, choose_threshold(pairs, name).distance), name)
        return 0.0 if value is None else float(value)

    return metric


_OF_PAIRS: dict[str, Callable[[PairDistances], float]] = {
    "roc_auc": roc_auc,
    "eer": eer,
    "average_precision": average_precision,
    **{f"tar_at_far_{far}": _tar_at(far) for far in _FARS},
    **{f"frr_at_far_{far}": lambda pairs, far=far: 1.0 - _tar_at(far)(pairs) for far in _FARS},  # type: ignore[misc]
    **{name: _best(name) for name in ("accuracy", "balanced_accuracy", "f1")},
}
_OF_RANKING: dict[str, Callable[[RetrievalMetrics], float | None]] = {
    "map_at_r": lambda found: found.map_at_r,
    "r_precision": lambda found: found.r_precision,
    "mean_average_precision": lambda found: found.mean_average_precision,
    **{f"recall_at_{k}": lambda found, k=k: found.recall_at_k[k] for k in RECALL_KS},  # type: ignore[misc]
}

EPOCH_METRICS = (*_OF_PAIRS, *_OF_RANKING)
"""Every metric that `epoch_metrics` can compute."""


def epoch_metrics(embeddings: np.ndarray, labels: np.ndarray, also: Collection[str] = ()) -> dict[str, float]:
    """Computes roc_auc, eer, map_at_r, recall_at_1 and r_precision in one pass, for validation at every epoch.

    The values are those of `roc_auc`, `eer` and `retrieval_metrics`.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,) class of each row.
        also: other names of EPOCH_METRICS. accuracy, balanced_accuracy and f1 are at the best threshold for these very
            pairs: they compare models, but are too high as estimates.

    Raises:
        DataError: there is no genuine or no impostor pair, too few impostor pairs for a requested rate, or embeddings
            are unusable as in `pair_distances`.

    Examples:
        >>> rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> epoch_metrics(rows, np.array([0, 0, 1, 1]), ["f1"])
        {'roc_auc': 0.75, 'eer': 0.25, 'map_at_r': 0.5, 'recall_at_1': 0.5, 'r_precision': 0.5, 'f1': 0.8}
    """
    wanted = dict.fromkeys((*_ALWAYS, *also))
    order = in_class_order(embeddings, labels)
    ks = [k for k in RECALL_KS if f"recall_at_{k}" in wanted]
    collector, ranker = PairCollector(order), Ranker(order, ks, whole_ranking="mean_average_precision" in wanted)
    for block in cosine_distance_blocks(order.rows, upper_triangle=False):
        collector.add(block)
        ranker.add(block)
    pairs = collector.finish()
    pairs.require()
    found = means_of(ranker.finish(), len(order.rows))
    metrics = {}
    for name in wanted:
        value = _OF_PAIRS[name](pairs) if name in _OF_PAIRS else _OF_RANKING[name](found)
        assert value is not None, "the ranking is whole where a metric needs it"
        metrics[name] = value
    return metrics
