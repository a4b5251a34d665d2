"""The extractor of a saved matcher: data in its folder that an engine runs, or our own code builds by name."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagematch.errors import ModelError
from imagematch.extractors.concatenation import Concatenation
from imagematch.extractors.extractor import NETWORK_VERSION, Extractor
from imagematch.files import digest_file, digest_json, os_reason
from imagematch.framing import SQUASHED, Framing
from imagematch.reading import GB, check_file
from imagematch.registry import EXTRACTOR_REGISTRY
from imagematch.tensors import TensorSpec, check_number_count, read_tensors, write_tensors

if TYPE_CHECKING:
    import keras

_MAX_BYTES = 8 * GB


@dataclass(frozen=True)
class SavedExtractor:
    """A frozen extractor in a matcher's folder.

    Attributes:
        name: the extractor's.
        image_size: side of the square it sees, in pixels.
        feature_dim: length of its features.
        folder: where its files are.
        weights_file: its weights in safetensors; None where its converted network is all there is.
        weights_digest: of that file, as the matcher's card has it.
        network: digest of its converted network in the folder; None where there is none.
        framing: what is made of images that are not square.
    """

    name: str
    image_size: int
    feature_dim: int
    folder: Path
    weights_file: str | None
    weights_digest: str
    network: str | None
    framing: Framing = SQUASHED

    @functools.cached_property
    def digest(self) -> str:
        """Identifies its features by the content of the files, whatever name the card claims.

        Raises:
            ModelError: the weights cannot be read.
        """
        if self.name == "pixels":
            return Extractor(EXTRACTOR_REGISTRY.all()[self.name], self.image_size, "random", "none").digest
        if self.network is not None:
            framing = [] if self.framing == SQUASHED else [asdict(self.framing)]
            return digest_json(["network", self.image_size, self.network, *framing])
        self._checked_weights()
        return digest_json(["weights", NETWORK_VERSION, self.name, self.image_size, self.weights_digest])

    def _checked_weights(self) -> Path:
        """The file of the weights. Raises ModelError where it is not the one that the card describes."""
        path = self.folder / str(self.weights_file)
        try:
            check_file(path, max_bytes=_MAX_BYTES, inside=self.folder, dense=True)
            digest = digest_file(path)
        except OSError as error:
            raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path), do="restore the file") from error
        if digest != self.weights_digest:
            raise ModelError("was changed since it was saved", where=str(path), do="restore it, or train again")
        return path

    def build(self, precision: str = "float32") -> keras.Model:
        """The Keras model, built by name, with the weights of the folder; see `Extractor.build`.

        Raises:
            ModelError: this version builds no network of that name, or the file does not hold its weights.
        """
        spec = EXTRACTOR_REGISTRY.all().get(self.name)
        if spec is None or self.weights_file is None:
            raise ModelError(
                f"{self.name} is not a network that imagematch builds itself: it has no Keras model here",
                where=str(self.folder),
                do="OpenVINO runs its converted network: install OpenVINO where it is missing",
            )
        path = self._checked_weights()
        check_number_count(path, spec.parameters, inside=self.folder)  # before a network of any size is built
        model = Extractor(spec, self.image_size, "random", "").build(precision)
        model.set_weights(list(read_tensors(path, _specs(model), inside=self.folder).values()))
        return model


@dataclass(frozen=True)
class TrainedNetwork:
    """An extractor whose weights were trained; its features are not shared, so they are not cached by name.

    Attributes:
        extractor: what it was before.
        model: the trained network.
    """

    extractor: Extractor | Concatenation
    model: keras.Model
    digest: str = ""

    @property
    def name(self) -> str:
        """The extractor's name."""
        return self.extractor.name

    @property
    def image_size(self) -> int:
        """Side of the square it sees, in pixels."""
        return self.extractor.image_size

    @property
    def framing(self) -> Framing:
        """What is made of images that are not square."""
        return self.extractor.framing

    @property
    def feature_dim(self) -> int:
        """Length of its features."""
        return self.extractor.feature_dim

    def build(self, precision: str = "float32") -> keras.Model:
        """The trained network in float32, whatever it was trained in."""
        if isinstance(self.extractor, Concatenation) or self.extractor.spec.files or precision != "float32":
            return self.model
        copy = Extractor(self.extractor.spec, self.image_size, "random", "").build()
        copy.set_weights(self.model.get_weights())
        return copy


def write_extractor(path: Path, network: keras.Model) -> None:
    """Writes the weights of a built extractor.

    Raises:
        OSError: the file cannot be written.
    """
    write_tensors(path, dict(zip(_specs(network), map(np.asarray, network.weights), strict=True)))


def _specs(network: keras.Model) -> dict[str, TensorSpec]:
    """The weights by number: names of layers are counted anew in every process."""
    return {
        f"{number:05d}.{weight.name}": TensorSpec(tuple(weight.shape), str(weight.dtype))
        for number, weight in enumerate(network.weights)
    }
