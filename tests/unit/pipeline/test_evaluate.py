"""What a matcher is evaluated on is decoded as in its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.matching.conftest import write_matcher

from imagematch.config import TrainSettings
from imagematch.files import Layout
from imagematch.pipeline import evaluate


class _ToldEnoughError(Exception):
    pass


@pytest.mark.parametrize(("value_range", "expected"), [((0.0, 4095.0), (0.0, 4095.0)), (None, "full")])
def test_new_images_are_scaled_as_those_of_the_training(
    value_range: Any, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_matcher(tmp_path / "small", value_range=value_range)
    asked: list[TrainSettings] = []

    def stop(settings: TrainSettings, **_: Any) -> None:
        asked.append(settings)
        raise _ToldEnoughError

    monkeypatch.setattr(evaluate, "open_dataset", stop)
    with pytest.raises(_ToldEnoughError):
        evaluate.evaluate_model(folder, data_dir=tmp_path, layout=Layout(tmp_path / "exp"))
    assert asked[0].value_range == expected
    assert asked[0].data_dir == tmp_path
