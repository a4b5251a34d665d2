"""The image matcher: two images in, a score and a decision out, as evaluation calibrated them; and its folder."""

from __future__ import annotations

from imagematch.matching.card import MatcherCard, read_card
from imagematch.matching.embedder import golden_pictures
from imagematch.matching.folder import save_matcher
from imagematch.matching.matcher import ImageMatcher, Match

__all__ = ["ImageMatcher", "Match", "MatcherCard", "golden_pictures", "read_card", "save_matcher"]
