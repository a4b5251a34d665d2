"""Finds the largest face of an image and five points of it with a YuNet network file, by OpenCV's FaceDetectorYN.

Source: W. Wu, H. Peng, S. Yu, YuNet: a tiny millisecond-level face detector, Machine Intelligence Research 2023.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.data.decoding import Thumbnail
from imagematch.data.faces.detector import Face, FaceDetector, in_full_size, largest
from imagematch.data.faces.haar import Haar, opencv
from imagematch.errors import ConfigError, ModelError
from imagematch.files import digest_bytes, os_reason
from imagematch.limited_process import run_limited
from imagematch.reading import GB, MB, read_file

_MAX_BYTES = 32 * MB
_LEAST_SCORE = 0.8
_OVERLAP = 0.3
_MOST = 50
_LEAST_SIDE = 16
"""Pixels."""
_GET_ONE = "give face_detection_yunet_*.onnx of OpenCV's model zoo"

_networks: dict[str, bytes] = {}
"""Digest -> the network's file, of those that were tried in a process of their own."""
_own = threading.local()


def remember_yunet(path: Path, expected: str | None = None) -> str:
    """Makes a YuNet file known to this process by its digest, which is returned; first it is tried in another process.

    Args:
        path: the file.
        expected: its digest, where it lies in a matcher's folder.

    Raises:
        ConfigError: it cannot be read, or is another than was expected.
        ModelError: OpenCV cannot run it, or does not come back from trying.
    """
    try:
        data = read_file(path, max_bytes=_MAX_BYTES, inside=path.parent if expected else None)
    except OSError as error:
        raise ConfigError(f"cannot be read: {os_reason(error)}", where=str(path), do=_GET_ONE) from error
    digest = digest_bytes(data)
    if expected not in (None, digest):
        raise ConfigError("was changed since it was saved", where=str(path))
    if digest not in _networks:
        function = "imagematch.data.faces.yunet:try_yunet"
        run_limited(function, str(path), digest, memory_bytes=4 * GB, time_s=30, where=path, do=_GET_ONE)
        _networks[digest] = data
    return digest


def yunet_data(digest: str) -> bytes:
    """The file that `remember_yunet` made known. Raises ModelError where it did not."""
    if digest not in _networks:
        raise ModelError("the YuNet file of this matcher was not opened with it", do="open the matcher's folder again")
    return _networks[digest]


def try_yunet(path: str, digest: str) -> None:
    """Opens the file of this digest and searches an image. Raises ModelError where OpenCV cannot."""
    data = read_file(Path(path), max_bytes=_MAX_BYTES)
    if digest_bytes(data) != digest:
        raise ModelError("changed while it was opened", where=path, do="try again")
    try:
        _detect(_opened(data), np.zeros((160, 128, 3), np.uint8))
    except opencv().error as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise ModelError(f"no YuNet network: OpenCV says {reason}", where=path, do=_GET_ONE) from error


@dataclass(frozen=True)
class YuNet(FaceDetector):
    """OpenCV's FaceDetectorYN with a network that is known to this process.

    Attributes:
        digest: of its file.
    """

    digest: str
    name = "yunet"

    @property
    def version(self) -> str:  # type: ignore[override]
        """See FaceDetector."""
        return f"1 {self.digest}"

    def find(self, seen: Thumbnail) -> Face | None:
        """See FaceDetector."""
        if min(seen.pixels.shape[:2]) < _LEAST_SIDE:
            return None
        detectors: dict[str, Any] = _own.__dict__.setdefault("detectors", {})
        if self.digest not in detectors:
            detectors[self.digest] = _opened(yunet_data(self.digest))
        found = _detect(detectors[self.digest], np.ascontiguousarray(seen.pixels[:, :, ::-1]))
        if len(found) == 0:
            return None
        row = found[largest(found[:, :4].tolist())]
        return in_full_size(seen, row[:4], row[4:14].reshape(5, 2))

    def shared(self) -> AbstractContextManager[None]:
        """See FaceDetector."""
        return Haar().shared()


def _opened(data: bytes) -> Any:
    create = opencv("FaceDetectorYN", "yunet").FaceDetectorYN.create
    content = np.frombuffer(data, np.uint8)
    return create("onnx", content, np.empty(0, np.uint8), (128, 160), _LEAST_SCORE, _OVERLAP, _MOST)


def _detect(detector: Any, image: np.ndarray) -> np.ndarray:
    """(n, 15): left, top, width, height, five points from left to right as they are seen, score."""
    detector.setInputSize((image.shape[1], image.shape[0]))
    _, found = detector.detect(image)
    return np.empty((0, 15), np.float32) if found is None else found
