"""Every command has --json: one JSON value is all of its standard output, words are on the error stream."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from tests.conftest import Invoke

from imagematch.cli.main import app
from imagematch.config import load_train
from imagematch.data import open_dataset
from imagematch.matching import ImageMatcher
from imagematch.retrieval import Gallery

MODEL = "exp/saved_models/small"
STUDY = ("--hpt-config-filepath", "study.yaml")

CASES: dict[str, tuple[str, ...]] = {
    "init": ("--data-dir", "photos", "--overwrite"),
    "hpt": (*STUDY, "--resume"),
    "train": ("--config", "train.yaml", "--resume"),
    "evaluate": ("--model", MODEL),
    "match": ("--model", MODEL, "photos/a/0.png", "photos/b/1.png"),
    "retrieve": ("--model", MODEL, "--query", "photos", "--gallery", "photos"),
    "duplicates": ("--model", MODEL, "photos"),
    "compare": (MODEL, MODEL, "--corrections", "corrections.csv"),
    "export": ("--model", MODEL, "--format", "bundle", "--output", "bundle"),
    "upgrade": ("old",),
    "doctor": (),
    "data list": (),
    "data check": ("study.yaml",),
    "data fetch": ("flowers",),
    "study list": (),
    "study show": ("small",),
    "study compare": ("small", "small"),
    "study export": ("small", "--output", "trials.csv"),
    "study upgrade": ("exp/hpt_studies/small.db",),
    "study dashboard": (),
    "gallery create": ("new", "--model", MODEL),
    "gallery add": ("people", "photos", "--model", MODEL),
    "gallery remove": ("people", "1"),
    "gallery search": ("people", "photos/a/0.png", "--model", MODEL),
    "gallery list": ("people",),
    "gallery export": ("people", "exported"),
    "gallery rebuild": ("people", "--model", MODEL),
    "extractors list": (),
    "extractors check": ("network.onnx",),
    "features list": (),
    "features verify": (),
    "features compute": ("study.yaml",),
    "features merge": ("exp/features", "--feature-dir", "merged"),
    "features clear": ("--yes", "--feature-dir", "merged"),
    "study delete": ("small", "--yes", "--storage", "sqlite:///copy.db"),
}
ELSEWHERE = {"serve"}
"""It runs until it is ended: test_serve.py starts it."""


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield " ".join((*above, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_no_command_is_forgotten() -> None:
    assert set(COMMANDS) == {*CASES, *ELSEWHERE}
    helps = {}
    for name, command in COMMANDS.items():
        options = [one for one in command.params if "--json" in one.opts]
        assert len(options) == 1, f"{name} has no --json"
        helps[name] = options[0].help
    assert len(set(helps.values())) == 1, "the option is imported from cli/options.py"


@pytest.fixture(scope="module")
def workplace(small_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with its matcher, photos, a gallery of them and answered pairs."""
    folder = tmp_path_factory.mktemp("json") / "workplace"
    shutil.copytree(small_study, folder)
    shutil.copy(folder / "exp/hpt_studies/small/best_config.yaml", folder / "train.yaml")
    shutil.copy(folder / "exp/hpt_studies/small.db", folder / "copy.db")
    for label in "ab":
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (8, 8), 90 * number + ord(label)).save(folder / "photos" / label / f"{number}.png")
    model = ImageMatcher.load(folder / MODEL)
    with Gallery.create(str(folder / "people"), model, image_side=8) as gallery:
        gallery.add([folder / "photos/a/0.png", folder / "photos/b/1.png"], ["a", "b"])
    data = open_dataset(load_train(folder / MODEL / "config.yaml"), manifest_dir=folder / "exp/manifests")
    one, other = data.digests[:2]
    header = "digest,label,other_digest,other_label,distance,answer,new_label,answered"
    (folder / "corrections.csv").write_text(f"{header}\n{one},0,{other},0,0.5,same,,\n")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_one_json_value_is_all_of_standard_output(
    name: str, workplace: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)

    def fetched(_name: str, output: Path, *, log: Any) -> list[Path]:
        log.say("words")
        return [output]

    monkeypatch.setattr("imagematch.data.fetch_dataset", fetched)
    monkeypatch.setattr("imagematch.pipeline.forget_study", lambda *_: None)
    monkeypatch.setattr("imagematch.extractors.check_network_file", lambda *_: {"image_size": 32, "notes": []})
    monkeypatch.setattr("imagematch.matching.upgrade_matcher", lambda _model: Path("backup"))
    monkeypatch.setattr("imagematch.tuning.serve_dashboard", lambda *_, opened: opened("http://127.0.0.1/"))
    done = invoke(*name.split(), *CASES[name], "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    value = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert value, "it says something"


@pytest.mark.parametrize(("flag", "key"), [("--validate", "plan"), ("--dry-run", "estimate")])
@pytest.mark.parametrize("command", ["hpt", "train"])
def test_so_are_plans(
    command: str, flag: str, key: str, workplace: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("imagematch.pipeline.outlook._MEASURED_S", 0.0)
    done = invoke(command, *CASES[command][:2], flag, "--json")
    assert done.returncode == 0, done.stderr
    assert key in json.loads(done.stdout)


def test_quiet_is_the_result_alone_and_verbose_has_every_epoch(
    workplace: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, no_report: None
) -> None:
    monkeypatch.chdir(workplace)
    train = ("train", "--config", "train.yaml", "--set", "experiment_name=again", "--fresh")
    quiet, usual, verbose = (invoke(*train, *flag).stdout for flag in (("--quiet",), (), ("--verbose",)))
    assert quiet.splitlines()[0].split() == ["ROC", "AUC", "MAP@R", "Recall@1", "EER", "95", "%", "of", "AUC"]
    assert "epoch   1/" not in usual
    assert usual.endswith(quiet)
    assert "epoch   1/" in verbose
    assert "epoch   1/" not in quiet
    both = invoke(*train, "--quiet", "--verbose")
    assert (both.returncode, both.stderr) == (2, "error: --quiet and --verbose exclude each other; give one of them\n")
