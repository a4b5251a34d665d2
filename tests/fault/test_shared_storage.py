"""Many processes on one study, on PostgreSQL and on SQLite: kills, joins, a server that goes away and comes back."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from tests.conftest import run_command
from tests.fault.conftest import Start
from tests.fault.shared_studies import assert_sound, processes_of, trials_in
from tests.postgres import PASSWORD, Server
from tests.quick_study import NAME, settings_of
from tests.quick_worker import QuickTrainer

from imagematch.config import IntRange
from imagematch.errors import StudyError
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.reporting import read_study, study_lines
from imagematch.tuning import attributes, extend_study, not_worked_on, open_study, study_exists
from imagematch.tuning.locks import database_of
from imagematch.tuning.plan import Plan
from imagematch.tuning.recovery import alive, queue, recover, send_heartbeat, this_process
from imagematch.tuning.retrying_storage import WAIT_S, RetryingStorage
from imagematch.tuning.storage import GRACE_S, quiet_about_experiments
from imagematch.tuning.study import WorkerJob
from imagematch.tuning.tables import study_overviews
from imagematch.tuning.worker import Worker


@pytest.fixture(name="url", params=["sqlite", "postgresql"])
def url_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage that is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    return str(request.getfixturevalue("server").url)


def wait_for_trials(url: str, count: int) -> None:
    """Until so many are finished; the study may not be there yet."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            if len(attributes.counted(trials_in(url))) >= count:
                return
        except KeyError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{count} trials did not come")


def test_two_processes_one_killed_share_a_study(url: str, quick: Start, tmp_path: Path) -> None:
    first = quick(url, "--trials", "12", "--sampler", "random", trial_s=0.2, folder=tmp_path / "a")
    second = quick(url, "--trials", "12", "--sampler", "random", trial_s=0.2, folder=tmp_path / "b")
    wait_for_trials(url, 3)
    told = {t.number: t.value for t in attributes.counted(trials_in(url))}
    first.kill()
    first.communicate()
    third = quick(url, "--trials", "12", "--sampler", "random", folder=tmp_path / "a")
    outputs = [process.communicate(timeout=6000) for process in (second, third)]
    assert [second.returncode, third.returncode] == [0, 0], outputs
    trials = trials_in(url)
    assert {number: trials[number].value for number in told} == told
    assert_sound(trials, planned=12, processes=3)
    assert processes_of(trials) > 1
    retried = [t for t in trials if attributes.RETRY_OF in t.user_attrs]
    for retry in retried:
        cut = trials[retry.user_attrs[attributes.RETRY_OF]]
        assert retry.user_attrs[attributes.TRIAL_INDEX] == cut.user_attrs[attributes.TRIAL_INDEX]
        assert cut.params.items() <= retry.params.items()


def test_fresh_is_refused_while_another_process_works_on_the_study(url: str, quick: Start, tmp_path: Path) -> None:
    worker = quick(url, "--trials", "60", "--sampler", "random", trial_s=1)
    wait_for_trials(url, 1)
    (tmp_path / "study.yaml").write_text("study_name: quick\ndataset: digits\n")
    refused = run_command("hpt.py", "--hpt-config-filepath", "study.yaml", "--storage", url, "--fresh", cwd=tmp_path)
    told = "error: quick: another process works on this study; wait for it, or stop it"
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (4, told)
    assert worker.poll() is None
    assert attributes.counted(trials_in(url)), "nothing was removed"


