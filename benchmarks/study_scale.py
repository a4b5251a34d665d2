"""How many trials a second a study's storage takes: 1 to 32 worker processes, SQLite and PostgreSQL, trivial trials.

Each worker is a process with a connection of its own that does over and over what `hpt.py` does for a trial, without
training: plans it under the study's lock, reports three steps, notes its figures, tells its value. PostgreSQL is a
private server in a temporary folder (or the one of `--storage`); without one only SQLite is measured. First, `whole` is
what a trial costs beside its training: a search by TPE with one real child process, from its first trial to its last,
artifacts, heartbeats and `run.jsonl` included. `docs/howto/scaling.md` reads the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.postgres import NoServerError, private_server  # noqa: E402

WORKERS = (1, 2, 4, 8, 16, 32)
STEPS = 3


def work(url: str, folder: str, trials: int) -> None:
    """A worker: waits for a line on its input, then plans and finishes trials until the study has them all."""
    import functools

    from tests.quick_study import settings_of

    from imagematch.events import SILENT
    from imagematch.files import Layout
    from imagematch.interruption import StopRequest
    from imagematch.tuning import open_study
    from imagematch.tuning.attributes import SECONDS
    from imagematch.tuning.locks import plan_lock
    from imagematch.tuning.plan import Plan

    settings, layout = settings_of(trials, url, "random"), Layout(Path(folder))
    study = open_study(settings, layout, log=SILENT)
    lock = functools.partial(plan_lock, study, layout.study_dir(settings.study_name) / ".plan.lock", StopRequest())
    plan = Plan(study, settings, SILENT, lock)
    print("ready", flush=True)
    sys.stdin.readline()
    done = 0
    while (planned := plan.next_trial()) is not None:
        for step in range(STEPS):
            planned.trial.report(float(step), step)
        planned.trial.set_user_attr(SECONDS, {"total": 0.0})
        study.tell(planned.trial, 0.5)
        done += 1
    print(done, flush=True)


def trials_a_second(url: str, folder: Path, workers: int, trials: int) -> float:
    """Runs a study of `trials` trials with `workers` processes, from their common start to the last one's end."""
    command = [sys.executable, __file__, "--work", url, "--folder", str(folder), "--trials", str(trials)]
    processes = []
    for _ in range(workers):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("a worker could not open the study")
        processes.append(process)
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    done = [int(process.communicate()[0] or 0) for process in processes]
    seconds = time.perf_counter() - started
    if sum(done) != trials or any(process.returncode for process in processes):
        raise SystemExit(f"{workers} workers finished {sum(done)} of {trials} trials")
    return trials / seconds


def overhead_s(url: str, folder: Path, trials: int) -> float:
    """Seconds a trial of a whole search costs whose child trains nothing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.quick_study", url, "--trials", str(trials)]
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    lines = (folder / "exp/hpt_studies/quick/run.jsonl").read_text(encoding="utf-8").splitlines()
    ends = [event["time"] for event in map(json.loads, lines) if event["event"] in ("trial_started", "trial_finished")]
    first, last = (datetime.fromisoformat(end) for end in (ends[0], ends[-1]))
    return (last - first).total_seconds() / trials


def forget_study(url: str) -> None:
    """Removes the study of an earlier measurement."""
    from tests.quick_study import NAME

    from imagematch.tuning import delete_study

    delete_study(NAME, url)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every storage with every number of workers."""
    rates: dict[str, float] = {}
    whole: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        storages = {"sqlite": f"sqlite:///{folder}/study.db"}
        if options.storage:
            storages = {"given": options.storage}
        else:
            try:
                storages["postgresql"] = stack.enter_context(private_server()).url
            except NoServerError as error:
                print(error, file=sys.stderr)
        for name, url in storages.items():
            forget_study(url)
            own = folder / name
            own.mkdir()
            whole[f"{name}_whole_per_trial"] = overhead_s(url, own, options.trials)
            if not options.json:
                print(f"{name:12} whole search  {whole[f'{name}_whole_per_trial']:8.3f} s a trial", flush=True)
            for workers in options.workers:
                forget_study(url)
                rates[f"{name}_{workers}"] = trials_a_second(url, folder, workers, options.trials)
                if not options.json:
                    rate = rates[f"{name}_{workers}"]
                    print(
                        f"{name:12} {workers:3} workers  {rate:8.1f} trials/s {workers / rate:8.3f} s a trial",
                        flush=True,
                    )
    first = f"_{options.workers[0]}"
    alone = {name.removesuffix(first): rate for name, rate in rates.items() if name.endswith(first)}
    return {
        "name": "study_scale",
        "ratios": {f"{key}_to_alone": rate / alone[key.rpartition("_")[0]] for key, rate in rates.items()},
        "seconds": {**whole, **{f"{key}_per_trial": 1 / rate for key, rate in rates.items()}},
        "trials_per_second": rates,
    }


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", help="without effect: nothing is trained")
    parser.add_argument("--weights", help="without effect: nothing is trained")
    parser.add_argument("--storage", help="the URL of a database to measure instead; its study `quick` is removed")
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--trials", type=int, default=200, help="trials of each study, at most 420")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.folder, options.trials)
        return
    found = measure(options)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
