"""A training that is over leaves no graph behind, and with it no weights."""

import gc
from collections import Counter

import keras
import numpy as np
from tensorflow.python.framework.func_graph import FuncGraph

from imagematch.config import parse_train
from imagematch.losses import make_loss
from imagematch.model import build_head
from imagematch.training import FeatureSource, Stage, Validator, fit, plan_batches, release_graphs

LABELS = np.repeat(np.arange(4), 6)
FEATURES = np.random.default_rng(0).normal(size=(len(LABELS), 5)).astype(np.float32)


def train() -> None:
    settings = parse_train({"experiment_name": "x", "batch_classes": 4, "batch_images": 3, "epochs": 1})
    rows = np.arange(len(LABELS))
    loss = make_loss(settings, n_classes=4, embedding_dim=settings.embedding_dim)
    plan = plan_batches(settings, LABELS, 0)
    source = FeatureSource([FEATURES], rows, LABELS, plan, seed=0)
    head = build_head(5, units=(8,), embedding_dim=settings.embedding_dim, seed=0)
    fit([Stage(settings, head, source, Validator(source, rows, LABELS, loss, plan))], loss)


def kept_after_training() -> Counter[str]:
    train()
    release_graphs()
    kinds = (FuncGraph, keras.Variable)  # asking the type, not the object: other libraries have objects that warn
    return Counter(type(item).__name__ for item in gc.get_objects() if issubclass(type(item), kinds))


def test_a_training_after_another_leaves_nothing_more_behind_and_still_has_its_gradients() -> None:
    first = kept_after_training()
    assert kept_after_training() == first
