"""How good a configuration the search finds: regret of our sampler settings, of random search and of Optuna's defaults.

The space is that of `configs/hpt/seed.yaml`: 4 embedding sizes x 8 lists of feed-forward blocks x 11 dropouts, 352
points, of which 312 differ, since dropout has no effect without a block. On it live 24 synthetic objectives, four draws
of each of six kinds: independent peaks, a dropout that must grow with the width, smooth random surfaces, unordered
effects of each choice, one setting that decides nearly all, and a narrow peak on a slope. Each is searched with many
seeds, without noise.

Regret is how far the best configuration found is from the best there is, as a share of the objective's whole range, 0
to 1; the mean over objectives and seeds after 15, 30 and 50 trials. Ours counts distinct trials, since it trains no
repeat; the other two pay for their repeats. No training, no TensorFlow.

Keys: `regret` METHOD_TRIALS; `ratios` METHOD_TRIALS: a method's regret over ours; `seconds` METHOD: one search of 50
trials. Here `ours` is `sampler: tpe`, `random` and `optuna` are Optuna's RandomSampler and its default sampler, asked
directly.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import optuna

    from imagematch.config import StudySettings

TRIALS = (15, 30, 50)
DRAWS = 4
SEEDS = 10
STUDY = Path(__file__).parent.parent / "configs" / "hpt" / "seed.yaml"

Point = tuple[int, tuple[int, ...], float]
"""embedding_dim, feed-forward blocks, dropout (0 where there are no blocks)."""
Objective = dict[Point, float]
Search = Callable[["StudySettings", Objective, int], list[float]]
"""(study, objective, seed) -> the value of each trial that was paid for, in order."""


def main() -> None:
    """Measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object with name, regret, ratios and seconds")
    parser.add_argument("--data-dir", type=Path, help="not needed: nothing is trained")
    parser.add_argument("--weights", type=Path, help="not needed: nothing is trained")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches of each objective by each method")
    arguments = parser.parse_args()
    result = measure(arguments.seeds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{'mean regret after':20}" + "".join(f"{trials:>10} trials" for trials in TRIALS) + "   seconds a search")
    for method, seconds in result["seconds"].items():
        regrets = "".join(f"{result['regret'][f'{method}_{trials}']:17.4f}" for trials in TRIALS)
        print(f"{method:20}{regrets}{seconds:19.2f}")


def measure(seeds: int) -> dict[str, Any]:
    """The mean regret of each method."""
    from imagematch.config import load_study

    methods: dict[str, Search] = {"ours": search_ours, "random": search_random, "optuna": search_optuna}
    study = load_study(STUDY)
    regrets: dict[str, list[float]] = {f"{method}_{trials}": [] for method in methods for trials in TRIALS}
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    for objective in objectives():
        best, worst = max(objective.values()), min(objective.values())
        for seed, (method, search) in itertools.product(range(seeds), methods.items()):
            started = time.perf_counter()
            values = search(study, objective, seed)
            seconds[method].append(time.perf_counter() - started)
            for trials in TRIALS:
                regrets[f"{method}_{trials}"].append((best - max(values[:trials])) / (best - worst))
    regret = {key: statistics.fmean(found) for key, found in regrets.items()}
    ratios = {key: value / regret[f"ours_{key.rpartition('_')[2]}"] for key, value in regret.items()}
    return {
        "name": "search_quality",
        "regret": regret,
        "standard_error": {key: statistics.stdev(found) / len(found) ** 0.5 for key, found in regrets.items()},
        "ratios": ratios,
        "seconds": {method: statistics.median(found) for method, found in seconds.items()},
    }


# ---- the searches


def search_ours(study: StudySettings, objective: Objective, seed: int) -> list[float]:
    """The plan that `hpt.py` follows, on a study in memory."""
    import optuna

    from imagematch.events import SILENT
    from imagematch.tuning.plan import Plan

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own = optuna.create_study(direction="maximize")
    plan = Plan(own, study.model_copy(update={"seed": seed, "n_trials": TRIALS[-1]}), SILENT)
    values = []
    while (planned := plan.next_trial()) is not None:
        settings = planned.settings
        blocks = settings.intermediate_ff_block_units
        values.append(objective[settings.embedding_dim, blocks, round(settings.dropout, 1) if blocks else 0.0])
        own.tell(planned.trial, values[-1])
    return values


def search_random(study: StudySettings, objective: Objective, seed: int) -> list[float]:
    """Optuna's random sampler."""
    import optuna

    return _asked_directly(study, objective, optuna.samplers.RandomSampler(seed=seed))


def search_optuna(study: StudySettings, objective: Objective, seed: int) -> list[float]:
    """Optuna's default sampler as it comes, seeded."""
    import optuna

    return _asked_directly(study, objective, optuna.samplers.TPESampler(seed=seed))


def _asked_directly(study: StudySettings, objective: Objective, sampler: optuna.samplers.BaseSampler) -> list[float]:
    """Every trial asks for every field, as the usual objective function does, and repeats are trained."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    embedding_dims, blocks = (list(study.space[f].labels) for f in ("embedding_dim", "intermediate_ff_block_units"))  # type: ignore[union-attr]
    values: list[float] = []

    def value(trial: optuna.Trial) -> float:
        dim = trial.suggest_categorical("embedding_dim", embedding_dims)
        units = tuple(json.loads(trial.suggest_categorical("intermediate_ff_block_units", blocks)))
        dropout = trial.suggest_float("dropout", 0.0, 1.0, step=0.1)
        values.append(objective[dim, units, round(dropout, 1) if units else 0.0])
        return values[-1]

    optuna.create_study(direction="maximize", sampler=sampler).optimize(value, n_trials=TRIALS[-1])
    return values


# ---- the objectives


def objectives() -> Iterator[Objective]:
    """The 24 objectives, larger is better, each as a table over the 312 distinct points."""
    points = _points()
    unit = np.array([_coordinates(point) for point in points])
    for number, (kind, draw) in enumerate(itertools.product(_KINDS, range(DRAWS))):
        values = kind(points, unit, np.random.default_rng((number, draw)))
        yield dict(zip(points, values.tolist(), strict=True))


def _points() -> list[Point]:
    from imagematch.config import load_study

    space = load_study(STUDY).space
    dims, blocks = (space[field].values() for field in ("embedding_dim", "intermediate_ff_block_units"))
    dropouts = [round(0.1 * step, 1) for step in range(11)]
    return [(d, b, r) for d, b, r in itertools.product(dims, blocks, dropouts) if b or r == 0.0]


def _coordinates(point: Point) -> tuple[float, float, float, float]:
    """Embedding size and first width by logarithm, depth, dropout; 0 to 1 each."""
    dim, blocks, dropout = point
    width = (np.log2(blocks[0]) - 7) / 3 if blocks else 0.0
    return (np.log2(dim) - 7) / 3, width, len(blocks) / 2, dropout


def _peaks(_points: list[Point], unit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    weights, tops = random.dirichlet(np.ones(4)), random.random(4)
    return -(weights * (unit - tops) ** 2).sum(axis=1)


def _wider_needs_more_dropout(_points: list[Point], unit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    dim, width, depth, dropout = unit.T
    wanted = random.uniform(0, 0.2) + random.uniform(0.3, 0.7) * width
    return (
        -((dropout - wanted) ** 2) - 0.3 * (width - random.random()) ** 2 + 0.1 * dim * random.normal() + 0.05 * depth
    )


def _smooth(_points: list[Point], unit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    waves = random.normal(size=(4, 60)) * 2.5
    return np.cos(unit @ waves + random.uniform(0, 2 * np.pi, 60)) @ random.normal(size=60)


def _unordered(points: list[Point], unit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    dims, blocks = {p[0]: random.normal() for p in points}, {p[1]: random.normal() for p in points}
    of_choices = np.array([dims[p[0]] + blocks[p[1]] for p in points])
    return of_choices - 4 * random.random() * (unit[:, 3] - random.random()) ** 2


def _one_decides(_points: list[Point], unit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    weights = np.full(4, 0.02)
    weights[random.integers(4)] = 1.0
    return -(weights * np.abs(unit - random.random(4))).sum(axis=1)


def _narrow(_points: list[Point], unit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    top = unit[random.integers(len(unit))]
    return np.exp(-((unit - top) ** 2).sum(axis=1) / 0.08) + 0.2 * (unit @ random.normal(size=4))


_KINDS = (_peaks, _wider_needs_more_dropout, _smooth, _unordered, _one_decides, _narrow)


if __name__ == "__main__":
    main()
