"""What every loss is: embeddings and labels in, a value with its activity out; and how one is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

from imagematch.losses.batch import Batch
from imagematch.losses.lazy import tf
from imagematch.options import Option, number, whole
from imagematch.registry import LOSS_REGISTRY, LossKind, LossSpec


class LossValue(NamedTuple):
    """What a loss says about one batch; three scalar tensors.

    Attributes:
        loss: what is minimised, in the precision the loss was computed in.
        active: share of the terms that still pull, float32 in 0..1: above the margin where there is one, else those
            whose right answer has less than half of the probability. 0 where there is no term.
        terms: float32, number of the terms (anchors, pairs, triplets, images: each loss says which).
    """

    loss: tf.Tensor
    active: tf.Tensor
    terms: tf.Tensor


class Loss:
    """A loss over a labelled batch.

    A subclass states its options as class attributes (`scale: float = number(64.0, 0, 10_000, "...")`); an instance has
    their values under the same names.

    Args:
        options: their values; one that is not given has its default, or None where another option rules it out.

    Attributes:
        name: its name in the registry.
        kind: see `LossSpec`.
        options: what is known about each option, by name.
        variables: what it has learnt or remembers: a checkpoint holds them, in this order.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[LossKind] = "pair"
    options: ClassVar[Mapping[str, Option]] = {}
    variables: tuple[tf.Variable, ...] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        found: dict[str, Option] = {}
        for base in cls.__mro__:  # its own first
            for key, value in vars(base).items():
                if isinstance(value, Option):
                    found.setdefault(key, value)
        cls.options = found

    def __init__(self, **options: Any) -> None:
        unknown = options.keys() - self.options.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}")
        for name, option in self.options.items():
            other, value = option.unless or ("", None)
            ruled_out = other != "" and options.get(other, self.options[other].default) == value
            setattr(self, name, options.get(name, None if ruled_out else option.default))

    @property
    def trainable_variables(self) -> tuple[tf.Variable, ...]:
        """What the optimiser changes."""
        return tuple(variable for variable in self.variables if variable.trainable)

    def __call__(self, embeddings: tf.Tensor, labels: tf.Tensor, *, training: bool = True) -> LossValue:
        """The loss of a batch.

        Args:
            embeddings: (batch, dim), L2-normalised; half precision is cast up to float32.
            labels: (batch,) integers.
            training: False leaves what the loss remembers from batch to batch as it is.
        """
        raise NotImplementedError


AnyLoss = TypeVar("AnyLoss", bound=type[Loss])


def register_loss(name: str, summary: str, *, source: str) -> Callable[[AnyLoss], AnyLoss]:
    """Decorates a loss: it can then be selected as `loss: NAME`, and its options are keys of the configuration.

    Args:
        name: lower case with underscores.
        summary: one sentence.
        source: the paper that it is from.
    """

    def register(loss: AnyLoss) -> AnyLoss:
        loss.name = name
        LOSS_REGISTRY.register(name, LossSpec(name, loss.kind, summary, source, loss, loss.options))
        return loss

    return register


class PairLoss(Loss):
    """A loss over pairs or triplets of a batch; it has no variables, and labels are only compared with each other."""

    cross_batch_memory: int = whole(
        0, 0, 10_000_000, "Embeddings of earlier batches that each batch is compared with as well.", common=True
    )

    def __call__(self, embeddings: tf.Tensor, labels: tf.Tensor, *, training: bool = True) -> LossValue:  # noqa: ARG002
        """The loss of a batch compared with itself."""
        return self.of(Batch(as_float(embeddings), labels))

    def of(self, batch: Batch) -> LossValue:
        """The loss of the batch's anchors against its references."""
        raise NotImplementedError


def cosine_scale(default: float, source: str) -> Any:
    """The option `scale`."""
    return number(default, 0, 10_000, "What cosines are multiplied by.", above=True, source=source)


def temperature_of(default: float, source: str) -> Any:
    """The option `temperature`."""
    what = "What cosines or squared distances are divided by: low looks at the nearest only."
    return number(default, 0, 1_000, what, above=True, source=source)


def as_float(embeddings: tf.Tensor) -> tf.Tensor:
    """`embeddings` in at least float32."""
    embeddings = tf.convert_to_tensor(embeddings)
    return embeddings if embeddings.dtype == tf.float64 else tf.cast(embeddings, tf.float32)


def loss_value(loss: tf.Tensor, active: tf.Tensor, terms: tf.Tensor) -> LossValue:
    """The value from the number of active terms and of all terms (either may be an integer or a float tensor)."""
    terms = tf.cast(terms, tf.float32)
    return LossValue(loss, tf.math.divide_no_nan(tf.cast(active, tf.float32), terms), terms)
