"""The feature store: features are computed once, at the speed of the hardware, and cached by content."""

from imagematch.features.arrays import FeatureArray
from imagematch.features.blockwise import map_blocks, map_features, normalize_rows, normalized_features, row_blocks
from imagematch.features.extraction import MIRROR, ImageRows
from imagematch.features.maintenance import EntryReport, clear_features, list_entries, networks_bytes, verify_features
from imagematch.features.merging import Merged, merge_features
from imagematch.features.store import Features, FeatureStore

__all__ = [
    "MIRROR",
    "EntryReport",
    "FeatureArray",
    "FeatureStore",
    "Features",
    "ImageRows",
    "Merged",
    "clear_features",
    "list_entries",
    "map_blocks",
    "map_features",
    "merge_features",
    "networks_bytes",
    "normalize_rows",
    "normalized_features",
    "row_blocks",
    "verify_features",
]
