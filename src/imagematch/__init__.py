"""imagematch: tune, train and evaluate image matchers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagematch.matching import ImageMatcher, Match
    from imagematch.pipeline import train, tune
    from imagematch.retrieval import Gallery

__all__ = ["Gallery", "ImageMatcher", "Match", "__version__", "train", "tune"]
__version__ = "0.1.0"

# OpenVINO's converter tells its makers that it was used, from forked processes. Nothing is sent from here; and where
# there is no network those processes would hang for ever, with this one's locks in their hands.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def __getattr__(name: str) -> Any:
    """Imports what is public when it is first used: `imagematch --help` needs none of it."""
    if name in ("ImageMatcher", "Match"):
        from imagematch import matching

        return getattr(matching, name)
    if name == "Gallery":
        from imagematch.retrieval import Gallery

        return Gallery
    if name in ("train", "tune"):
        from imagematch import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'imagematch' has no attribute {name!r}")
