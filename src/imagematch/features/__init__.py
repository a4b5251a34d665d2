"""The feature store: features are computed once, at the speed of the hardware, and kept by content for every trial."""

from imagematch.features.blockwise import map_blocks, map_features, normalize_rows, normalized_features, row_blocks
from imagematch.features.side_by_side import FeatureArray
from imagematch.features.store import Features, FeatureStore
from imagematch.features.upkeep import EntryReport, clear, list_entries, networks_bytes, verify
from imagematch.features.views import MIRROR

__all__ = [
    "MIRROR",
    "EntryReport",
    "FeatureArray",
    "FeatureStore",
    "Features",
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
