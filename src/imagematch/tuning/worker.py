"""A child process that trains: takes tasks as JSON lines on its input, tells what happens as JSON lines on its output.

Run as `python -m imagematch.tuning.worker`. It keeps the data set, the features and TensorFlow between tasks. It ends
with its input, so it never outlives the parent by more than a moment.
"""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from imagematch.config import TrainSettings, parse_train
from imagematch.data import fold_datasets
from imagematch.errors import ImagematchError, InterruptedRunError, StudyError, TrainingFailedError
from imagematch.events import RunLog
from imagematch.training import (
    StopRequest,
    TrainingData,
    embedding_metric_names,
    load_training_data,
    release_graphs,
    sample_rows,
    training_data_key,
)
from imagematch.tuning.trial import TrialFiles, run_trial


class _Parent:
    """The other end of the two pipes."""

    def __init__(self, inputs: TextIO, outputs: TextIO) -> None:
        self._outputs = outputs
        self._sending = threading.Lock()
        self._incoming: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stop = StopRequest()
        threading.Thread(target=self._listen, args=(inputs,), daemon=True).start()

    def _listen(self, inputs: TextIO) -> None:
        for line in inputs:
            message = json.loads(line)
            if message.get("stop"):
                self.stop.ask(2)
            else:
                self._incoming.put(message)
        os._exit(0)  # the parent is gone: nobody is left to tell

    def receive(self) -> dict[str, Any]:
        return self._incoming.get()

    def tell(self, event: str, **fields: Any) -> None:
        with self._sending:
            self._outputs.write(json.dumps({"event": event, **fields}, default=str) + "\n")
            self._outputs.flush()


class _ParentLog(RunLog):
    """A log whose events the parent records, and whose lines it shows."""

    def __init__(self, parent: _Parent) -> None:
        super().__init__(stream=_Lines(parent))
        self._parent = parent

    def event(self, kind: str, message: str | None = None, **fields: Any) -> None:
        """See RunLog."""
        self._parent.tell("log", kind=kind, message=message, fields=fields)


class _Lines(io.StringIO):
    """A text stream whose lines the parent shows."""

    def __init__(self, parent: _Parent) -> None:
        super().__init__()
        self._parent = parent

    def write(self, text: str) -> int:
        if text.strip():
            self._parent.tell("say", message=text.rstrip("\n"))
        return len(text)


class _Bench:
    """TrainingData of the last task, used again as long as the next one asks for the same."""

    def __init__(self, manifest_dir: Path, log: RunLog) -> None:
        self._manifest_dir = manifest_dir
        self._log = log
        self._kept: dict[tuple[object, ...], TrainingData] = {}

    def materials(self, settings: TrainSettings, data: str | None = None) -> TrainingData:
        """Those of the settings; raises StudyError where the images are not those of the digest `data`."""
        key = training_data_key(settings)
        if key not in self._kept:
            self._kept.clear()
            materials = load_training_data(settings, manifest_dir=self._manifest_dir, log=self._log)
            if data not in (None, materials.dataset.digest):
                raise StudyError(
                    "these are not the images, or not the splits, that the study was begun with",
                    where=str(materials.dataset.root or materials.dataset.name),
                    do="give it the same images, choose another study_name, or start again with --fresh",
                )
            self._kept[key] = materials
            resolved = settings.model_copy(update={"feature_precision": materials.features.precision})
            self._kept[training_data_key(resolved)] = materials  # what the study asks for from now on
        return self._kept[key]


def _train(parent: _Parent, bench: _Bench, task: Mapping[str, Any]) -> None:
    settings = parse_train(task["settings"])
    started = time.perf_counter()
    materials = bench.materials(settings, task["data"])
    gathered_s = time.perf_counter() - started

    def on_step(number: int, value: float) -> bool:
        parent.tell("step", step=number, value=value)
        return bool(parent.receive()["prune"])

    files = TrialFiles(Path(task["folder"]), task["name"])
    noted = run_trial(
        materials,
        settings,
        files,
        folds=task["folds"],
        second=task["second"],
        on_step=on_step,
        stop=parent.stop,
    )
    seconds = {**noted.pop("seconds"), "materials": gathered_s, "total": time.perf_counter() - started}
    parent.tell("done", **noted, seconds=seconds)


def _measure_baseline(parent: _Parent, bench: _Bench, task: Mapping[str, Any]) -> None:
    from imagematch.evaluation import epoch_metrics

    settings = parse_train(task["settings"])
    materials = bench.materials(settings, task["data"])
    dataset = materials.dataset
    cut = [dataset] if task["folds"] == 1 else fold_datasets(dataset, task["folds"], settings.seed)
    also = embedding_metric_names(task["objectives"])
    counted = task["limited"] or not materials.extractor.frozen
    measured = []
    for one in cut:
        rows = sample_rows(one.rows("validation"), one.labels, settings.validation_max_images, settings.seed)
        measured.append(epoch_metrics(materials.baseline(rows), one.labels[rows], also))
    parent.tell(
        "done",
        figures={f"val_{name}": float(np.mean([figures[name] for figures in measured])) for name in measured[0]},
        dataset={**dataset.summary(), "digest": dataset.digest},
        precision=materials.features.precision,
        images_through_network=materials.features.computed,
        extraction_s=materials.features.seconds,
        network_digest=materials.extractor.digest,
        network_parameters=materials.extractor.build().count_params() if counted else None,
    )


_TASKS = {"train": _train, "baseline": _measure_baseline}


def _serve(parent: _Parent, manifest_dir: Path) -> None:
    bench = _Bench(manifest_dir, _ParentLog(parent))
    while True:
        task = parent.receive()
        try:
            _TASKS[task["task"]](parent, bench, task)
        except TrainingFailedError as error:
            parent.tell("failed", reason=str(error))
        except InterruptedRunError:
            parent.tell("interrupted")
        except ImagematchError as error:
            parent.tell("error", kind=type(error).__name__, what=error.what, where=error.where, do=error.do)
        except Exception as error:  # whatever one trial does must not end the study
            import traceback

            traceback.print_exc()
            parent.tell("failed", reason=f"{type(error).__name__}: {error}")
        release_graphs()


def main() -> None:
    """Serves the parent until it closes the pipe. Signals, which a whole process group may get, are its business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    outputs = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints goes to the log, not between the messages
    parent = _Parent(sys.stdin, outputs)
    _serve(parent, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
