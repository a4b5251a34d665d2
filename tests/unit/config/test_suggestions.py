"""The nearest valid name."""

from __future__ import annotations

import pytest

from imagematch.config import did_you_mean


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("epoch", "did you mean epochs?"),
        ("Epochs", "did you mean epochs?"),
        ("early-stopping-patience", "did you mean early_stopping_patience?"),
        ("droput", "did you mean dropout?"),
        ("something_else", ""),
        ("", ""),
        ("x" * 100_000, ""),
    ],
)
def test_suggestion(typed: str, says: str) -> None:
    assert did_you_mean(typed, ["epochs", "dropout", "early_stopping_patience"]) == says
