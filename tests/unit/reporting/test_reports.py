from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import optuna
import pytest

from imagematch.errors import StudyError
from imagematch.evaluation import Threshold, fit_probability, pair_distances
from imagematch.reporting import write_model_report, write_study_report

from .samples import HOSTILE, make_history, make_metrics, make_view

THRESHOLD = Threshold(0.9, "balanced_accuracy", "calibration")
CONFIG = "experiment_name: x\ndataset: folder\ndata_dir: </code><script>alert(5)</script>\n"


class Outline(HTMLParser):
    """What a browser would see: tags with attributes, and the text outside scripts and styles."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.shown = ""
        self._raw = ""
        self.feed(code)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._raw = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._raw = ""

    def handle_data(self, data):
        if not self._raw:
            self.shown += data


def write(path, view, baseline=None, **changes):
    given = {
        "name": "faces",
        "config": CONFIG,
        "metrics": make_metrics(view, baseline or view, THRESHOLD),
        "history": make_history(),
        "test": view,
        "baseline": baseline or view,
        "threshold": THRESHOLD,
    }
    if "probability" not in changes:
        given["probability"] = fit_probability(pair_distances(view.embeddings, view.labels))
    write_model_report(path, **(given | changes))
    return path.read_text(encoding="utf-8")


def unpacked(code: str, name: str) -> str:
    """A text of the page as its script unpacks it."""
    size, text = re.search(rf'id="{name}" data-bytes="([0-9]+)">([^<]*)</script>', code).groups()
    assert not {"\0", "\r"} & set(text), "HTML would replace them"
    bits = "".join(f"{ord(one) % 128:07b}" for one in text)
    return zlib.decompress(bytes(int(bits[8 * at : 8 * at + 8], 2) for at in range(int(size)))).decode("utf-8")


def check_self_contained(code: str, scripts: int) -> Outline:
    page = Outline(code)
    assert len(re.sub('data:image/[^"]*', "", code)) < 2e6, "without its images"
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#", "../")), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag not in ("link", "iframe", "object", "embed", "form", "a") or attributes["href"][0] in "#."
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert not re.search("https?:", policy)
    assert "plotly.js v" in unpacked(code, "plotly")
    assert code.count('id="plotly"') == 1, "the library is embedded once"
    assert sum(tag == "script" and a.get("type") is None for tag, a in page.tags) == scripts
    return page


def test_a_models_report_holds_what_matters_and_needs_no_network(tmp_path):
    view, baseline = make_view(), make_view(noise=3.0, seed=1)
    page = check_self_contained(write(tmp_path / "report.html", view, baseline), scripts=2)
    for text in (
        "On new images of classes that it has seen it recognises",
        "times fewer errors than the frozen network alone",
        "a rough estimate, from 6 classes (30 or more can be trusted).",
        "ROC AUC",
        "baseline",
        "95 %",
        "chosen by balanced accuracy on the calibration split",
        "seen in training",
        "not to be trusted below 30",
        "Class against class",
        "Different classes, yet under the threshold",
        "Queries and their neighbours",
        "Measure on 30 classes or more",
        "Active: the share of the pairs or triplets of a batch that still add to the loss",
        "the best by val_map_at_r",
    ):
        assert text in page.shown, text
    assert sum(tag == "img" for tag, _ in page.tags) >= 24


def test_hostile_names_do_nothing_anywhere(tmp_path):
    view = make_view(images=27, classes=9, names=HOSTILE)
    code = write(tmp_path / "report.html", view, name="</title><script>alert(6)</script>")
    page = check_self_contained(code, scripts=2)
    assert "<script>alert(1)</script>" in page.shown, "the table of classes shows the name as text"
    plots = json.loads(unpacked(code, "plots"))
    assert len(plots) >= 5
    names = [trace["name"] for plot in plots for trace in plot["data"]]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in names, "plotly interprets tags"
    assert not [name for name in names if "<" in name]


def test_without_a_test_split_the_report_says_so(tmp_path, view):
    figures = make_metrics(view, view, THRESHOLD)["test"]
    metrics = {"validation": figures, "test": None, "baseline": {"test": None}}
    code = write(tmp_path / "r.html", view, metrics=metrics, test=None, baseline=None, history=[], probability=None)
    shown = Outline(code).shown
    assert "There is no test split" in shown
    assert "no metrics of a test split" in shown


def test_remarks_are_shown_as_warnings(tmp_path, view):
    metrics = make_metrics(view, view, THRESHOLD)
    metrics["test"]["remarks"] = ["other <data>"]
    assert '<p class="warning" role="note">other &lt;data&gt;</p>' in write(tmp_path / "r", view, metrics=metrics)


@pytest.mark.parametrize(("chosen_on", "told"), [("calibration", "selected nothing else"), ("test", "too good")])
def test_what_the_threshold_was_chosen_on_decides_the_trust_in_it(tmp_path, view, chosen_on, told):
    threshold = replace(THRESHOLD, chosen_on=chosen_on)
    assert told in Outline(write(tmp_path / "r", view, threshold=threshold)).shown


def test_a_probability_is_judged_where_it_was_fitted_and_here(tmp_path, view):
    metrics = make_metrics(view, view, THRESHOLD)
    metrics["test"]["probability"] = {"fitted_error": 0.0123, "calibration_error": 0.0456}
    shown = Outline(write(tmp_path / "r", view, metrics=metrics)).shown
    assert "calibration error 0.0123 there, 0.0456 on the test split." in shown


def test_a_history_without_the_objective_is_shown_without_a_best_epoch(tmp_path, view):
    shown = Outline(write(tmp_path / "r", view, history=[{"epoch": 1, "loss": 0.5}])).shown
    assert "1 epoch." in shown


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ('objective: "val_loss"  # as written by hand\n', "the best by val_loss"),
        ("{experiment_name: x, objective: val_loss}\n", "the best by val_loss"),
        ("experiment_name: 'objective: val_loss'\n", "the best by val_map_at_r"),
        ("objective: [broken\n", "the best by val_map_at_r"),
        ("", "the best by val_map_at_r"),
    ],
)
def test_the_objective_is_that_of_the_configuration(tmp_path, view, config, shown):
    assert shown in Outline(write(tmp_path / "r", view, config=config)).shown


def test_a_split_of_one_class_still_gives_a_report(tmp_path):
    view = make_view(images=5, classes=1)
    shown = Outline(write(tmp_path / "r.html", view, probability=None)).shown
    assert "no impostor pair" in shown


def test_a_studys_report_holds_metrics_tables_and_reasons(tmp_path, study, view):
    write_study_report(
        tmp_path / "report.html", study, make_metrics(view, view, THRESHOLD), matcher_report="../x #1/report.html"
    )
    code = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = check_self_contained(code, scripts=1)
    for text in (
        "val_map_at_r",
        "failed: the loss is not a number",
        "duplicates trial 0",
        "digits, 60 images",
        "used by 12 trials",
        "The trained winner: On new images",
    ):
        assert text in page.shown, text
    assert ("a", {"href": "../x%20%231/report.html"}) in page.tags
    lead = code.split('<p class="lead">')[1]
    assert lead.startswith("Winner: trial "), "the first line names the winner"
    assert code.count('class="plot"') == 10
    assert re.findall("min-width:[0-9]+px", code), "panels and upright axes are not squeezed on a narrow screen"


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "minimize"]])
def test_a_study_without_finished_trials_gives_a_report_that_says_so(tmp_path, directions):
    empty = optuna.create_study(study_name="<b>empty</b>", directions=directions)
    empty.ask()
    write_study_report(tmp_path / "report.html", empty)
    shown = Outline((tmp_path / "report.html").read_text(encoding="utf-8")).shown
    assert "No trial is finished" in shown
    assert "<b>empty</b>" in shown


def test_a_folder_that_cannot_be_written_is_named(tmp_path, study):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="file"):
        write_study_report(tmp_path / "file" / "report.html", study)


@pytest.mark.parametrize("finished", [1, 2])
@pytest.mark.parametrize("state", [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL])
def test_a_study_of_one_or_two_trials_says_what_can_be_said(tmp_path, finished, state):
    small = optuna.create_study(study_name="small")
    complete = state == optuna.trial.TrialState.COMPLETE
    for number in range(finished):
        trial = small.ask()
        trial.suggest_float("x", 0, 1)
        small.tell(trial, number if complete else None, state=state)
    write_study_report(tmp_path / "report.html", small)
    shown = Outline((tmp_path / "report.html").read_text(encoding="utf-8")).shown
    lead = "Winner: trial 0 (x " if complete else f"Trials: {finished} failed. No trial is finished yet"
    assert lead in shown
    count = finished if complete else 0
    assert f"{count} finished trial{'' if count == 1 else 's'} cannot tell which setting mattered" in shown
    assert ("The best of" if complete else "Finish a trial: raise n_trials") in shown


def test_a_matcher_and_its_study_link_to_each_other_only_where_there_is_one(tmp_path, view):
    linked = Outline(write(tmp_path / "a", view, study_report="../../hpt_studies/x/report.html"))
    assert ("a", {"href": "../../hpt_studies/x/report.html"}) in linked.tags
    alone = Outline(write(tmp_path / "b", view))
    assert not [attributes for tag, attributes in alone.tags if tag == "a" and attributes["href"][0] != "#"]
    assert "One configuration was trained" in alone.shown


def test_the_suspect_labels_stand_in_the_report_and_in_the_table_beside_it(tmp_path):
    view = make_view(noise=0.05)
    labels = view.labels.copy()
    labels[7] = 2
    code = write(tmp_path / "report.html", replace(view, labels=labels), others=view)
    assert "1 label may be wrong" in Outline(code).shown
    assert "class 2 → class 1?" in Outline(code).shown
    assert (tmp_path / "suspect_labels.csv").read_text().splitlines()[1:] == ["class 1/7.png,class 2,class 1,1.0,"]


def test_what_the_slider_moves_is_there_at_the_matchers_own_threshold_without_a_script(tmp_path, view):
    code = write(tmp_path / "report.html", view)
    confusion = make_metrics(view, view, THRESHOLD)["test"]["threshold"]["confusion"]
    for name, count in confusion.items():
        assert re.search(f'data-rate="{name}">{count:,}<', code), name
    hidden = re.findall(r'<figure class="pair" data-distance="([0-9.e-]+)" data-labels="[0-9 ]+" hidden>', code)
    shown = re.findall(r'<figure class="pair" data-distance="([0-9.e-]+)" data-labels="[0-9 ]+">', code)
    assert hidden
    assert shown
    false_matches = code[code.index("<h3>False matches") : code.index("<h3>Misses")]
    distances = re.findall(r'data-distance="([0-9.e-]+)" data-labels="[0-9 ]+"( hidden)?', false_matches)
    assert all((float(distance) < 0.9) == (not hides) for distance, hides in distances)
