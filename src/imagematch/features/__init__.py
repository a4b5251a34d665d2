"""The feature store: features are computed once, at the speed of the hardware, and cached by content."""

from imagematch.features.arrays import FeatureArray
from imagematch.features.blockwise import map_blocks, map_features, normalize_rows, normalized_features, row_blocks
from imagematch.features.extraction import MIRROR, ImageSource
from imagematch.features.maintenance import EntryReport, clear, list_entries, networks_bytes, verify
from imagematch.features.store import Features, FeatureStore

__all__ = [
    "MIRROR",
    "EntryReport",
    "FeatureArray",
    "FeatureStore",
    "Features",
    "ImageSource",
    "clear",
    "list_entries",
    "map_blocks",
    "map_features",
    "networks_bytes",
    "normalize_rows",
    "normalized_features",
    "row_blocks",
    "verify",
]
