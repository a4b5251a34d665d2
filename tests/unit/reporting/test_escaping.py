from __future__ import annotations

import csv
import io

import pytest

from imagematch.reporting import cell, label, markup, visible

from .samples import HOSTILE


@pytest.mark.parametrize("text", HOSTILE)
def test_visible_text_is_one_printable_line_that_can_be_written(text):
    line = visible(text, None)
    assert line.isprintable()
    assert line.encode("utf-8")


def test_visible_cuts_the_middle_and_keeps_both_ends():
    assert visible("abcdefghij", 5) == "ab…ij"
    assert visible("abcde", 5) == "abcde"


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_holds_no_tag_and_no_quote(text):
    assert not set("<>\"'") & set(markup(text))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "  =1", "\t=1", "\n=1", "\r=1", '"=1+1"', ' "'])
def test_a_cell_is_never_a_formula(text):
    assert cell(text).lstrip()[0] not in '=+-@"'


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_survives_tsv(text):
    lines = f"{cell(text)}\tnext\n{cell(text)}\tnext\n"
    for quoting in (csv.QUOTE_NONE, csv.QUOTE_MINIMAL):
        rows = list(csv.reader(io.StringIO(lines), delimiter="\t", quoting=quoting))
        assert [len(row) for row in rows] == [2, 2]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_holds_no_tag_and_shows_quotes_as_they_are(text):
    assert not set("<>") & set(label(text))
    assert "&quot;" not in label(text)
