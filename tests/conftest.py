"""What tests of whole commands share: running one as a user does, and a small study that is there to be looked at."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")  # on sizes like the tests', threads wait for each other most of the time

ROOT = Path(__file__).parent.parent

Invoke = Callable[..., subprocess.CompletedProcess[str]]

SMALL_STUDY = """\
study_name: small
dataset: digits
feature_extractor: pixels
image_size: 8
embedding_dim_grid: [8, 16]
intermediate_ff_block_units_grid: [[], [32]]
dropout: 0.1
epochs: 3
n_trials: 3
rerun_top_k: 2
rerun_seeds: 1
"""


def run_command(*arguments: str | Path, cwd: Path, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    """Runs `python ARGUMENTS` in `cwd`; a script is looked for at the top of the repository."""
    first, *rest = (str(argument) for argument in arguments)
    script = [str(ROOT / first)] if first.endswith(".py") else [first]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    return subprocess.run(
        [sys.executable, *script, *rest],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests remember of networks is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@contextmanager
def unreadable(folder: Path, mode: int = 0) -> Iterator[None]:
    """Nobody has other rights than `mode` in a test's folder for a while; root is somebody else so long."""
    root = os.geteuid() == 0
    for above in folder.parents:  # pytest's own folders are closed to others
        if above.is_relative_to(tempfile.gettempdir()) and above != Path(tempfile.gettempdir()):
            above.chmod(0o755)
    folder.chmod(mode)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A folder that `build` fills, once for all workers of a test run; not to be changed."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if not lock.read():
            build(folder)
            lock.write("built")
    return folder


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small study on the digits has been run by `hpt.py`; not to be changed."""

    def build(folder: Path) -> None:
        (folder / "study.yaml").write_text(SMALL_STUDY)
        done = run_command("hpt.py", "--hpt-config-filepath", "study.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr

    return built_once(tmp_path_factory, "small_study", build)


@pytest.fixture(scope="session")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny KerasHub presets for images of 32 px, with random weights: clip, dinov2, resnet, siglip."""
    keras_hub = pytest.importorskip("keras_hub", reason="the extra `kerashub` is not installed")
    models, folder = keras_hub.models, tmp_path_factory.mktemp("presets")
    tower = {"num_layers": 2, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    vision = {**tower, "patch_size": 8, "image_shape": (32, 32, 3)}
    text = {**tower, "vocabulary_size": 9, "embedding_dim": 16}
    backbones = {
        "clip": models.CLIPBackbone(models.CLIPVisionEncoder(**vision), models.CLIPTextEncoder(**text), 12),
        "dinov2": models.DINOV2Backbone(**vision, position_embedding_shape=(48, 48, 3)),
        "resnet": models.ResNetBackbone([64], [7], [64, 128], [1, 1], [1, 2], "basic_block"),
        "siglip": models.SigLIPBackbone(models.SigLIPVisionEncoder(**vision), models.SigLIPTextEncoder(**text)),
    }
    pixels = {"scale": [1 / 58, 1 / 57, 1 / 57], "offset": [-2.1, -2.0, -1.8]}  # about ImageNet's mean and deviation
    for name, backbone in backbones.items():
        backbone.save_to_preset(str(folder / name))
        keras_hub.layers.ImageConverter((32, 32), **pixels).save_to_preset(str(folder / name))
    return folder


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Runs an `imagematch` command in this process and folder, in milliseconds."""
    from imagematch.cli.main import app
    from imagematch.cli.running import exit_code

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        given = [str(argument) for argument in arguments]
        capsys.readouterr()
        code = exit_code(app, given, debug=False)
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(given, code, shown.out, shown.err)

    return call


@pytest.fixture
def command(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """As `invoke`, in the test's own folder; takes `hpt.py` and `train.py`, too: commands of the same names."""
    monkeypatch.chdir(tmp_path)
    return lambda first, *rest: invoke(str(first).removesuffix(".py"), *rest)


def train_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Studies train in the process that runs them: as a worker does, without its start of TensorFlow."""
    from imagematch.tuning.study import WorkerJob
    from imagematch.tuning.trainer import Trainer
    from imagematch.tuning.worker import Worker

    def run_workers(study: Any, settings: Any, layout: Any, *, log: Any, stop: Any, **_options: Any) -> None:
        job = WorkerJob(settings, layout, first=len(study.get_trials(deepcopy=False)))
        trainer = Trainer(settings, layout.manifests, log)
        while not Worker(study, job, trainer, log=log, stop=stop).run():
            pass

    patch.setattr("imagematch.pipeline.study.run_workers", run_workers)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `train_in_this_process`."""
    train_in_this_process(monkeypatch)


def without_report(patch: pytest.MonkeyPatch) -> None:
    """Trainings write a word for their report, whose projections and plots take longer than a small training."""
    write = "imagematch.pipeline.training_run.write_model_report"
    patch.setattr(write, lambda path, **_metrics: path.write_text("left out", encoding="utf-8"))


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `without_report`."""
    without_report(monkeypatch)
