"""One batch on several devices gives the results of one device: losses and head see all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

THREE_DEVICES = """
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
devices = [device.name for device in tf.config.list_logical_devices("CPU")]
assert len(devices) == 3
"""

BATCH = """
from imagematch.config import parse_train
from imagematch.losses import make_loss
from imagematch.model import build_head
from imagematch.training import compiled_steps, make_optimizer
from imagematch.training.devices import DataParallel, gpus, on_devices

assert gpus() == []
inputs = np.random.default_rng(0).normal(size=(4, 20, 6, 6, 2)).astype(np.float32)
labels = np.tile(np.repeat(np.arange(5), 4), (4, 1)).astype(np.int32)
for name in ("nt_xent", "proxy_anchor"):
    settings = parse_train({"experiment_name": "x", "loss": name, "optimizer": "sgd", "learning_rate": 0.05})
    trained = []
    for used in (devices[:1], devices):
        keras.utils.set_random_seed(0)
        network = keras.Sequential(
            [keras.Input((6, 6, 2)), keras.layers.Conv2D(4, 3), keras.layers.ReLU(), keras.layers.Flatten()]
        )
        head = build_head(64, units=(8,), embedding_dim=4, seed=1)
        images = keras.Input((6, 6, 2))
        model = keras.Model(images, head(on_devices(network, used)(images)))
        assert any(isinstance(layer, DataParallel) for layer in model.layers) == (len(used) > 1)
        loss = make_loss(settings, n_classes=5, embedding_dim=4)
        optimizer = make_optimizer(settings)
        variables = [*model.trainable_variables, *loss.trainable_variables]
        optimizer.build(variables)
        multipliers = [1.0] * len(model.trainable_variables) + [5.0] * len(loss.trainable_variables)
        steps = compiled_steps(model, loss, optimizer, variables, lr_multipliers=multipliers)
        totals = steps(inputs, labels, np.full(4, 0.05, np.float32))
        after = [*network.variables, *head.variables, *loss.variables]
        trained.append([np.asarray(totals), *(np.asarray(variable) for variable in after)])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)
placed = tf.function(lambda x: on_devices(network, devices)(x)).get_concrete_function(tf.TensorSpec((20, 6, 6, 2)))
used = {op.device for op in placed.graph.get_operations() if op.type == "Conv2D"}
assert len(used) == 3, used
print("batch: the same")
"""

TRAINING = """
from imagematch.registry import EXTRACTOR_REGISTRY
from imagematch.extractors import build_network
from imagematch.training import load_training_data, stages, train_model

folder = Path(sys.argv[1])
build_network(EXTRACTOR_REGISTRY.all()["small_cnn"], 16, 0).save_weights(folder / "small_cnn.weights.h5")
data = {"experiment_name": "x", "dataset": "digits", "max_classes": 4, "validation_max_images": 50}
model = {"feature_extractor": "small_cnn", "image_size": 16, "weights": str(folder / "small_cnn.weights.h5")}
batch = {"loss": "nt_xent", "batch_classes": 4, "batch_images": 5, "epochs": 1, "embedding_dim": 8}
rates = {"optimizer": "sgd", "learning_rate": 0.01, "trainable": 2, "layer_decay": 0.5}
settings = parse_train({**data, **model, **batch, **rates, "feature_dir": str(folder / "features")})
loaded = load_training_data(settings, manifest_dir=folder / "manifests")
initial = [np.asarray(variable) for variable in loaded.extractor.build().variables]
trained = []
for used in (devices[:1], devices):
    stages.gpus = lambda: used
    training = train_model(loaded, settings)
    assert any(isinstance(layer, DataParallel) for layer in training._model.layers) == (len(used) > 1)
    weights = [np.asarray(variable) for variable in training.network.variables]
    assert sum(not np.array_equal(one, other) for one, other in zip(weights, initial, strict=True)) == 1
    head = [np.asarray(variable) for variable in training.head.variables]
    trained.append([*weights, *head, training.embed(np.arange(0, 700, 10))])
for one, other in zip(*trained, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
print("training: the same")
"""


@pytest.fixture(scope="module", name="done")
def done_fixture(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Both scripts, run in one process of its own: a process can have three CPUs only before it uses TensorFlow."""
    folder: Path = tmp_path_factory.mktemp("devices")
    command = [sys.executable, "-c", THREE_DEVICES + BATCH + TRAINING, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_losses_over_the_batch_head_norms_and_proxies_are_the_same_on_three_devices(
    done: subprocess.CompletedProcess[str],
) -> None:
    assert "batch: the same" in done.stdout, done.stderr[-2000:]


def test_a_training_above_the_cut_is_the_same_on_three_devices(done: subprocess.CompletedProcess[str]) -> None:
    assert "training: the same" in done.stdout, done.stderr[-2000:]
