"""Folders that results may go to, and those they may not."""

from pathlib import Path

import pytest

from imagematch.errors import ConfigError
from imagematch.pipeline import check_output_folder

OWN = ("projector_config.json", "vecs.tsv")


def test_new_empty_and_earlier_folders_are_taken(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "new", OWN)
    check_output_folder(tmp_path, OWN)
    (tmp_path / "notes.txt").touch()
    check_output_folder(tmp_path, OWN)
    for name in OWN:
        (tmp_path / name).touch()
    check_output_folder(tmp_path, OWN)


@pytest.mark.parametrize(("name", "told"), [("matcher.json", "matcher's own folder"), ("vecs.tsv", "other things")])
def test_what_belongs_to_somebody_is_refused(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=told):
        check_output_folder(tmp_path, OWN)
    with pytest.raises(ConfigError, match="is no folder"):
        check_output_folder(tmp_path / name, OWN)


def test_a_name_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="File name too long"):
        check_output_folder(tmp_path / ("x" * 300), OWN)
