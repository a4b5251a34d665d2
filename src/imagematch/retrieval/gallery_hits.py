"""What a search of a gallery found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hit:
    """An image of a gallery that was found.

    Attributes:
        id: its own for good.
        label: None where it has none.
        distance: between its embedding and the query's, 0 to 2.
        probability: that both show the same thing, as the matcher's card has it; None if not fitted.
        is_match: the distance is under the threshold.
    """

    id: int
    label: str | None
    distance: float
    probability: float | None
    is_match: bool


class Hits(tuple[Hit, ...]):
    """What a search found, the nearest first."""

    __slots__ = ()

    @property
    def unknown(self) -> bool:
        """Nothing in the gallery matches."""
        return not any(hit.is_match for hit in self)
