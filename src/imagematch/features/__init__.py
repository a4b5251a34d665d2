"""The feature store: features are computed once, at the speed of the hardware, and kept by content for every trial."""

from imagematch.features.store import Features, FeatureStore
from imagematch.features.upkeep import EntryReport, clear, list_entries, verify

__all__ = ["EntryReport", "FeatureStore", "Features", "clear", "list_entries", "verify"]
