"""Each class at the threshold, and the classes that are confused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.evaluation import class_rates
from imagematch.reporting.escaping import visible
from imagematch.reporting.images import SplitView

if TYPE_CHECKING:
    import pandas as pd


def confusions_table(confused: Sequence[Any]) -> pd.DataFrame:
    """The pairs of classes with the most false matches: counts, and what share of the two classes' pairs they are."""
    import pandas as pd

    return pd.DataFrame(
        {
            "class": visible(one.first),
            "taken for": visible(one.second),
            "false matches": one.matches,
            "of pairs": one.pairs,
            "share": f"{100 * one.matches / one.pairs:.2g} %",
        }
        for one in confused
    )


def class_table(view: SplitView, threshold: float) -> pd.DataFrame:
    """Each class's rates at the threshold, the worst class first.

    Columns: class, images, "genuine pairs matched" (share, NaN for a class with one image), "impostor pairs matched"
    (share of pairs with one image of the class), "balanced accuracy".
    """
    import pandas as pd

    rates = class_rates(view.embeddings, view.labels, threshold)
    frame = pd.DataFrame(
        {
            "class": [visible(view.class_names[int(label)]) for label in rates.names],
            "images": np.asarray(rates.images, dtype=np.int64),
            "genuine pairs matched": rates.tar,
            "impostor pairs matched": rates.far,
            "balanced accuracy": (rates.tar + 1 - rates.far) / 2,
        }
    )
    return frame.sort_values("balanced accuracy", kind="stable", na_position="last").reset_index(drop=True)


def worst_and_best_classes(view: SplitView, threshold: float, count: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `count` worst and the `count` best classes (no class in both), worst and best first; see `class_table`."""
    frame = class_table(view, threshold).dropna(subset=["balanced accuracy"])
    half = min(count, (len(frame) + 1) // 2)
    best = frame.iloc[max(half, len(frame) - count) :][::-1]
    return frame.head(half), best.reset_index(drop=True)
