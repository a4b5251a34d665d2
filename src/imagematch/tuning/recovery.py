"""Trials whose worker ended before they did: failed, and queued again at their index in the plan. A worker is known by
the identity of its process, by which others of its machine can tell whether it still runs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.tuning import optuna_internals
from imagematch.tuning.attributes import (
    CONFIG_DIGEST,
    FAILURE,
    OWNER,
    REASON,
    RERUN_OF,
    RETRY_OF,
    SEED_NUMBER,
    TRIAL_INDEX,
    WORKER_DIED,
)
from imagematch.tuning.storage import HEARTBEAT_S

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_ENDED = ("Z", "X", "x")


def this_process() -> dict[str, Any]:
    """The identity of this process: its machine, its pid, and its start, as pids are used again."""
    return {**_machine(), "pid": os.getpid(), "started": _start(os.getpid())}


def is_here(owner: Mapping[str, Any]) -> bool:
    """True if the owner was a process of this machine, which can say whether it still runs.

    A host's name alone is not enough: clones and containers share it, so the boot and the namespace of the pids must be
    the same. Records of older versions have only the name.
    """
    return all(owner.get(key) == value for key, value in _machine().items() if key in owner or "boot" in owner)


def is_dead(owner: Mapping[str, Any]) -> bool:
    """True if the owner, a process of this machine, no longer runs; a zombie does not."""
    pid = int(owner["pid"])
    started = _start(pid) if "boot" in owner else _created(pid)
    return started is None or started != owner.get("started")


@functools.cache
def _machine() -> dict[str, str]:
    """The host's name, its boot, and on Linux the namespace in which its processes have their pids."""
    return {
        "host": socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id") or _boot_session() or f"node {uuid.getnode():x}",
        "pids": _link("/proc/self/ns/pid"),
    }


def _start(pid: int) -> float | None:
    """When a process was started, in ticks since the boot, which no step of the clock moves; None if it has ended."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat:  # it has ended, or this is not Linux, where the system stores the start time
        return _created(pid)
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in _ENDED else float(fields[18])


def _created(pid: int) -> float | None:
    """The time at which a process was started; None if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def _boot_session() -> str:
    """What macOS calls this boot; empty elsewhere. Two machines of one name have different ones."""
    try:
        command = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


_INHERITED = (RERUN_OF, SEED_NUMBER)


