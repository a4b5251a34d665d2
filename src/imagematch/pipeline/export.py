"""A matcher's network in the formats of other programs, each run on the golden images before it is put in place."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagematch.errors import ConfigError, ImagematchError, ModelError
from imagematch.events import SILENT, RunLog
from imagematch.files import Layout, digest_file, make_dir, replacing, replacing_dir, write_json
from imagematch.matching import ImageMatcher, golden_images
from imagematch.pipeline.evaluate import evaluate_model
from imagematch.pipeline.experiments import check_output_folder
from imagematch.pipeline.exporters import EXPORTERS, Exporter
from imagematch.reporting import PROJECTOR_FILES, write_projector, write_tensorboard_projector

if TYPE_CHECKING:
    import keras

MARK = "export.json"
"""In every exported folder: says what it is, and that a later export may replace it."""

_SAME_DISTANCE = 0.014
"""At most so far are an embedding and itself, computed by another program: a cosine of 0.9999, and the same length."""


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Attributes:
        path: the file or folder.
        distance: the largest one between its embeddings of the golden images and the matcher's own.
        notes: what its user must know, in lines.
    """

    path: Path
    distance: float
    notes: tuple[str, ...]


def export_matcher(model_dir: Path | str, kind: str, output: Path | str, *, log: RunLog = SILENT) -> Exported:
    """Writes the feature model of a matcher, image -> embedding, in another program's format.

    What was there before stays unless the new one gives the matcher's own embeddings.

    Args:
        model_dir: the matcher's folder.
        kind: a key of `EXPORTERS`.
        output: the file (onnx, litert), or the folder (openvino, saved_model); one that holds other things is refused.
        log: told what happens.

    Raises:
        ModelError: the matcher cannot be opened, a package is missing, or the format cannot hold the network.
        ConfigError: `output` cannot be written to.
        StudyError: the disk refuses.
    """
    exporter, path = EXPORTERS[kind], Path(output)
    _check_output(exporter, kind, path)
    _check_packages(exporter, kind)
    matcher = ImageMatcher.load(model_dir, log=log)
    model = matcher.embedding_model
    images = [image.astype(np.float32) for image in golden_images(matcher.card.embedding.image_size)]
    expected = np.concatenate([np.asarray(model(image[None], training=False)) for image in images])
    log.say(f"exporting {matcher.card.name} to {kind}")
    if exporter.suffix:
        with replacing(path) as temporary:
            distance = _written(exporter, kind, model, temporary, images, expected)
    else:
        with replacing_dir(path.resolve()) as temporary:
            distance = _written(exporter, kind, model, temporary, images, expected)
            files = {
                file.relative_to(temporary).as_posix(): digest_file(file)
                for file in sorted(temporary.rglob("*"))
                if file.is_file()
            }
            write_json(temporary / MARK, {"format": kind, "matcher": matcher.card.name, "files": files})
    return Exported(path, distance, _notes(matcher))


def export_projector(
    model_dir: Path | str,
    output: Path | str | None = None,
    *,
    split: str = "test",
    data_dir: Path | str | None = None,
    layout: Layout | None = None,
    log: RunLog = SILENT,
) -> tuple[Path, Path]:
    """Writes a split's embeddings for the embedding projector, and a TensorBoard log folder that shows them offline.

    Args:
        model_dir: the matcher's folder.
        output: where vecs.tsv, meta.tsv, sprite.png and projector_config.json go; None: `exp/projector/NAME`.
        split: as in `evaluate_model`.
        data_dir: likewise.
        layout: where the log folder is.
        log: told what happens.

    Returns:
        The folder, and the log folder.

    Raises:
        ImagematchError: as `evaluate_model`, and where a file cannot be written.
    """
    layout = layout or Layout()
    if output is not None:
        check_output_folder(Path(output), PROJECTOR_FILES)
    evaluation = evaluate_model(model_dir, split=split, data_dir=data_dir, layout=layout, log=log)
    view, name = evaluation.view, evaluation.matcher.card.name
    folder = make_dir(layout.projector_dir(name) if output is None else Path(output))
    logs = layout.tensorboard_dir(name)
    for write, target in ((write_projector, folder), (write_tensorboard_projector, logs)):
        write(target, view.embeddings, view.labels, view.class_names, view.image, paths=view.paths, name=name)
    return folder, logs


def _check_output(exporter: Exporter, kind: str, path: Path) -> None:
    where = f"--output {path}"
    if exporter.suffix:
        if path.is_dir():
            raise ConfigError("is a folder", where=where, do=f"name a file, as {path / f'model{exporter.suffix}'}")
        if path.suffix != exporter.suffix:
            raise ConfigError(f"{kind} is a file {exporter.suffix}", where=where, do=f"name it *{exporter.suffix}")
    elif path.is_file():
        raise ConfigError(f"{kind} is a folder, and this is a file", where=where, do="name another one")
    elif path.is_dir() and any(path.iterdir()) and not (path / MARK).is_file():
        raise ConfigError("is a folder that holds other things", where=where, do="name a new one")


def _check_packages(exporter: Exporter, kind: str) -> None:
    missing = [name for name in exporter.packages if importlib.util.find_spec(name) is None]
    if missing:
        extra = f"imagematch[{exporter.extra}]" if exporter.extra else " ".join(missing)
        raise ModelError(
            f"{' and '.join(missing)} not installed", where=f"--format {kind}", do=f"pip install '{extra}'"
        )


def _written(
    exporter: Exporter, kind: str, model: keras.Model, path: Path, images: Sequence[np.ndarray], expected: np.ndarray
) -> float:
    """Writes, runs and compares: the largest distance to what is expected."""
    try:
        with _quiet():
            exporter.write(model, path)
            found = exporter.run(path, images)
    except (ImagematchError, OSError):
        raise
    except Exception as error:  # converters raise many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"the network cannot be exported: {reason}", where=f"--format {kind}") from error
    same_shape = found.shape == expected.shape
    distance = float(np.linalg.norm(found - expected, axis=1).max()) if same_shape else float("nan")
    if not distance <= _SAME_DISTANCE:
        raise ModelError(
            f"what was written gives other embeddings than the matcher ({distance:.4f} from its own); nothing was kept",
            where=f"--format {kind}",
        )
    return distance


def _notes(matcher: ImageMatcher) -> tuple[str, ...]:
    card = matcher.card.embedding
    notes = [
        "image (n, h, w, 3) float32, RGB, 0 to 255 -> embedding "
        f"(n, {card.dim}) float32, of length 1; shrink images to {card.image_size} px a side first",
        f"two images match if the distance of their embeddings is under {matcher.threshold:.4f}",
    ]
    if card.test_time_flip:
        notes.append("the mean over the image and its mirror image is inside: give each image once")
    if card.face_crop is not None:
        notes.append("faces must be cut out first, as the matcher does it")
    if card.precision != "float32":
        notes.append(f"it computes in float32; the threshold was chosen in {card.precision}")
    return tuple(notes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps converters' warnings and log lines to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
