"""Several frozen extractors side by side: each one's features scaled to the same length, then concatenated."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from imagematch.errors import ConfigError
from imagematch.extractors.extractor import Extractor, Network, make_extractor
from imagematch.extractors.feature_scaling import part_length
from imagematch.files import digest_json
from imagematch.framing import Framing

if TYPE_CHECKING:
    import keras

CONCATENATION_VERSION = 1
"""Raised whenever the same members would give other features side by side."""


@dataclass(frozen=True)
class Concatenation:
    """Several networks that see the same images at the same size; engines run, and the store caches, each on its own.

    Each member's features are brought to one length, the same for all, so that none outweighs the others by the scale
    its training left it with; that length makes the mean square of all components 1.

    Attributes:
        members: the networks, in the order of their features.
    """

    members: tuple[Network, ...]
    frozen: Literal[True] = True
    trainable: Literal[False] = False

    @property
    def name(self) -> str:
        """The members' names, joined by a plus."""
        return "+".join(member.name for member in self.members)

    @property
    def image_size(self) -> int:
        """Side of the square that all of them see, in pixels."""
        return self.members[0].image_size

    @property
    def framing(self) -> Framing:
        """What is made of images that are not square: the same for all of them."""
        return self.members[0].framing

    @property
    def feature_dim(self) -> int:
        """Length of all features side by side."""
        return sum(member.feature_dim for member in self.members)

    @property
    def digest(self) -> str:
        """32 hex digits that change whenever its features would."""
        return digest_json([CONCATENATION_VERSION, *(member.digest for member in self.members)])

    def build(self, precision: str = "float32") -> keras.Model:
        """Builds one Keras model of all members.

        Args:
            precision: what the members compute in; see `Extractor.build`.

        Returns:
            (batch, h, w, 3) uint8 or float in 0..255, any h and w -> (batch, feature_dim) float32.
        """
        import keras

        from imagematch.extractors.layers import FixedLength

        length = part_length(self.feature_dim, len(self.members))
        images = keras.Input((None, None, 3), dtype="float32", name="image")
        parts = []
        for number, member in enumerate(self.members, 1):
            network = keras.Model(images, member.build(precision)(images), name=_member_name(number))
            scaled = FixedLength(length, dtype="float32", name=f"fixed_length_{number}")
            parts.append(scaled(network(images, training=False)))
        joined = keras.layers.Concatenate(dtype="float32", name="side_by_side")(parts)
        model = keras.Model(images, joined, name="concatenation")
        model.trainable = False
        return model


def choose_extractor(settings: Any) -> Extractor | Concatenation:
    """The extractor that the settings choose: one, or several side by side where `feature_extractor` is a list.

    All of a list see images of one size: `image_size`, or the largest of their own sizes.

    Args:
        settings: as `make_extractor`; of a list, `weights` may be a list too.

    Raises:
        ConfigError: as `make_extractor`; or one of a list would be trained, or they see images cut in different ways.
        ModelError: as `make_extractor`.
    """
    names = settings.feature_extractor
    if isinstance(names, str):
        return make_extractor(settings)
    weights = [settings.weights] * len(names) if isinstance(settings.weights, str) else settings.weights

    def made(image_size: int | None) -> tuple[Extractor, ...]:
        own = {
            "input": getattr(settings, "input", None),
            "image_size": image_size,
            "trainable": settings.trainable,
            "seed": settings.seed,
        }
        return tuple(
            make_extractor(SimpleNamespace(feature_extractor=name, weights=one, **own))
            for name, one in zip(names, weights, strict=True)
        )

    members = made(settings.image_size)
    trained = next((member.name for member in members if not member.frozen), None)
    if trained is not None:
        what = f"{trained} would be trained, and only frozen extractors stand side by side"
        raise ConfigError(what, where="feature_extractor", do="give it weights: PATH, or leave it out")
    if any(member.framing != members[0].framing for member in members):
        what = "one of them cuts or shrinks images otherwise than another, and all must see the same"
        do = "give input: {crop: squash, interpolation: bilinear}"
        raise ConfigError(what, where="feature_extractor", do=do)
    if settings.image_size is None:
        members = made(max(member.image_size for member in members))
    return Concatenation(members)


def member_network(whole: keras.Model, number: int) -> keras.Model:
    """The network of member `number`, from 0, inside what `Concatenation.build` gave."""
    return whole.get_layer(_member_name(number + 1))


def _member_name(number: int) -> str:
    return f"member_{number}"
