"""KerasHub's presets as feature extractors: `kerashub:PRESET`, a name known to KerasHub or a folder.

The features are what the preset's network says of a whole image: the projected embedding (CLIP), the pooled output
(SigLIP), the normed class token (DINOv2, ViT), else the average over the positions of the last feature map. Images are
squashed to the square that the network takes; the centre crop that some presets were trained with is not made. The
package keras-hub is the optional extra `kerashub`.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import ModelError
from imagematch.extractors.weights import file_counts
from imagematch.keras_internals import preset_file_getter
from imagematch.reading import MB, read_file
from imagematch.registry import KERASHUB_PREFIX, ExtractorSpec

if TYPE_CHECKING:
    import keras

_CONFIG, _PIXELS, _WEIGHTS = "config.json", "image_converter.json", "model.weights.h5"
_JSON_BYTES = 4 * MB
_MOST_PIXELS, _MOST_FEATURES = 4096, 1 << 16
_TRANSFORMERS = ("CLIPBackbone", "DINOV2Backbone", "DINOV3Backbone", "SigLIPBackbone", "ViTBackbone")
"""Those whose feature dimension stands in their configuration; others are built to know it."""


def preset_spec(name: str) -> ExtractorSpec:
    """What is known of the extractor `kerashub:PRESET`; a named preset is fetched. A folder needs no TensorFlow.

    Raises:
        ModelError: there is no such preset, it cannot be fetched, it takes no images, or keras-hub is missing.
    """
    folder = _folder(name)
    config = _json(name, folder / _CONFIG)
    kind, inside = str(config.get("class_name")), _mapping(config, "config")
    tower = {**inside, **_mapping(_mapping(inside, "vision_encoder"), "config")}
    if not str(config.get("registered_name")).startswith("keras_hub>"):
        raise _refused(name, "it is not a KerasHub backbone", "give a preset in KerasHub's own format")
    if not any(folder.glob("model*.weights.*")):
        raise _refused(name, f"it has no {_WEIGHTS}")
    pixels = _mapping(_json(name, folder / _PIXELS), "config")
    sides = (pixels.get("image_size"), pixels.get("height"), tower.get("image_shape"), 224)
    image_size = next(side for side in map(_side, sides) if side is not None)
    if not 1 <= image_size <= _MOST_PIXELS:
        raise _refused(name, f"its images have {image_size:,} pixels a side, not 1 to {_MOST_PIXELS:,}")
    dim = (inside.get("projection_dim") or tower.get("hidden_dim")) if kind in _TRANSFORMERS else None
    if not (isinstance(dim, int) and 1 <= dim <= _MOST_FEATURES):
        dim = _built_dim(name, folder, image_size)
    return ExtractorSpec(
        name=name,
        build=lambda size: build_preset(name, folder, size, image_size),
        image_size=image_size,
        min_image_size=1,
        feature_dim=dim,
        preprocessing=lambda images: _preset_pixels(name, folder, images),
        parameters=None,
        architecture=("kerashub",),  # the digest of its weights covers its configuration, too
        load_published=lambda network: _load_published(network, name, folder, image_size),
        files=(folder / _CONFIG, folder / _PIXELS, *sorted(folder.glob("model*.weights.*"))),
    )


@functools.lru_cache(maxsize=16)
def _built_dim(name: str, folder: Path, image_size: int) -> int:
    return int(build_preset(name, folder, image_size, image_size).output_shape[-1])


def _load_published(network: keras.Model, name: str, folder: Path, own_size: int) -> None:
    size = network.input_shape[1]
    network.set_weights(build_preset(name, folder, size, own_size, weights=True).get_weights())


def build_preset(name: str, folder: Path, image_size: int, own_size: int, *, weights: bool = False) -> keras.Model:
    """(batch, image_size, image_size, 3) preprocessed -> (batch, feature_dim); the preset's weights, or random ones.

    Args:
        name: what the user calls it.
        folder: where it lies.
        image_size: side of the square it is to see.
        own_size: that it was made for.
        weights: load its own.

    Raises:
        ModelError: keras-hub is missing, or the preset cannot be opened, has no image input, or cannot take this size.
    """
    import keras

    if weights:
        _check_weights(name, folder)
    hub = _keras_hub(name)
    resized = image_size != own_size
    try:
        backbone = hub.models.Backbone.from_preset(
            str(folder),
            load_weights=weights,
            dtype=keras.config.dtype_policy(),
            **({} if not resized else {"image_shape": (image_size, image_size, 3)}),
        )
        inputs = keras.Input((image_size, image_size, 3))
        outputs = _features(backbone, inputs, image_size, name)
    except ModelError:
        raise
    except Exception as error:  # KerasHub raises many kinds here, with texts of many lines
        do = f"leave image_size out: it was made for {own_size} px" if resized else ""
        raise _refused(name, f"it cannot be built for {image_size} px ({_line(error)})", do) from error
    return keras.Model(inputs, outputs, name=f"preset_{backbone.name}")


def _check_weights(name: str, folder: Path) -> None:
    """Raises ModelError where a file of weights refers to others, or is not what it says."""
    for path in folder.glob("model*.weights.h5"):
        try:
            file_counts(path)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise _refused(name, f"its {path.name} cannot be read ({_line(error)})") from error


def _features(backbone: Any, inputs: Any, image_size: int, name: str) -> Any:
    """(batch, image_size, image_size, 3) -> (batch, dim): the image tower of a network of images and texts, or all."""
    tower = getattr(backbone, "vision_encoder", backbone)
    takes = tower.input
    if isinstance(takes, dict):
        if set(takes) != {"images"}:
            raise _refused(name, f"it takes {' and '.join(sorted(takes))}, not images alone")
        outputs = tower({"images": inputs})
    elif len(takes.shape) == 4:
        outputs = tower(inputs)
    else:
        raise _refused(name, "it takes no images")
    pooled = _pooled(outputs, image_size, getattr(tower, "patch_size", None), name)
    project = getattr(backbone, "vision_projection", None)
    return pooled if project is None else project(pooled)


def _pooled(outputs: Any, image_size: int, patch_size: Any, name: str) -> Any:
    import keras

    from imagematch.extractors.layers import ClassToken

    rank = len(getattr(outputs, "shape", ()))
    if rank == 2:
        return outputs
    if rank == 4:
        return keras.layers.GlobalAveragePooling2D(name="average")(outputs)
    if rank == 3:
        patches = (image_size // patch_size) ** 2 if isinstance(patch_size, int) else None
        if outputs.shape[1] == patches:
            return keras.layers.GlobalAveragePooling1D(name="average")(outputs)
        return ClassToken(name="class_token")(outputs)
    raise _refused(name, "its output is neither a feature map nor tokens")


def _preset_pixels(name: str, folder: Path, images: Any) -> Any:
    """Pixels of 0 to 255 -> as the preset's own image converter scales them."""
    import keras

    hub = _keras_hub(name)
    try:
        converter = hub.layers.ImageConverter.from_preset(str(folder))
    except Exception as error:
        raise _refused(name, f"its {_PIXELS} cannot be used ({_line(error)})") from error
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return keras.layers.Rescaling(scale, offset=offset, dtype="float32", name="preset_pixels")(images)


