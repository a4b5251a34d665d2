"""What can be selected by name: registered where it is written, found by configuration, reference and contract suites.

A module registers what it offers when it is imported. When a registry is first read it imports the modules of its
folder and the entry points of installed packages, so nothing else names them. Such modules import nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from imagematch.errors import ConfigError
from imagematch.framing import SQUASHED, Framing
from imagematch.options import Option

if TYPE_CHECKING:
    import keras

Item = TypeVar("Item")
LossKind = Literal["pair", "offline", "proxy"]
Preprocessing = Literal["none", "unit", "symmetric", "caffe", "imagenet"]

KERASHUB_PREFIX = "kerashub:"
"""A KerasHub preset is an extractor, too: this, then its name or folder."""
ONNX_PREFIX = "onnx:"
"""So is a network that came as a file: this, then its path."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SUFFIXES = ("_grid", "_range")


class Registry(Generic[Item]):
    """Items by name, in alphabetical order.

    Args:
        what: the noun for one item, in errors.
        package: the package whose modules register items.
        group: the entry points of installed packages that do so, each the name of a module.
    """

    def __init__(self, what: str, *, package: str, group: str) -> None:
        self._what, self._package, self._group = what, package, group
        self._items: dict[str, Item] = {}
        self._origins: dict[str, str] = {}
        self._origin = package
        self._complete = False

    def register(self, name: str, item: Item) -> None:
        """Adds an item. Raises ConfigError where the name is taken, or is not lower case with underscores."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name a {self._what}", where=self._origin, do="write it as my_name")
        if name in self._items:
            what = f"a {self._what} called {name!r} is already in {self._origins[name]}"
            raise ConfigError(what, where=self._origin, do="choose another name")
        self._items[name], self._origins[name] = item, self._origin

    def origin_of(self, name: str) -> str:
        """The package that registered an item."""
        return self._origins[name]

    def all(self) -> Mapping[str, Item]:
        """Every item by name.

        Raises:
            ConfigError: an installed package cannot be imported, or registers what it may not; names it.
        """
        if not self._complete:
            self._complete = True  # first, so that a module which reads the registry while it registers does not recur
            try:
                self._discover()
            except BaseException:
                self._complete = False
                raise
            self._items = dict(sorted(self._items.items()))
        return MappingProxyType(self._items)

    def _discover(self) -> None:
        import pkgutil

        for module in pkgutil.iter_modules(import_module(self._package).__path__):
            import_module(f"{self._package}.{module.name}")
        for entry in metadata.entry_points(group=self._group):
            self._origin = f"the package {entry.dist.name}" if entry.dist else f"the entry point {entry.name}"
            try:
                entry.load()
            except ConfigError:
                raise
            except Exception as error:
                what = f"its {self._what} {entry.name!r} cannot be imported: {type(error).__name__}: {error}"
                raise ConfigError(what, where=self._origin, do="update the package, or uninstall it") from error
            finally:
                self._origin = self._package


@dataclass(frozen=True)
class LossSpec:
    """What can be said of a loss without running it.

    Attributes:
        name: how the configuration names it.
        kind: pair: compares the images of a batch; offline: a batch is made of triplets that were drawn from the
            training set; proxy: compares images with one learnt vector a class.
        summary: one sentence.
        source: the paper.
        options: by name, with its published defaults.
        maker: the class.
    """

    name: str
    kind: LossKind
    summary: str
    source: str
    maker: type
    options: Mapping[str, Option] = field(default_factory=dict)


class LossRegistry(Registry[LossSpec]):
    """The losses; options of one name are one key of the configuration, and so must be alike."""

    def __init__(self) -> None:
        super().__init__("loss", package="imagematch.losses", group="imagematch.losses")

    def register(self, name: str, item: LossSpec) -> None:
        """Adds a loss. Raises ConfigError where its name is taken, or an option differs from one of the same name."""
        for option_name, option in item.options.items():
            if not _NAME.fullmatch(option_name) or option_name.endswith(_SUFFIXES):
                raise ConfigError(f"{option_name!r} cannot name an option of {name}", where=self._origin)
            for other in self._items.values():
                known = other.options.get(option_name)
                if known is not None and not _alike(option, known):
                    what = f"the option {option_name!r} of {name} differs from that of {other.name} in type or range"
                    raise ConfigError(what, where=self._origin, do="give it the same, or another name")
        super().register(name, item)

    def names(self, kind: LossKind) -> tuple[str, ...]:
        """The losses of one kind."""
        return tuple(name for name, spec in self.all().items() if spec.kind == kind)

    def options(self) -> dict[str, Option]:
        """Every option of any loss, by name."""
        return {name: option for spec in self.all().values() for name, option in spec.options.items()}


def _alike(one: Option, other: Option) -> bool:
    same_default = one.default == other.default or not one.common
    return one.schema == other.schema and one.common == other.common and same_default


LOSS_REGISTRY = LossRegistry()


@dataclass(frozen=True)
class ExtractorSpec:
    """What can be said of a feature extractor without building it.

    Attributes:
        name: what the user writes as `feature_extractor`.
        build: image size -> network with random weights: (batch, size, size, 3) preprocessed -> (batch, feature_dim).
        image_size: side in pixels of the square image it was made for.
        min_image_size: the smallest side it can take.
        feature_dim: length of its features; 0 where that follows from the image size (`pixels`).
        preprocessing: what is done to pixels of 0 to 255, by name or as a function of a Keras tensor. none: the
            network does it itself; unit: 0 to 1; symmetric: -1 to 1; caffe: blue, green, red, less ImageNet's mean;
            imagenet: less its mean, by its standard deviation.
        parameters: how many numbers its weights have, at any image size; None where only a built network says.
        architecture: what tells it from other networks: two names of one network have the same.
        published: identifies the published weights; empty where there are none and all of it is meant to be trained.
        load_published: fetches them into a network of `build`; None where there are none.
        weight_readers: how files of other kinds than Keras's are read, by suffix: (network, file, words for errors).
        after_loading: what is done to a network whose weights were loaded.
        files: all that its features follow from, where it was not made by our own code; else empty.
        convert: writes it into a folder in OpenVINO's form and returns its digest; None: its Keras model is converted.
        remarks: what a user should know before believing its features.
        framing: what is made of images that are not square.
    """

    name: str
    build: Callable[[int], keras.Model]
    image_size: int
    min_image_size: int
    feature_dim: int
    preprocessing: Preprocessing | Callable[[Any], Any]
    parameters: int | None
    architecture: tuple[object, ...]
    published: str = ""
    load_published: Callable[[keras.Model], None] | None = None
    weight_readers: Mapping[str, Callable[[keras.Model, Path, str], None]] = field(default_factory=dict)
    after_loading: Callable[[keras.Model], None] | None = None
    files: tuple[Path, ...] = ()
    convert: Callable[[Path], str] | None = None
    remarks: tuple[str, ...] = ()
    framing: Framing = SQUASHED

    @property
    def from_scratch(self) -> bool:
        """It has no published weights and is meant to be trained, all of it."""
        return self.load_published is None and self.convert is None and self.parameters != 0


EXTRACTOR_REGISTRY: Registry[ExtractorSpec] = Registry(
    "feature extractor", package="imagematch.extractors.networks", group="imagematch.extractors"
)


def register_extractor(
    name: str,
    *,
    image_size: int,
    feature_dim: int,
    preprocessing: Preprocessing,
    parameters: int,
    min_image_size: int = 32,
    version: int = 1,
    published: str = "",
    load_published: Callable[[keras.Model], None] | None = None,
    weight_readers: Mapping[str, Callable[[keras.Model, Path, str], None]] = MappingProxyType({}),
) -> Callable[[Callable[[int], keras.Model]], Callable[[int], keras.Model]]:
    """Decorates a function that builds a network: it can then be selected as `feature_extractor: NAME`.

    Args:
        name: lower case with underscores.
        version: raised when the network of this name would give other features: those cached before are not used.
        image_size, feature_dim, preprocessing, parameters, min_image_size, published, load_published, weight_readers:
            see `ExtractorSpec`.
    """

    def register(build: Callable[[int], keras.Model]) -> Callable[[int], keras.Model]:
        EXTRACTOR_REGISTRY.register(
            name,
            ExtractorSpec(
                name=name,
                build=build,
                image_size=image_size,
                min_image_size=min_image_size,
                feature_dim=feature_dim,
                preprocessing=preprocessing,
                parameters=parameters,
                architecture=(name,) if version == 1 else (name, version),
                published=published,
                load_published=load_published,
                weight_readers=weight_readers,
            ),
        )
        return build

    return register


@dataclass(frozen=True)
class SourceSpec:
    """What can be said of a data source without opening it.

    Attributes:
        name: how the configuration names it.
        summary: what it is, in a line.
        maker: makes the source from the data folder and `imagematch.sources.SourceOptions`.
        folders: where it is looked for, the first that is there, when `data_dir` is not given.
        data_dir: what `data_dir` must name; "" where it need not be given.
        download: an `imagematch.sources.Download`; None where it cannot be fetched.
        not_fetched: why not, and what to do instead.
    """

    name: str
    summary: str
    maker: Callable[..., Any]
    folders: tuple[str, ...]
    data_dir: str
    download: Any
    not_fetched: str


SOURCE_REGISTRY: Registry[SourceSpec] = Registry("data set", package="imagematch.sources", group="imagematch.sources")
"""`dataset` -> what is known of its source."""


@dataclass(frozen=True)
class CallbackSpec:
    """What can be said of a callback without making it: name, summary, class, and the module that it needs or ""."""

    name: str
    summary: str
    maker: Callable[[], Any]
    module: str


CALLBACK_REGISTRY: Registry[CallbackSpec] = Registry(
    "callback", package="imagematch.callbacks", group="imagematch.callbacks"
)


def short_name(extractor: str) -> str:
    """An extractor's name without the folder that it came from."""
    name = re.sub(r"[^A-Za-z0-9_.:-]+", "_", extractor.rsplit("/", 1)[-1])
    prefix = ONNX_PREFIX if extractor.startswith(ONNX_PREFIX) and "/" in extractor else ""  # not taken for one of ours
    return f"{prefix}{name}"[:100]
