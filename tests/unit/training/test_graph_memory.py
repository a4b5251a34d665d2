"""A training that is over leaves no graph behind, and with it no weights."""

import ctypes
import gc
from collections import Counter

import keras
import numpy as np
import pytest
from tensorflow.python.framework.func_graph import FuncGraph

from imagematch.config import parse_train
from imagematch.losses import make_loss
from imagematch.model import build_head
from imagematch.training import EpochValidator, FeatureSource, Stage, fit, plan_batches, release_graphs

LIBC = ctypes.CDLL(None)
COUNTS_ALLOCATED = hasattr(LIBC, "mallinfo2")
LABELS = np.repeat(np.arange(4), 6)
FEATURES = np.random.default_rng(0).normal(size=(len(LABELS), 5)).astype(np.float32)
TRAININGS = 7


def train() -> None:
    settings = parse_train({"experiment_name": "x", "batch_classes": 4, "batch_images": 3, "epochs": 1})
    rows = np.arange(len(LABELS))
    loss = make_loss(settings, n_classes=4, embedding_dim=settings.embedding_dim)
    plan = plan_batches(settings, LABELS, 0)
    source = FeatureSource([FEATURES], rows, LABELS, plan, seed=0)
    head = build_head(5, units=(8,), embedding_dim=settings.embedding_dim, seed=0)
    fit([Stage(settings, head, source, EpochValidator(source, rows, LABELS, loss, plan))], loss)


def objects() -> Counter[str]:
    kinds = (FuncGraph, keras.Variable)  # the type is compared, not the object: other libraries have objects that warn
    return Counter(type(item).__name__ for item in gc.get_objects() if issubclass(type(item), kinds))


class Allocated(ctypes.Structure):
    """What `mallinfo2` returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def allocated_mb() -> float:
    LIBC.mallinfo2.restype = Allocated
    info = LIBC.mallinfo2()
    return float(info.uordblks + info.hblkhd) / 2**20


@pytest.fixture(scope="module", name="left_behind")
def left_behind_fixture() -> tuple[list[Counter[str]], list[float]]:
    """Graphs and variables in Python, and MiB allocated outside of it, after each of several trainings."""
    counts, allocated = [], []
    for _ in range(TRAININGS):
        train()
        release_graphs()
        counts.append(objects())
        allocated.append(allocated_mb() if COUNTS_ALLOCATED else 0.0)
    return counts, allocated


def test_later_trainings_leave_nothing_more_behind_and_still_have_their_gradients(
    left_behind: tuple[list[Counter[str]], list[float]],
) -> None:
    counts, _ = left_behind
    assert counts[1:] == counts[:-1]


@pytest.mark.skipif(not COUNTS_ALLOCATED, reason="needs glibc 2.33 or later, which counts what is allocated")
def test_nor_does_what_was_allocated_outside_of_python_grow_with_the_trainings(
    left_behind: tuple[list[Counter[str]], list[float]],
) -> None:
    _, allocated = left_behind
    assert np.polyfit(np.arange(TRAININGS - 1), allocated[1:], 1)[0] < 0.1
