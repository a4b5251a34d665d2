"""The image matcher: two images in, a score and a decision out, as evaluation calibrated them; and its folder."""

from __future__ import annotations

from imagematch.matching.card import MatcherCard, ProbabilityCard, ProvenanceCard, ThresholdCard, class_digest
from imagematch.matching.card_file import read_card
from imagematch.matching.embedder import (
    Embedder,
    as_list,
    decoded_blocks,
    golden_images,
    is_many,
    replacement,
    saved_extractors,
    saved_network,
)
from imagematch.matching.embedding_card import (
    EmbeddingCard,
    ExtractorCard,
    FaceCropCard,
    FramingCard,
    HeadCard,
    JoinCard,
    head_fields,
)
from imagematch.matching.folder import matcher_files, save_matcher
from imagematch.matching.matcher import ImageMatcher, Match
from imagematch.matching.upgrade import upgrade_matcher

__all__ = [
    "Embedder",
    "EmbeddingCard",
    "ExtractorCard",
    "FaceCropCard",
    "FramingCard",
    "HeadCard",
    "ImageMatcher",
    "JoinCard",
    "Match",
    "MatcherCard",
    "ProbabilityCard",
    "ProvenanceCard",
    "ThresholdCard",
    "as_list",
    "class_digest",
    "decoded_blocks",
    "golden_images",
    "head_fields",
    "is_many",
    "matcher_files",
    "read_card",
    "replacement",
    "save_matcher",
    "saved_extractors",
    "saved_network",
    "upgrade_matcher",
]
