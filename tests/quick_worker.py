"""Stands in for `imagematch.tuning.worker`: a child that trains nothing, and answers what its settings are worth.

`python -m tests.quick_worker`; a trial of `QUICK_TRIAL_S` seconds (default 0) reports three steps. One whose
embedding_dim is `QUICK_NAN_DIM` comes to no number; one of `QUICK_DEAD_DIM` is killed, as for too much memory; one of
`QUICK_GONE_DIM` finds its images gone. There are as many steps as epochs.
"""

import hashlib
import json
import math
import os
import signal
import sys
import time
from typing import Any


def value_of(settings: dict[str, Any]) -> float:
    """Best at embedding_dim 32 and learning_rate 0.01; the trial's seed adds a little noise."""
    seed = str(settings.get("training_seed", 0)).encode()
    noise = int.from_bytes(hashlib.blake2b(seed, digest_size=2).digest(), "big") / 2**16
    away = abs(math.log2(settings["embedding_dim"] / 32)) + abs(math.log10(settings["learning_rate"] / 0.01))
    return 1 / (1 + away) + 0.01 * noise


def main() -> None:
    """Serves the parent until it closes the pipe."""

    def tell(**event: Any) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    for line in sys.stdin:
        task = json.loads(line)
        if "settings" not in task:
            continue
        dim = str(task["settings"]["embedding_dim"])
        if dim == os.environ.get("QUICK_DEAD_DIM"):
            os.kill(os.getpid(), signal.SIGKILL)
        if dim == os.environ.get("QUICK_NAN_DIM"):
            tell(event="failed", reason="the loss is not a number in epoch 1")
            continue
        if dim == os.environ.get("QUICK_GONE_DIM"):
            tell(event="error", kind="DataError", what="the images are gone", where="here", do="bring them back")
            continue
        value, steps = value_of(task["settings"]), int(task["settings"]["epochs"])
        for step in range(1, steps + 1):
            time.sleep(float(os.environ.get("QUICK_TRIAL_S", "0")) / steps)
            tell(event="step", step=step, value=value * step / steps)
            answer = json.loads(sys.stdin.readline() or '{"stop": true}')
            if answer.get("stop"):
                tell(event="interrupted")
                break
            if answer["prune"] or step == steps:
                figures = {"val_map_at_r": value}
                noted = {"values": [value], "best_epoch": step, "epochs": step, "figures": figures, "parameters": 1}
                tell(event="done", **noted, pruned=step < steps, seconds={"total": 0.0})
                break


if __name__ == "__main__":
    main()
