"""What pruning costs: how often it cuts the trial that would have won, and how many epochs or folds it saves.

Epochs: `pruning_curves.json` has the learning curves (validation MAP@R) of two searches that pruned nothing, 30 trials
of 30 epochs each with `lr_schedule: cosine` and heads on frozen MobileNetV2 features of Tiny ImageNet: `by_class`
validated on unseen classes, `by_image` on other images of the classes that were trained on. Each is searched again in
many random orders by pruners that differ in how many percent stay (50: the median) and in the first epoch they cut.

Folds: 24 synthetic objectives (those of search_quality.py), 30 random points each, 5 folds that differ in difficulty by
0.1 of the objective's range and in each value by 0.03, pruned by our median over folds and by Optuna's WilcoxonPruner.

Keys: `lost` HOW: the share of searches whose best trial was cut; `regret` HOW: how much worse what they found is, in
MAP@R, or as a share of the range; `ratios` HOW: the share of the epochs or folds that was not trained; `seconds`.
No training, no TensorFlow.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

CURVES = Path(__file__).with_name("pruning_curves.json")
ORDERS, DRAWS, OBJECTIVES = 300, 4, 24
PERCENTILES, FIRST_EPOCHS = (50, 75), (5, 10, 15, 20)
STARTUP = 5
TRIALS, FOLDS = 30, 5
OF_A_FOLD, NOISE = 0.1, 0.03

Found = tuple[float, float, float]
"""Whether the best trial was cut, how much worse what was found is, share of steps that were saved."""


def main() -> None:
    """Measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object with name, lost, regret, ratios, seconds")
    parser.add_argument("--data-dir", type=Path, help="not needed: nothing is trained")
    parser.add_argument("--weights", type=Path, help="not needed: nothing is trained")
    parser.add_argument("--orders", type=int, default=ORDERS, help="random orders of each set of curves")
    parser.add_argument("--draws", type=int, default=DRAWS, help="draws of each synthetic objective")
    arguments = parser.parse_args()
    result = measure(arguments.orders, arguments.draws)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{'':32}{'winner cut':>12}{'regret':>10}{'saved':>8}")
    for how, saved in result["ratios"].items():
        print(f"{how:32}{result['lost'][how]:12.3f}{result['regret'][how]:10.4f}{saved:8.3f}")


def measure(orders: int, draws: int) -> dict[str, Any]:
    """All of it."""
    started, found = time.perf_counter(), {}
    for name, curves in json.loads(CURVES.read_text()).items():
        for percentile in PERCENTILES:
            for first in FIRST_EPOCHS:
                found[f"{name}_{percentile}_from_{first}"] = in_random_orders(
                    np.array(curves), percentile, first, orders
                )
    found |= over_folds(draws)
    means = {how: [statistics.fmean(part) for part in zip(*each, strict=True)] for how, each in found.items()}
    return {
        "name": "pruning",
        "lost": {how: lost for how, (lost, _, _) in means.items()},
        "regret": {how: regret for how, (_, regret, _) in means.items()},
        "ratios": {how: saved for how, (_, _, saved) in means.items()},
        "seconds": {"all": time.perf_counter() - started},
    }


# ---- epochs


def in_random_orders(curves: np.ndarray, percentile: float, first: int, orders: int) -> list[Found]:
    """Searches over `curves`, (trials, epochs), by a pruner."""
    random = np.random.default_rng(0)
    return [replay(curves[random.permutation(len(curves))], percentile, first) for _ in range(orders)]


def replay(curves: np.ndarray, percentile: float, first: int) -> Found:
    """One search, pruned as Optuna's PercentilePruner does, except at a trial's last epoch."""
    best = np.maximum.accumulate(curves, axis=1)
    complete: list[np.ndarray] = []
    epochs, found = 0, -np.inf
    for curve, so_far in zip(curves, best, strict=True):
        cut = len(curve)
        if len(complete) >= STARTUP:
            worse = so_far < np.percentile(complete, 100 - percentile, axis=0)
            worse[: first - 1] = worse[-1] = False
            cut = int(np.argmax(worse)) + 1 if worse.any() else cut
        epochs += cut
        if cut == len(curve):
            complete.append(curve)
            found = max(found, so_far[-1])
    top = float(best[:, -1].max())
    return float(found < top), top - found, 1 - epochs / curves.size


# ---- folds


def over_folds(draws: int) -> dict[str, list[Found]]:
    """The synthetic searches with folds, by each pruner."""
    from optuna.pruners import WilcoxonPruner

    from imagematch.tuning.samplers import FoldMedian
    from imagematch.tuning.storage import quiet_about_experiments
    from search_quality import objectives

    found: dict[str, list[Found]] = {}
    random = np.random.default_rng(0)
    for objective in itertools.islice(objectives(), OBJECTIVES):
        values = np.array(list(objective.values()))
        values = (values - values.min()) / np.ptp(values)
        for _ in range(draws):
            points = random.choice(values, TRIALS, replace=False)[:, None]
            folds = points + OF_A_FOLD * random.normal(size=FOLDS) + NOISE * random.normal(size=(TRIALS, FOLDS))
            so_far = np.cumsum(folds, axis=1) / np.arange(1, FOLDS + 1)
            with quiet_about_experiments():
                found.setdefault("folds_median", []).append(pruned(so_far, so_far, FoldMedian()))
                for share in (0.1, 0.2):
                    pruner = WilcoxonPruner(p_threshold=share)
                    found.setdefault(f"folds_wilcoxon_{share}", []).append(pruned(folds, so_far, pruner))
    return found


def pruned(reported: np.ndarray, so_far: np.ndarray, pruner: BasePruner) -> Found:
    """One search with Optuna; a trial's value is the mean over its folds so far."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    steps, found = 0, -np.inf
    for values, means in zip(reported, so_far, strict=True):
        trial, state = study.ask(), optuna.trial.TrialState.COMPLETE
        for step, value in enumerate(values, start=1):
            trial.report(float(value), step)
            steps += 1
            if step < len(values) and trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        else:
            found = max(found, float(means[-1]))
        study.tell(trial, float(means[-1]) if state.name == "COMPLETE" else None, state=state)
    top = float(so_far[:, -1].max())
    return float(found < top), top - found, 1 - steps / reported.size


if __name__ == "__main__":
    main()
