"""How long a study of thousands of trials takes to open: its report, the notebook's figures, `study list` and `show`.

The study is written first, without training (`tests/large_study.py`). Commands are timed as whole processes, the rest
in this one, after its imports. `optuna` is what its own storage takes to read the trials: the yardstick of `ratios`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.large_study import NAME, make_study  # noqa: E402

COMMANDS = {"study list": ["study", "list"], "study show": ["study", "show", NAME]}


def processor_s() -> float:
    """Processor time of this process and its children so far: on a busy machine it says more than the clock."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(trials: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of everything that opens the study."""
    import optuna

    from imagematch import reporting
    from imagematch.files import Layout
    from imagematch.tuning.storage import sqlite_url
    from imagematch.tuning.tables import trials_table

    seconds: dict[str, float] = {}
    processor: dict[str, float] = {}

    def timed(what: str, call: Callable[[], Any]) -> Any:
        started, worked = time.perf_counter(), processor_s()
        result = call()
        seconds[what], processor[what] = time.perf_counter() - started, processor_s() - worked
        tell(f"{what:18} {seconds[what]:7.2f} s, of the processor {processor[what]:7.2f} s")
        return result

    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder) / "exp")
        database = layout.study_database(NAME)
        database.parent.mkdir(parents=True)
        make_study(database, trials)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        for what, arguments in COMMANDS.items():
            command = [sys.executable, "-m", "imagematch", *arguments]
            run = {"cwd": folder, "env": environment, "check": True, "capture_output": True}
            timed(what, lambda command=command, run=run: subprocess.run(command, **run))
        timed("optuna", lambda: optuna.storages.RDBStorage(sqlite_url(database))._get_trials(1, None, set(), -1))
        study = timed("open", lambda: reporting.read_study(database, NAME))
        timed("trials", lambda: study.get_trials(deepcopy=False))
        timed("trials.csv", lambda: trials_table(study).to_csv(index=False))
        timed("notebook's figures", lambda: reporting.StudyPlots(study).all())
        page = Path(folder) / "report.html"
        timed("report.html", lambda: reporting.write_study_report(page, study))
        megabytes = {"report.html": page.stat().st_size / 1e6, "database": database.stat().st_size / 1e6}
    return {
        "name": "large_studies",
        "ratios": {f"{what} to optuna": value / seconds["optuna"] for what, value in seconds.items()},
        "seconds": seconds,
        "processor_seconds": processor,
        "megabytes": megabytes,
    }


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", help="without effect: nothing is trained")
    parser.add_argument("--weights", help="without effect: nothing is trained")
    parser.add_argument("--trials", type=int, default=5000)
    options = parser.parse_args()
    found = measure(options.trials, lambda line: None if options.json else print(line, flush=True))
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
