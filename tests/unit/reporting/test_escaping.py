from __future__ import annotations

import csv
import html
import io

import pandas as pd
import pytest

from imagematch.reporting import plot_label, spreadsheet_cell, spreadsheet_text, visible
from imagematch.reporting.html import render

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
def test_templates_escape_tags_quotes_and_control_characters(text):
    image = {"uri": "data:", "pixelated": False, "caption": text}
    code = render("images.html.j2", images=[image])
    assert html.unescape(code).count(visible(text, None)) == 2
    assert "<script" not in code
    assert "onerror=alert(2)>" not in code
    assert all(character.isprintable() or character == "\n" for character in code)


def test_bidirectional_characters_are_shown_as_escapes():
    assert (
        render("images.html.j2", images=[{"uri": "", "pixelated": False, "caption": "a\u202egpj.exe"}]).count(
            "a\\u202egpj.exe"
        )
        == 2
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "  =1", "\t=1", "\n=1", "\r=1", '"=1+1"', ' "'])
def test_a_cell_is_never_a_formula(text):
    assert spreadsheet_cell(text).lstrip()[0] not in '=+-@"'


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_survives_tsv(text):
    lines = f"{spreadsheet_cell(text)}\tnext\n{spreadsheet_cell(text)}\tnext\n"
    for quoting in (csv.QUOTE_NONE, csv.QUOTE_MINIMAL):
        rows = list(csv.reader(io.StringIO(lines), delimiter="\t", quoting=quoting))
        assert [len(row) for row in rows] == [2, 2]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_holds_no_tag_and_shows_quotes_as_they_are(text):
    assert not set("<>") & set(plot_label(text))
    assert "&quot;" not in plot_label(text)


def test_a_table_has_no_formulas_and_its_numbers_stay() -> None:
    table = pd.DataFrame({"=1+1": ["@home", "plain"], "number": [-1.5, 2.0], "\x1b[31m": ["+1", "\u202e"]})
    text = spreadsheet_text(table)
    assert text.splitlines() == ["'=1+1,number,\\x1b[31m", "'@home,-1.5,'+1", "plain,2.0,\\u202e"]
