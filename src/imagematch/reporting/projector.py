"""Files of the embedding projector: for projector.tensorflow.org, and for TensorBoard offline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from imagematch.files import make_dir, replacing, write_json, write_text
from imagematch.reporting.escaping import spreadsheet_cell
from imagematch.reporting.images import make_sprite, sprite_side

VECTORS, METADATA, SPRITE, CONFIG = "vecs.tsv", "meta.tsv", "sprite.png", "projector_config.json"
PROJECTOR_FILES = (CONFIG, VECTORS, METADATA, SPRITE)
_TENSORBOARD_CONFIG = "projector_config.pbtxt"


def write_projector(
    folder: Path,
    embeddings: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    images: Callable[[int], np.ndarray] | None = None,
    *,
    paths: Sequence[str] | np.ndarray | None = None,
    name: str = "embeddings",
) -> Path:
    """Writes vecs.tsv, meta.tsv (header, class and file of each image), sprite.png and projector_config.json.

    Args:
        folder: created where it is missing.
        embeddings: (n, dim).
        labels: (n,) int, index into `class_names`.
        class_names: every class's name.
        images: row -> (h, w, 3) uint8; None writes no sprite.
        paths: (n,) the images' ids; rows are numbered where they are None.
        name: of the tensor.

    Returns:
        The configuration's path; the paths in it are relative to `folder`.

    Raises:
        ValueError: the lengths differ, or there are no embeddings.
        StudyError: a file cannot be written.
    """
    vectors = np.asarray(embeddings, dtype=np.float32)
    if vectors.ndim != 2 or not len(vectors) or len(vectors) != len(labels):
        raise ValueError(f"embeddings {vectors.shape} and labels ({len(labels)},) do not describe the same images")
    make_dir(folder)
    with replacing(folder / VECTORS) as temporary:
        np.savetxt(temporary, vectors, fmt="%.6g", delimiter="\t")
    write_text(folder / METADATA, _metadata(labels, class_names, paths))
    tensor: dict[str, object] = {
        "tensorName": name,
        "tensorShape": list(vectors.shape),
        "tensorPath": VECTORS,
        "metadataPath": METADATA,
    }
    if images is not None:
        side = sprite_side(len(vectors))
        _write_sprite(folder / SPRITE, make_sprite(len(vectors), images, side))
        tensor["sprite"] = {"imagePath": SPRITE, "singleImageDim": [side, side]}
    write_json(folder / CONFIG, {"embeddings": [tensor]})
    return folder / CONFIG


def write_tensorboard_projector(
    log_folder: Path,
    embeddings: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    images: Callable[[int], np.ndarray] | None = None,
    *,
    paths: Sequence[str] | np.ndarray | None = None,
    name: str = "embeddings",
) -> Path:
    """Writes the same files and what TensorBoard needs: `tensorboard --logdir LOG_FOLDER` shows them offline.

    Args and errors as for `write_projector`.

    Returns:
        TensorBoard's configuration.
    """
    import json

    written = write_projector(log_folder, embeddings, labels, class_names, images, paths=paths, name=name)
    tensor = json.loads(written.read_text(encoding="utf-8"))["embeddings"][0]
    lines = [f"  {key}: {json.dumps(tensor[value])}" for key, value in _FIELDS.items()]
    if "sprite" in tensor:
        width, height = tensor["sprite"]["singleImageDim"]
        sprite = f"    image_path: {json.dumps(SPRITE)}\n    single_image_dim: {width}\n    single_image_dim: {height}"
        lines.append(f"  sprite {{\n{sprite}\n  }}")
    body = "\n".join(lines)
    path = log_folder / _TENSORBOARD_CONFIG
    write_text(path, f"embeddings {{\n{body}\n}}\n")
    return path


_FIELDS = {"tensor_name": "tensorName", "tensor_path": "tensorPath", "metadata_path": "metadataPath"}


def _metadata(labels: np.ndarray, class_names: Sequence[str], paths: Sequence[str] | np.ndarray | None) -> str:
    lines = ["class\tfile"]
    for row, label in enumerate(np.asarray(labels).tolist()):
        lines.append(
            f"{spreadsheet_cell(class_names[int(label)])}\t{row if paths is None else spreadsheet_cell(paths[row])}"
        )
    return "\n".join(lines) + "\n"


def _write_sprite(path: Path, sprite: np.ndarray) -> None:
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(sprite).save(temporary)