def _folder(name: str) -> Path:
    """Where the preset lies on this machine; one that KerasHub knows by name is fetched into its cache."""
    preset = name.removeprefix(KERASHUB_PREFIX)
    path = Path(preset).expanduser()
    if path.is_dir():
        return path
    if not preset or preset.startswith((".", "/", "~")):
        raise _refused(name, "there is no such folder")
    _keras_hub(name)
    get_file = preset_file_getter()

    try:
        get_file(preset, _PIXELS)
        get_file(preset, _WEIGHTS)
        return Path(get_file(preset, _CONFIG)).parent
    except Exception as error:  # no such preset, no network, no rights: each hub raises its own
        do = "give a folder: kerashub:./FOLDER, fetched elsewhere with Backbone.from_preset and saved"
        raise _refused(name, f"it cannot be fetched ({_line(error)})", do) from error


def _keras_hub(name: str) -> Any:
    if importlib.util.find_spec("keras_hub") is None:
        raise _refused(name, "the package keras-hub is missing", "pip install 'imagematch[kerashub]'")
    import keras_hub

    return keras_hub


def _json(name: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_file(path, max_bytes=_JSON_BYTES))
    except FileNotFoundError as error:
        do = "save the preset with its image converter" if path.name == _PIXELS else ""
        raise _refused(name, f"it has no {path.name}", do) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(name, f"its {path.name} cannot be read ({_line(error)})") from error
    return found if isinstance(found, dict) else {}


def _mapping(of: dict[str, Any], key: str) -> dict[str, Any]:
    found = of.get(key)
    return found if isinstance(found, dict) else {}


def _side(size: Any) -> int | None:
    """The first of the sides of an image, or the only one; None where there is none."""
    first = next(iter(size), None) if isinstance(size, list) else size
    return first if isinstance(first, int) and first else None


def _refused(name: str, what: str, do: str = "") -> ModelError:
    return ModelError(what, where=f"feature_extractor: {name}", do=do)


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
