"""What a training tells while it goes on."""

import io
import re
from pathlib import Path
from typing import Any

import pytest

from imagematch.config import parse_train
from imagematch.errors import InterruptedRunError
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.pipeline import run_training
from imagematch.training import StopRequest

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.mark.parametrize(("batch", "times"), [({"batch_size": 3}, 1), ({"batch_classes": 3}, 0)])
def test_random_batches_without_two_images_of_a_class_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: dict[str, int], times: int
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "embedding_dim": 8, "epochs": 2}
    said = io.StringIO()
    run_training(parse_train({"experiment_name": "x", **values, **batch}), Layout(), log=RunLog(stream=said))
    lines = [line for line in said.getvalue().splitlines() if "taught nothing" in line]
    assert len(lines) == times
    assert all("triplet_semihard found nothing to compare" in line for line in lines)


class StoppingLog(RunLog):
    """Asks for an end in an epoch."""

    def __init__(self, stop: StopRequest, epoch: int) -> None:
        super().__init__()
        self._stop, self._epoch = stop, epoch

    def event(self, kind: str, message: str | None = None, **fields: Any) -> None:
        """See RunLog."""
        if kind == "epoch" and fields["epoch"] == self._epoch:
            self._stop.ask(2)


def test_a_resumed_training_reports_where_it_resumes_and_the_new_epochs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"dataset": "digits", "max_classes": 3, "feature_extractor": "pixels", "image_size": 8, "epochs": 3}
    settings = parse_train({"experiment_name": "x", "embedding_dim": 8, **values})
    stop, said = StopRequest(), io.StringIO()
    with pytest.raises(InterruptedRunError):
        run_training(settings, Layout(), log=StoppingLog(stop, epoch=2), stop=stop)
    trained = run_training(settings, Layout(), log=RunLog(stream=said, shows="detail"))
    lines = said.getvalue().splitlines()
    where = lines.index("resuming after epoch 2 of 3")
    assert [re.findall(r"epoch +(\d+)/3", line) for line in lines[where + 1 : where + 2]] == [["3"]]
    assert len([line for line in lines if re.match(r"epoch +\d+/3", line)]) == 1
    history = (trained.folder / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["epoch", "1", "2", "3"]
    said = io.StringIO()
    run_training(settings.model_copy(update={"experiment_name": "y"}), Layout(), log=RunLog(stream=said))
    assert "resuming" not in said.getvalue()
