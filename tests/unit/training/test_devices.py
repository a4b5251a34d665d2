"""One batch on several devices comes to what it comes to on one: losses and head see all of it."""

import subprocess
import sys

SCRIPT = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)

import keras
from imagematch.config import parse_train
from imagematch.losses import make_loss
from imagematch.model import build_head
from imagematch.training.devices import SharedOut, across, gpus
from imagematch.training.optimization import make_optimizer
from imagematch.training.steps import compiled_steps

devices = [device.name for device in tf.config.list_logical_devices("CPU")]
assert len(devices) == 3 and gpus() == []
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
        model = keras.Model(images, head(across(network, used)(images)))
        assert any(isinstance(layer, SharedOut) for layer in model.layers) == (len(used) > 1)
        loss = make_loss(settings, n_classes=5, embedding_dim=4)
        optimizer = make_optimizer(settings)
        variables = [*model.trainable_variables, *loss.trainable_variables]
        optimizer.build(variables)
        totals = compiled_steps(model, loss, optimizer, variables)(inputs, labels, np.full(4, 0.05, np.float32))
        trained.append([np.asarray(totals), *(np.asarray(v) for v in [*network.variables, *head.variables])])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)
placed = tf.function(lambda x: across(network, devices)(x)).get_concrete_function(tf.TensorSpec((20, 6, 6, 2)))
used = {op.device for op in placed.graph.get_operations() if op.type == "Conv2D"}
assert len(used) == 3, used
print("the same")
"""


def test_losses_over_the_batch_head_norms_and_proxies_are_the_same_on_three_devices() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("the same"), done.stderr[-2000:]
