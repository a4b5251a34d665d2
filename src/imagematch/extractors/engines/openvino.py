"""The OpenVINO engine: the fastest way to run a frozen network on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.errors import ModelError
from imagematch.extractors.engines.engine import Engine

if TYPE_CHECKING:
    import openvino

_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


def native_bfloat16(core: openvino.Core) -> bool:
    """Whether this processor computes in bfloat16 itself."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine(Engine):
    """Runs several batches at a time, each in a stream of its own.

    The network is compiled twice, for full batches and for single images; the height and width stay free, since only
    the first layer sees them (measured: within 4 % of fixed sizes). What does not fill a batch goes image by image.
    Both give the same features to the last bit.
    """

    name = "openvino"
    batch_size = 8

    def __init__(self, core: openvino.Core, model: openvino.Model, precision: str, feature_dim: int) -> None:
        self.precision = precision
        self.feature_dim = feature_dim
        self._core = core
        self._model = model
        self._queues: dict[int, Any] = {}

    def start(self, images: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """Hands the batch to the next free stream; waits only while all are busy.

        Raises:
            ModelError: OpenVINO failed.
        """
        with _openvino_errors():
            if len(images) == self.batch_size:
                self._queue(self.batch_size).start_async({0: images}, (out, rows))
                return
            numbers = np.arange(len(out))[rows]
            for row, image in zip(numbers, images, strict=True):
                self._queue(1).start_async({0: image[None]}, (out, slice(row, row + 1)))

    def finish(self) -> None:
        """Waits for all streams.

        Raises:
            ModelError: OpenVINO failed.
        """
        with _openvino_errors():
            for queue in self._queues.values():
                queue.wait_all()

    def _queue(self, batch: int) -> Any:
        if batch not in self._queues:
            import openvino

            model = self._model.clone()
            model.reshape(openvino.PartialShape([batch, -1, -1, 3]))
            settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": _HINTS[self.precision]}
            queue = openvino.AsyncInferQueue(self._core.compile_model(model, "CPU", settings), 0)
            queue.set_callback(_store)
            self._queues[batch] = queue
        return self._queues[batch]


@contextlib.contextmanager
def _openvino_errors() -> Iterator[None]:
    """Makes OpenVINO's errors ours."""
    try:
        yield
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO failed: {' '.join(str(error).split())[:200]}", do="use engine: tensorflow"
        ) from error


def _store(request: Any, target: tuple[np.ndarray, np.ndarray | slice]) -> None:
    out, rows = target
    out[rows] = request.get_output_tensor(0).data
