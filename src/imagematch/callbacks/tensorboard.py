"""Logs for TensorBoard: curves of a training, and every trial of a study in its table of hyperparameters."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from imagematch.callbacks.base import Callback, Run, TrialResult, numbers, register_callback, split_numbers
from imagematch.files import make_dir


@register_callback("tensorboard", "curves and trials in exp/logs, where the extra tensorboard is installed")
class TensorBoard(Callback):
    """Without the package it does nothing: it is called where nobody asked for it."""

    def __init__(self) -> None:
        self._there = importlib.util.find_spec("tensorboard") is not None
        self._logs = Path()
        self._writer: Any = None
        self._last_epoch = 0

    def on_study_begin(self, study: Run, finished: Sequence[TrialResult]) -> None:
        """Trials that have no log yet get one: the package may have been installed meanwhile."""
        self._logs = study.logs
        if not finished:
            shutil.rmtree(study.logs, ignore_errors=True)
        for trial in finished:
            if not (study.logs / str(trial.number)).exists():
                self.on_trial_end(trial)

    def on_trial_end(self, trial: TrialResult) -> None:
        """One session of HParams."""
        if self._there:
            values = {f"objective_{number}": value for number, value in enumerate(trial.values, 1)}
            with closing(_EventFile(self._logs / str(trial.number))) as events:
                events.add(_session(trial.params))
                events.add(_scalars(values | dict(trial.metrics)))
                events.add(_session(None))

    def on_training_begin(self, training: Run) -> None:
        """What an earlier training wrote is removed: the epochs before an interruption are told again."""
        shutil.rmtree(training.logs, ignore_errors=True)
        if self._there:
            self._writer = _EventFile(training.logs)

    def on_epoch_end(self, record: Mapping[str, Any]) -> None:
        """One point of each curve."""
        if self._writer is not None:
            self._last_epoch = int(record["epoch"])
            curves = {key: value for key, value in record.items() if key != "epoch"}
            self._writer.add(_scalars(curves), self._last_epoch)

    def on_training_end(self, metrics: Mapping[str, Any] | None) -> None:
        """The figures of the splits, as one point."""
        if self._writer is not None:
            if metrics is not None:
                self._writer.add(_scalars(split_numbers(metrics)), self._last_epoch)
            self._writer.close()


class _EventFile:
    """A file that TensorBoard reads. Its own writers import TensorFlow, for which a study's process has no room."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        path = make_dir(folder) / f"events.out.tfevents.{time.time():.6f}.imagematch"
        self._file = path.open("wb")
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())

    def close(self) -> None:
        """Ends it."""
        self._file.close()

    def add(self, summary: Any, step: int = 0) -> None:
        """Adds a summary, at once."""
        event = self._event(wall_time=time.time(), step=step, summary=summary)
        self._records.write(event.SerializeToString())
        self._file.flush()


def _scalars(values: Mapping[str, Any]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    found = numbers(values)
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in found.items()])


def _session(params: Mapping[str, Any] | None) -> Any:
    """That a trial begins, with its parameters; or None: that it has ended."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    if params is None:
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        data, tag = plugin_data_pb2.HParamsPluginData(session_end_info=end), metadata.SESSION_END_INFO_TAG
    else:
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in params.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            else:
                start.hparams[name].string_value = str(value)
        data, tag = plugin_data_pb2.HParamsPluginData(session_start_info=start), metadata.SESSION_START_INFO_TAG
    about = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])
