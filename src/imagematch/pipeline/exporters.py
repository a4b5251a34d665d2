"""The formats of other programs: how a feature model is written in each, and how what was written is run."""

from __future__ import annotations

import importlib.util
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.errors import ModelError

if TYPE_CHECKING:
    import keras

_ONNX_OPSET = 18


class Exporter(ABC):
    """Writes a feature model in one format and runs what was written.

    All take `image` (n, h, w, 3) float32, RGB, 0 to 255, of any size, and give `embedding` (n, dim) float32.

    Attributes:
        suffix: of the file; empty where a folder is written.
        packages: what must be installed: modules, and the extra of imagematch that brings them.
    """

    suffix = ""
    packages: tuple[str, ...] = ()
    extra = ""

    @abstractmethod
    def write(self, model: keras.Model, path: Path) -> None:
        """Writes `model` to a new file, or into an empty folder."""

    @abstractmethod
    def run(self, path: Path, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embeddings (n, dim) of images (h, w, 3) float32, by what was written."""


class Onnx(Exporter):
    """One file for ONNX Runtime."""

    suffix = ".onnx"
    packages = ("tf2onnx", "onnx", "onnxruntime")
    extra = "onnx"

    def write(self, model: keras.Model, path: Path) -> None:
        """See Exporter."""
        import tensorflow as tf
        import tf2onnx
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        function, signature = _function(model)
        frozen = convert_variables_to_constants_v2(function.get_concrete_function())  # tf2onnx misses layers' constants
        wrapped = tf.function(lambda image: {"embedding": frozen(image)[0]}, input_signature=signature)
        tf2onnx.convert.from_function(wrapped, input_signature=signature, opset=_ONNX_OPSET, output_path=str(path))

    def run(self, path: Path, images: Sequence[np.ndarray]) -> np.ndarray:
        """See Exporter."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(["embedding"], {"image": image[None]})[0] for image in images])


class LiteRt(Exporter):
    """One file for LiteRT (TensorFlow Lite)."""

    suffix = ".tflite"

    def write(self, model: keras.Model, path: Path) -> None:
        """See Exporter."""
        import tensorflow as tf

        with tempfile.TemporaryDirectory() as saved:
            _write_saved_model(model, Path(saved))
            path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(saved).convert())

    def run(self, path: Path, images: Sequence[np.ndarray]) -> np.ndarray:
        """See Exporter."""
        run = _litert_interpreter()(model_content=path.read_bytes()).get_signature_runner()
        return np.concatenate([run(image=image[None])["embedding"] for image in images])


class OpenVino(Exporter):
    """A folder with model.xml and model.bin."""

    packages = ("openvino",)

    def write(self, model: keras.Model, path: Path) -> None:
        """See Exporter."""
        import openvino

        function, _ = _function(model)
        raw = openvino.convert_model(function.get_concrete_function())
        embedding = next(out for out in raw.outputs if out.partial_shape.rank == 2)
        converted = openvino.Model([embedding], raw.get_parameters(), "feature_model")
        converted.inputs[0].get_tensor().set_names({"image"})
        converted.outputs[0].get_tensor().set_names({"embedding"})
        openvino.save_model(converted, path / "model.xml", compress_to_fp16=False)

    def run(self, path: Path, images: Sequence[np.ndarray]) -> np.ndarray:
        """See Exporter."""
        import openvino

        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        network = openvino.Core().compile_model(path / "model.xml", "CPU", exact)
        return np.concatenate([network({"image": image[None]})["embedding"] for image in images])


class SavedModel(Exporter):
    """A folder for TensorFlow and TensorFlow Serving."""

    def write(self, model: keras.Model, path: Path) -> None:
        """See Exporter."""
        _write_saved_model(model, path)

    def run(self, path: Path, images: Sequence[np.ndarray]) -> np.ndarray:
        """See Exporter."""
        import tensorflow as tf

        serve = tf.saved_model.load(str(path)).signatures["serving_default"]
        return np.concatenate([serve(image=tf.constant(image[None]))["embedding"].numpy() for image in images])


EXPORTERS = {"onnx": Onnx(), "litert": LiteRt(), "openvino": OpenVino(), "saved_model": SavedModel()}


def _function(model: keras.Model) -> tuple[Any, list[Any]]:
    """The model as a TensorFlow function without its training parts, and its signature."""
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, None, 3), tf.float32, name="image")]
    return tf.function(lambda image: {"embedding": model(image, training=False)}, input_signature=signature), signature


def _write_saved_model(model: keras.Model, path: Path) -> None:
    import keras

    archive = keras.export.ExportArchive()
    archive.track(model)
    _, signature = _function(model)
    archive.add_endpoint("serve", lambda image: {"embedding": model(image, training=False)}, input_signature=signature)
    archive.write_out(str(path), verbose=False)


def _litert_interpreter() -> Any:
    """The interpreter of LiteRT's own package where that is installed, else TensorFlow's."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter
    import tensorflow as tf

    if not hasattr(tf.lite, "Interpreter"):
        raise ModelError("ai-edge-litert not installed", where="--format litert", do="pip install 'imagematch[litert]'")
    return tf.lite.Interpreter
