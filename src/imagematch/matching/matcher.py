"""The image matcher: a Siamese network with a calibrated threshold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from imagematch.data import to_picture
from imagematch.errors import ModelError
from imagematch.evaluation import Probability
from imagematch.events import SILENT, RunLog
from imagematch.matching.card import MatcherCard
from imagematch.matching.embedder import Embedder, golden_pictures, make_embedder
from imagematch.matching.folder import open_folder

if TYPE_CHECKING:
    import keras

_NETWORK_DIR = Path("exp/features/networks")
_GOLDEN_COSINE = {"float32": 0.9999, "bfloat16": 0.999}


@dataclass(frozen=True)
class Match:
    """What the matcher says of two images.

    Attributes:
        is_match: the distance is under the threshold.
        distance: between the two embeddings, 0 to 2.
        threshold: where a match begins.
        probability: that the two show the same thing, at the prior stated in the matcher's card; None if not fitted.
    """

    is_match: bool
    distance: float
    threshold: float
    probability: float | None


class ImageMatcher:
    """Says whether two images show the same thing.

    An image is a path, a PIL image, or an array with values 0 to 255: (h, w) grey, or (h, w, 1 | 3 | 4). A list or a
    4-D array is many. Use `ImageMatcher.load`.
    """

    def __init__(self, card: MatcherCard, feature_model: keras.Model, embedder: Embedder) -> None:
        self.card = card
        self.feature_model = feature_model
        self._embedder = embedder
        self._probability = None if card.probability is None else Probability.from_json(card.probability)

    @classmethod
    def load(cls, folder: str | Path, *, network_dir: Path | None = _NETWORK_DIR, log: RunLog = SILENT) -> ImageMatcher:
        """Opens a matcher's folder and checks that it still gives its own results.

        Args:
            folder: as `train.py` and `hpt.py` write it.
            network_dir: where converted networks are kept; None keeps none.
            log: told if the engine had to be replaced.

        Raises:
            ModelError: something is missing, was edited, comes from a newer version, or gives other embeddings.
        """
        from imagematch.model import load_feature_model

        card, model_file = open_folder(Path(folder))
        model = load_feature_model(model_file)
        matcher = cls(card, model, make_embedder(card.embedding, model, network_dir=network_dir, log=log))
        matcher._check_golden(Path(folder))
        return matcher

    def _check_golden(self, folder: Path) -> None:
        kept = np.array(self.card.golden, dtype=np.float32)
        given = self._embedder.embed(golden_pictures(self.card.embedding.image_size))
        if kept.shape != given.shape:
            raise ModelError("gives embeddings of another size than when it was saved", where=str(folder))
        cosine = float(np.min(np.sum(kept * given, axis=1)))
        if not cosine >= _GOLDEN_COSINE[self.card.embedding.precision]:
            raise ModelError(
                f"no longer gives its own embeddings (cosine {cosine:.5f} with the kept ones)",
                where=str(folder),
                do="use the versions named in matcher.json, or train again",
            )

    @property
    def threshold(self) -> float:
        """The distance under which two images match."""
        return self.card.threshold.distance

    def embed(self, images: Any, *, cropped: bool = False) -> np.ndarray:
        """Embeddings of one or many images: (n, embedding_dim) float32, L2-normalised.

        Args:
            images: one, or many.
            cropped: no faces are looked for, since the images are what was cut out already, as `Dataset.picture` gives.

        Raises:
            DataError: an image cannot be read, or shows no face where one is needed; names it.
        """
        card = self.card.embedding
        pictures = [to_picture(image, card.image_size) if cropped else card.to_picture(image) for image in _as_list(images)]
        if not pictures:
            return np.empty((0, self.card.embedding.dim), dtype=np.float32)
        return self._embedder.embed(pictures)

    def predict(self, first: Any, second: Any) -> np.ndarray:
        """Scores of pairs of images, (n,) float32: minus the distance, so larger is closer.

        One image on either side is compared with each of the other.
        """
        a, b = self.embed(first), self.embed(second)
        if len(a) != len(b) and 1 not in (len(a), len(b)):
            raise ValueError(f"{len(a)} images cannot be paired with {len(b)}")
        return -np.linalg.norm(a - b, axis=1).astype(np.float32)

    @overload
    def match(self, first: list[Any], second: list[Any]) -> list[Match]: ...
    @overload
    def match(self, first: Any, second: Any) -> Match | list[Match]: ...
    def match(self, first: Any, second: Any) -> Match | list[Match]:
        """Decides for one pair, or for many (a list) where either side is many."""
        matches = [self._judge(float(-score)) for score in self.predict(first, second)]
        return matches if _is_many(first) or _is_many(second) else matches[0]

    def _judge(self, distance: float) -> Match:
        probability = None if self._probability is None else float(self._probability(distance))
        return Match(distance < self.threshold, distance, self.threshold, probability)

    @cached_property
    def keras_model(self) -> keras.Model:
        """The Siamese network as one Keras model: two image batches (n, h, w, 3), 0 to 255 -> scores (n,)."""
        import keras

        first, second = (keras.Input((None, None, 3), name=name) for name in ("first", "second"))
        difference = self.feature_model(first) - self.feature_model(second)
        score = -keras.ops.sqrt(keras.ops.sum(keras.ops.square(difference), axis=-1))
        return keras.Model([first, second], score, name="image_matcher")


def _is_many(images: Any) -> bool:
    if isinstance(images, (str, Path)):
        return False
    return isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) == 4


def _as_list(images: Any) -> list[Any]:
    if hasattr(images, "numpy"):
        images = images.numpy()
    return list(images) if _is_many(images) else [images]