def test_four_processes_one_killed_share_a_study(server: Server, quick: Start) -> None:
    """Eight share one in `test_long_studies`."""
    options = ("--trials", "16", "--sampler", "random")
    doomed, *processes = (quick(server.url, *options, trial_s=0.5) for _ in range(4))
    wait_for_trials(server.url, 3)
    told = {t.number: t.value for t in attributes.counted(trials_in(server.url))}
    doomed.kill()
    doomed.communicate()
    outputs = [process.communicate(timeout=6000) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, outputs
    trials = trials_in(server.url)
    assert {number: trials[number].value for number in told} == told
    assert_sound(trials, planned=16, processes=4)
    assert processes_of(trials) > 1


def test_a_server_that_goes_away_and_comes_back_costs_nothing(server: Server, quick: Start, tmp_path: Path) -> None:
    process = quick(server.url, "--trials", "15", "--workers", "2", trial_s=0.2)
    wait_for_trials(server.url, 3)
    server.stop()
    time.sleep(2)
    server.start()
    stdout, stderr = process.communicate(timeout=6000)
    assert process.returncode == 0, (stdout, stderr)
    assert stdout.count("the database does not answer") == 1
    assert stdout.count("the database answers again") == 1
    assert stderr == ""
    assert_sound(trials_in(server.url), planned=15, processes=2)
    assert PASSWORD not in stdout
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


def test_a_stop_is_heard_while_the_server_is_away(server: Server, quick: Start) -> None:
    process = quick(server.url, "--trials", "50", trial_s=0.2)
    wait_for_trials(server.url, 1)
    server.stop()
    try:
        assert process.stdout is not None
        while "does not answer" not in process.stdout.readline():
            assert process.poll() is None
        process.terminate()
        _, stderr = process.communicate(timeout=600)  # the server is still away
        assert process.returncode == 130, stderr
        assert stderr.count("\n") == 1
    finally:
        server.start()
    again = quick(server.url, "--trials", "5")
    _, stderr = again.communicate(timeout=600)
    assert again.returncode == 0, stderr
    assert_sound(trials_in(server.url), planned=5, processes=1)


def connections_to(server: Server) -> int:
    """How many there are beside the one that asks; those that have just been closed get a moment to be gone."""
    ours = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    end, count = time.monotonic() + 5, 1
    with create_engine(server.url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        while count and time.monotonic() < end:
            count = int(connection.exec_driver_sql(ours).scalar_one())
            time.sleep(0.05)
    return count


def test_a_look_at_a_study_leaves_no_connection_behind(server: Server, tmp_path: Path) -> None:
    settings, layout = settings_of(3, server.url), Layout(tmp_path)
    storage = database_of(open_study(settings, layout))
    assert storage is not None
    storage.engine.dispose()
    assert connections_to(server) == 0
    assert study_exists(settings, layout)
    with not_worked_on(NAME, server.url, layout):
        pass
    assert [row.name for row in study_overviews(layout, server.url)] == [NAME]
    seen = read_study(server.url, NAME)
    assert study_lines(seen)
    assert connections_to(server) == 0


def test_a_study_on_a_server_goes_on_in_a_wider_space(url: str, tmp_path: Path) -> None:
    settings, layout = settings_of(2, url), Layout(tmp_path)
    study = open_study(settings, layout)
    plan = Plan(study, settings, SILENT)
    while (planned := plan.next_trial()) is not None:
        study.tell(planned.trial, 0.5)
    wide = settings.model_copy(update={"n_trials": 3, "space": {**settings.space, "embedding_dim": IntRange(2, 200)}})
    extend_study(wide, layout)
    again = open_study(wide, layout)
    assert [(t.params, t.value) for t in again.trials] == [(t.params, t.value) for t in study.trials]
    assert Plan(again, wide, SILENT).next_trial() is not None
    for opened in (study, again):
        storage = database_of(opened)
        assert storage is not None
        storage.engine.dispose()


def run_elsewhere(study: optuna.Study) -> None:
    """A trial of another machine, of which nothing but its heartbeat is known."""
    queue(study, 0, {})
    with quiet_about_experiments():
        trial = study.ask()
    trial.set_user_attr(attributes.OWNER, {**this_process(), "host": "elsewhere"})
    send_heartbeat(study, [trial])


def silence(server: Server, seconds: float) -> None:
    """Makes every heartbeat so old, as a server that was away does."""
    old = f"UPDATE trial_heartbeats SET heartbeat = now() - interval '{seconds} seconds'"
    with create_engine(server.url, poolclass=NullPool).begin() as connection:
        connection.exec_driver_sql(old)


@pytest.fixture(name="joined")
def joined_fixture(server: Server, tmp_path: Path) -> Iterator[tuple[optuna.Study, RetryingStorage]]:
    """A study on the server, just opened, in which another machine runs a trial."""
    study = open_study(settings_of(3, server.url), Layout(tmp_path))
    storage = database_of(study)
    assert isinstance(storage, RetryingStorage)
    run_elsewhere(study)
    yield study, storage
    storage.engine.dispose()


def test_who_joins_takes_nobody_for_dead_for_an_outage_that_it_did_not_see(
    joined: tuple[optuna.Study, RetryingStorage], server: Server
) -> None:
    study, storage = joined
    silence(server, GRACE_S + 1)
    assert (alive(study), recover(study)) == ([0], [])
    storage._up_since -= GRACE_S + 1
    assert (alive(study), recover(study)) == ([], [(0, False)])


def test_who_joins_takes_for_dead_at_once_who_has_given_the_server_up(
    joined: tuple[optuna.Study, RetryingStorage], server: Server
) -> None:
    silence(server, GRACE_S + WAIT_S + 1)
    assert recover(joined[0]) == [(0, False)]


@pytest.mark.usefixtures("joined")
def test_fresh_is_refused_while_another_machine_may_work_on_the_study(server: Server, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    silence(server, GRACE_S + 1)
    refused = pytest.raises(StudyError, match=r"may work on this study.* trial 0.*quarter of an hour")
    with refused as caught, not_worked_on(NAME, server.url, layout):
        pass
    assert "\n" not in str(caught.value)
    silence(server, GRACE_S + WAIT_S + 1)
    with not_worked_on(NAME, server.url, layout):
        pass


def test_a_study_ends_with_the_trial_of_a_machine_that_vanished(
    joined: tuple[optuna.Study, RetryingStorage], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other trials do not wait for it; the end does, and trains it again."""
    monkeypatch.setattr("imagematch.tuning.worker.HEARTBEAT_S", 1)
    study, storage = joined
    silence(server, 7200)
    storage._grace_s, storage._surely_dead_s = 3600, 10_000
    trained: list[int] = []

    class Trainer(QuickTrainer):
        """The grace period is over when the others are trained."""

        def train(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            trained.append(1)
            if len(trained) == 2:
                storage._up_since -= 3601
            return super().train(*arguments, **options)

    settings = settings_of(3, server.url)
    job = WorkerJob(settings, Layout(tmp_path), 0)
    assert Worker(study, job, Trainer(settings, tmp_path, SILENT)).run()
    assert_sound(study.trials, planned=3, processes=1)
    cut, *others, again = study.trials
    assert cut.state.name == "FAIL"
    assert again.user_attrs[attributes.RETRY_OF] == cut.number
    assert len(others) == 2, "trained before it"