def queue(
    study: optuna.Study,
    index: int,
    params: Mapping[str, Any],
    attributes: Mapping[str, Any] | None = None,
    sampler_attributes: Mapping[str, Any] | None = None,
) -> None:
    """Puts a trial in the queue, with its owner from the start, so that it is recovered whenever that dies.

    Args:
        study: the trial's.
        index: its index in the plan.
        params: those that are settled; the sampler draws the rest.
        attributes: further user attributes.
        sampler_attributes: what the sampler stored on the trial of which this is a retry.
    """
    import optuna

    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING,
            system_attrs={**(sampler_attributes or {}), "fixed_params": dict(params)},
            user_attrs={TRIAL_INDEX: index, OWNER: this_process(), **(attributes or {})},
        )
    )


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Puts a cut-off trial back in the queue: same parameters, same index, so the same seeds."""
    old = trial.user_attrs
    inherited = {RETRY_OF: trial.number, **{name: old[name] for name in _INHERITED if name in old}}
    if CONFIG_DIGEST in old:  # CMA-ES learns only from trials of a generation, and it has not drawn this one again
        drawn = {key: value for key, value in trial.system_attrs.items() if key.startswith("cma:")}
        queue(study, old[TRIAL_INDEX], trial.params, {CONFIG_DIGEST: old[CONFIG_DIGEST], **inherited}, drawn)
    else:  # cut off before all of its parameters were drawn; its index draws the same ones again
        queue(study, old[TRIAL_INDEX], trial.system_attrs.get("fixed_params", {}), inherited)


def recover(
    study: optuna.Study, ours: Collection[int] = (), died: Mapping[int, str] | None = None
) -> list[tuple[int, bool]]:
    """Fails the RUNNING trials that nobody works on and queues them again.

    A trial that is already queued again is not queued twice, so a recovery that was itself cut off can be repeated. A
    trial that has cost a worker, and costs another one when it is trained again, fails for good.

    Args:
        study: whose trials.
        ours: numbers of the trials this process works on.
        died: pid -> why that worker of this process died.

    Returns:
        The number of each, and whether it was failed for good.
    """
    import optuna

    died = died or {}
    trials = study.get_trials(deepcopy=False)
    retried = {t.user_attrs[RETRY_OF] for t in trials if RETRY_OF in t.user_attrs}
    abandoned = _abandoned(study, ours)
    recovered = []
    for trial in trials:
        if trial.state != optuna.trial.TrialState.RUNNING or not abandoned(trial):
            continue
        owner = trial.user_attrs.get(OWNER)
        death = died.get(owner["pid"]) if owner is not None and is_here(owner) else None
        if death is not None:
            if _cost_a_worker_before(trial, trials):
                fail(study, trial.number, death, failure={"what": death})
                recovered.append((trial.number, True))
                continue
            set_attribute(study, trial, WORKER_DIED, True)
        if TRIAL_INDEX in trial.user_attrs and trial.number not in retried:
            requeue(study, trial)
        fail(study, trial.number, f"{death or 'its worker ended before the trial did'}; queued again")
        recovered.append((trial.number, False))
    return recovered


def _cost_a_worker_before(trial: FrozenTrial, trials: list[FrozenTrial]) -> bool:
    """Whether an earlier attempt at this trial cost a worker."""
    seen: set[int] = set()
    earlier = trial.user_attrs.get(RETRY_OF)
    while earlier is not None and earlier < len(trials) and earlier not in seen:
        seen.add(earlier)
        if trials[earlier].user_attrs.get(WORKER_DIED):
            return True
        earlier = trials[earlier].user_attrs.get(RETRY_OF)
    return False


def _abandoned(study: optuna.Study, ours: Collection[int]) -> Callable[[FrozenTrial], bool]:
    """Whether nobody works on a RUNNING trial.

    A worker of this machine works on it as long as its process runs, however old its heartbeat (the machine may have
    slept); this process on `ours`, whichever owner they have, and on no others. For other machines, and trials without
    an owner, the heartbeat decides (GRACE_S).
    """
    stale, me = optuna_internals.stale_trial_ids(study), this_process()

    def abandoned(trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        if trial.number in ours:
            return False
        if owner is not None and is_here(owner):
            return owner == me or is_dead(owner)
        return optuna_internals.trial_id(trial) in stale

    return abandoned


def send_heartbeat(study: optuna.Study, trials: Iterable[FrozenTrial | optuna.Trial]) -> None:
    """Shows that trials are worked on, where the storage can record that."""
    for trial in trials:
        optuna_internals.record_heartbeat(study, trial)


@contextlib.contextmanager
def heartbeats(trial: optuna.Trial) -> Iterator[None]:
    """Sends heartbeats of a trial while the block runs, from a thread: a training may take hours between two steps."""
    study, ended = trial.study, threading.Event()

    def send() -> None:
        while not ended.wait(HEARTBEAT_S / 4):
            with contextlib.suppress(Exception):  # the trial's own thread meets it too, and reports it
                send_heartbeat(study, [trial])
        trial.storage.remove_session()

    if not optuna_internals.has_heartbeats(study):
        yield
        return
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def alive(study: optuna.Study) -> list[int]:
    """Numbers of the RUNNING trials that a worker trains."""
    abandoned = _abandoned(study, ())
    trials = study.get_trials(deepcopy=False)
    return [t.number for t in trials if t.state.name == "RUNNING" and OWNER in t.user_attrs and not abandoned(t)]


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Stores a user attribute on a trial that another process runs; one that has ended stays as it is."""
    import optuna

    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        optuna_internals.storage_of(study).set_trial_user_attr(optuna_internals.trial_id(trial), name, value)


def fail(study: optuna.Study, number: int, reason: str, failure: Mapping[str, str] | None = None) -> None:
    """Ends a RUNNING trial as failed; one that has ended in the meantime stays as it ended.

    Args:
        study: the trial's.
        number: the trial's.
        reason: why, for people.
        failure: what `failures.refuse_to_go_on` goes by; None for a trial that was cut off.
    """
    import optuna

    trial = study.get_trials(deepcopy=False)[number]
    set_attribute(study, trial, REASON, reason)
    if failure is not None:
        set_attribute(study, trial, FAILURE, dict(failure))
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        study.tell(number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
