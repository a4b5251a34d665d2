"""N-way one-shot trials of a saved matcher, beside its extractor alone."""

from __future__ import annotations

import numpy as np

from imagematch.evaluation import OneShot, one_shot
from imagematch.pipeline.evaluate import Evaluation


def one_shot_trials(evaluation: Evaluation, ways: int, *, runs: int = 20, seed: int = 0) -> dict[str, OneShot]:
    """Draws and judges trials among the classes of an evaluated split; of Omniglot, within one alphabet at a time.

    Args:
        evaluation: what `evaluate_model` gave.
        ways: classes in a run.
        runs: draws.
        seed: of the draws, the same for both.

    Returns:
        Of `matcher`, and of `baseline`: the frozen extractor alone.

    Raises:
        DataError: there are not so many classes with two images in the split (in one alphabet).
    """
    groups = None
    if evaluation.dataset.name == "omniglot":
        alphabets = [name.partition("/")[0] for name in evaluation.dataset.class_names]
        groups = np.array(alphabets)[evaluation.view.labels]
    return {
        name: one_shot(view.embeddings, view.labels, ways=ways, runs=runs, seed=seed, groups=groups)
        for name, view in (("matcher", evaluation.view), ("baseline", evaluation.baseline_view))
    }
