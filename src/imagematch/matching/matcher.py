"""The image matcher: a Siamese network with a calibrated threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from imagematch.data import DECODER_VERSION, decode
from imagematch.errors import DataError, ModelError
from imagematch.events import SILENT, RunLog
from imagematch.extractors import Concatenation, Engine, SavedExtractor
from imagematch.features import MIRROR, Features, FeatureStore, ImageRows, map_features
from imagematch.matching.card import HEAD_FILE, MatcherCard
from imagematch.matching.embedder import (
    Embedder,
    as_list,
    decoded_blocks,
    golden_images,
    is_many,
    open_embedder,
    saved_network,
)
from imagematch.matching.folder import open_folder
from imagematch.model import flip_average, read_head, read_keras_head

if TYPE_CHECKING:
    import keras

_AGAIN = "train the model again"


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

    An image is a path, a file's bytes or open file, a PIL image, or an array or tensor with values 0 to 255: (h, w)
    or (h, w, 1 | 3 | 4). Many are a list, a 4-D array or a 1-D array of paths. Threads may share one. See `load`.

    Attributes:
        card: what the folder says about itself.
    """

    def __init__(self, card: MatcherCard, folder: Path, embedder: Embedder) -> None:
        self.card = card
        self._folder = folder
        self._embedder = embedder
        self._probability = None if card.probability is None else card.probability.probability()

    def __repr__(self) -> str:
        return f"<ImageMatcher {self.card.summary}>"

    @classmethod
    def load(cls, folder: str | Path, *, log: RunLog = SILENT) -> ImageMatcher:
        """Opens a matcher's folder and checks that it still gives its own results.

        The folder is data: numbers, names and a network of plain operations. Opening it runs no code of its sender's,
        writes nothing, and needs no TensorFlow where OpenVINO runs the network.

        Args:
            folder: as `train.py` and `hpt.py` write it.
            log: told if the engine had to be replaced.

        Raises:
            ModelError: something is missing, was edited, comes from another version, or gives other embeddings.
        """
        folder = Path(folder).absolute()
        card = open_folder(folder)
        embedding = card.embedding
        if embedding.decoder != DECODER_VERSION:
            what = f"{folder}: made when images were decoded another way; distances may differ slightly"
            log.event("other_decoder", what, level="warning")
        head = read_head(folder / HEAD_FILE, embedding.head_shape, inside=folder)
        matcher = cls(card, folder, open_embedder(embedding, saved_network(card, folder), head, log))
        matcher._check_golden()
        return matcher

    def _check_golden(self) -> None:
        saved = np.array(self.card.golden, dtype=np.float32)
        given = self._embedder.embed(golden_images(self.card.embedding.image_size))
        distance = float(np.linalg.norm(saved - given, axis=1).max())
        if not distance <= self._embedder.golden_distance:
            raise ModelError(
                f"no longer gives its own embeddings (they are {distance:.4f} from those saved with it)",
                where=str(self._folder),
                do="use the versions named in matcher.json, or train again",
            )

    @cached_property
    def feature_model(self) -> keras.Model:
        """The Keras model, images -> embeddings, without `test_time_flip`; built by name when it is first asked for.

        Raises:
            ModelError: the extractor is not one that imagematch builds by name, or the folder has changed.
        """
        from imagematch.model import build_feature_model

        if open_folder(self._folder) != self.card:
            raise ModelError("was changed since it was opened", where=str(self._folder), do="open it again")
        head = read_keras_head(self._folder / HEAD_FILE, self.card.embedding.head_shape, inside=self._folder)
        return build_feature_model(self.network.build(), head)

    @property
    def embedding_model(self) -> keras.Model:
        """The Keras model that gives what `embed` gives: the feature model, and `test_time_flip` where it counts.

        Raises:
            ModelError: as `feature_model`.
        """
        if not self.card.embedding.test_time_flip:
            return self.feature_model
        from imagematch.model import build_flip_model

        return build_flip_model(self.feature_model)

    @cached_property
    def network(self) -> SavedExtractor | Concatenation:
        """The extractor alone, as engines and the feature store want it; opened when it is needed."""
        return saved_network(self.card, self._folder)

    @property
    def engine(self) -> Engine:
        """What runs the extractor on this machine."""
        return self._embedder.engine

    @property
    def threshold(self) -> float:
        """The distance under which two images match."""
        return self.card.threshold.distance

    def embed(
        self, images: Any, *, cropped: bool = False, unreadable: Callable[[int, DataError], None] | None = None
    ) -> np.ndarray:
        """Embeddings of one or many images: (n, embedding_dim) float32, L2-normalised.

        Args:
            images: one, or many.
            cropped: no faces are looked for, since the images are what was cut out already, as `Dataset.pixels` gives.
            unreadable: told the position of every image that cannot be used, and why; its row is NaN, and the others go
                on. None raises at the first one.

        Raises:
            DataError: an image cannot be read, or shows no face where one is needed; names it.
            ModelError: an embedding is not finite.
        """
        card = self.card.embedding
        images = as_list(images)
        found = np.full((len(images), card.dim), np.nan, dtype=np.float32)
        whole = partial(decode, max_size=card.image_size, **card.decoding)
        for start, decoded in decoded_blocks(images, whole if cropped else card.decode):
            readable = {}
            for row, image in enumerate(decoded, start):
                if not isinstance(image, DataError):
                    readable[row] = image
                elif unreadable is None:
                    raise image
                else:
                    unreadable(row, image)
            if readable:
                found[list(readable)] = self._finite(self._embedder.embed(list(readable.values())))
        return found

    def _finite(self, embeddings: np.ndarray) -> np.ndarray:
        if not np.isfinite(embeddings).all():
            raise ModelError("gives embeddings that are not numbers", where=self.card.name, do=_AGAIN)
        return embeddings

    def embed_features(self, features: np.ndarray, mirrored: np.ndarray | None = None) -> np.ndarray:
        """Embeddings of what the extractor gave (`network`), with the head alone.

        Args:
            features: (n, feature_dim) of any float type, as the feature store caches them.
            mirrored: likewise, of the mirror images; needed iff the card says `test_time_flip`.

        Returns:
            (n, embedding_dim) float32, L2-normalised.

        Raises:
            ValueError: the features of the mirror images are missing, or not wanted.
        """
        if (mirrored is not None) != self.card.embedding.test_time_flip:
            raise ValueError("features of mirror images are needed with test_time_flip, and only then")
        embeddings = self._embedder.head(features)
        return embeddings if mirrored is None else flip_average(embeddings, self._embedder.head(mirrored))

    def cached_features(
        self, images: ImageRows, store: FeatureStore, *, mirrored: bool = True, log: RunLog = SILENT
    ) -> tuple[Features, ...]:
        """What the extractor gives of images, computed once by the engine that serves here, and cached in `store`.

        Args:
            images: with their content digests.
            store: where features are cached.
            mirrored: with `test_time_flip` also those of the mirror images.
            log: told what is computed.

        Returns:
            Of the images, and of the mirror images: what `embed_cached` takes.

        Raises:
            ImagematchError: as `FeatureStore.features`.
        """
        engine = "auto" if self.engine.name == "numpy" else self.engine.name
        views: tuple[int | str, ...] = (0, MIRROR) if mirrored and self.card.embedding.test_time_flip else (0,)
        precision = self.engine.precision
        return tuple(
            store.features(images, self.network, engine=engine, precision=precision, view=view, log=log)
            for view in views
        )

    def embed_cached(self, features: Sequence[Features], rows: np.ndarray | None = None) -> np.ndarray:
        """Embeddings from what `cached_features` gave, with the head alone, block by block.

        Args:
            features: what `cached_features` returned.
            rows: (m,) row numbers, at least one; None for all in order.

        Returns:
            (m, embedding_dim) float32, L2-normalised.
        """
        return map_features(self.embed_features, [one.array for one in features], rows)

    def predict(self, first: Any, second: Any) -> np.ndarray:
        """Scores of pairs of images, (n,) float32: minus the distance, so larger is closer.

        One image on either side is compared with each of the other.

        Raises:
            ValueError: the numbers of images differ, and neither is 1.
            DataError: an image cannot be read; names it.
        """
        firsts, seconds = as_list(first), as_list(second)
        if len(firsts) != len(seconds) and 1 not in (len(firsts), len(seconds)):
            raise ValueError(
                f"{len(firsts)} images cannot be paired with {len(seconds)}: "
                "give equal numbers, or one image on one side"
            )
        embeddings = self.embed([*firsts, *seconds])  # together: the engine runs several images at a time
        difference = embeddings[: len(firsts)] - embeddings[len(firsts) :]
        return 0 - np.linalg.norm(difference, axis=1).astype(np.float32)  # no -0 where there is no distance

    @overload
    def match(self, first: list[Any], second: list[Any], *, threshold: float | None = None) -> list[Match]: ...
    @overload
    def match(self, first: Any, second: Any, *, threshold: float | None = None) -> Match | list[Match]: ...
    def match(self, first: Any, second: Any, *, threshold: float | None = None) -> Match | list[Match]:
        """Decides for one pair, or for many (a list) where either side is many.

        Args:
            first: as for `predict`.
            second: likewise.
            threshold: decide at this distance instead of the matcher's own.

        Raises:
            ValueError: the numbers of images do not fit, or the threshold is no number.
            DataError: an image cannot be read; names it.
        """
        threshold = self.threshold if threshold is None else float(threshold)
        if np.isnan(threshold):
            raise ValueError("the threshold is not a number")
        matches = [self._decide(abs(float(score)), threshold) for score in self.predict(first, second)]
        return matches if is_many(first) or is_many(second) else matches[0]

    def _decide(self, distance: float, threshold: float) -> Match:
        return Match(distance < threshold, distance, threshold, self.probability(distance))

    def probability(self, distance: float) -> float | None:
        """The probability that two images at this distance show the same thing; None where none was fitted."""
        return None if self._probability is None else float(self._probability(distance))

    @cached_property
    def keras_model(self) -> keras.Model:
        """The Siamese network as one Keras model: two image batches (n, h, w, 3), 0 to 255 -> scores (n,).

        It equals `predict` on images no larger than the image size: larger ones it samples without smoothing, where
        `predict` shrinks them first. To open it again from a file, `import imagematch.model.siamese` first.
        """
        from imagematch.model import build_siamese_model

        return build_siamese_model(self.embedding_model)
