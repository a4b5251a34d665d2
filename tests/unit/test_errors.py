"""Errors in one line."""

import copy

from imagematch.errors import ConfigError, DataError, InterruptedRunError, ModelError, StudyError


def test_one_line_with_place_and_remedy() -> None:
    assert str(ConfigError("unknown key 'x'", where="a.yaml:3", do="did you mean y?")) == (
        "a.yaml:3: unknown key 'x'; did you mean y?"
    )
    assert str(DataError("two\n lines")) == "two lines"


def test_exit_codes() -> None:
    codes = {kind: kind.exit_code for kind in (ConfigError, DataError, StudyError, ModelError, InterruptedRunError)}
    assert list(codes.values()) == [2, 3, 4, 5, 130]


def test_an_error_can_be_copied() -> None:
    error = copy.copy(ConfigError("a", where="b", do="c"))
    assert (error.what, error.where, error.do) == ("a", "b", "c")
