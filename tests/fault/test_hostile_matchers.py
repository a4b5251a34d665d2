"""A matcher's folder that came by mail: opening it runs nothing, writes nothing, costs little, and fails in one line.

Every card is sealed anew: its digest is no signature. What a network can be made to do is in
`tests/unit/extractors/test_network_file.py`; here is what reaches the commands.
"""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import run_command
from tests.fault.hostile import NO_FILES, put
from tests.forging import CARD, CONFIG, HEAD, WEIGHTS, Forged, small_network
from tests.unit.matching.conftest import write_matcher

from imagematch import ImageMatcher, Match
from imagematch.cli.main import app
from imagematch.errors import ImagematchError, ModelError
from imagematch.matching.card_file import sealed

SMALL = {"extractor": "small_cnn", "image_size": 8, "engine": "openvino"}
Edit = Callable[[Forged], Any]


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_matcher(tmp_path_factory.mktemp("sound") / "pixels")


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino")
    return write_matcher(tmp_path_factory.mktemp("sound") / "small_cnn", **SMALL)


@pytest.fixture
def forged(pixels: Path, tmp_path: Path) -> Forged:
    return Forged(tmp_path / "mailed", pixels)


def refused(folder: Path, says: str | None = None) -> str:
    """The one line that the folder is refused with."""
    with pytest.raises(ModelError, match=says) as caught:
        ImageMatcher.load(folder)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 1_500
    assert line.isprintable()
    return line


def places(node: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where everything in a JSON value stands."""
    if keys:
        yield keys
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node[:2]):
            yield from places(value, (*keys, key))


WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "text": "1.1",
    "path": "../../../etc/passwd",
    "NUL": "a\0b",
    "escapes": "\x1b[31m<script>\n\u202e",
    "-1": -1,
    "0": 0,
    "10^18": 10**18,
    "10^400": 10**400,
    "1e300": 1e300,
    "-1e-300": -1e-300,
    "0.5": 0.5,
    "list": [],
    "object": {},
    "list of lists": [[[]]],
    "deep": json.loads("[" * 90 + "]" * 90),
    "long": ["x"] * 10_000,
}
HARMLESS = {
    *("provenance", "versions", "imagematch", "criterion", "name", "dataset", "seed", "calibration_error", "created"),
    *("prior", "values", "distance", "probability", "face_crop", "engine", "decoder", "test_time_flip", "split_by"),
    *("training_seed", "dataset_digest", "extractor_digest", "python", "tensorflow", "keras", "openvino", "numpy"),
    *("pillow", "trained", "distances", "far", "golden", "curve", "rates", "training_classes", "refitted"),
}
"""Keys that another value of the right kind may stand at: then the matcher opens, and gives an answer."""


def opened(folder: Path, image: np.ndarray) -> tuple[Match | None, str]:
    """What the matcher says of an image and itself, or the line it is refused with."""
    try:
        return ImageMatcher.load(folder).match(image, image), ""
    except ModelError as error:
        return None, str(error)


def test_every_value_of_the_card_may_be_any_other(pixels: Path, tmp_path: Path) -> None:
    """Refused, or opened where the value has the right kind; the command says which without a defect."""
    count = 0
    sound = json.loads((pixels / CARD).read_text())
    forged = Forged(tmp_path / "mailed", pixels)
    image = np.full((8, 8, 3), 9, np.uint8)
    for keys in places(sound):
        for name, value in WRONG.items():
            card = json.loads(json.dumps(sound))
            place = card
            for key in keys[:-1]:
                place = place[key]
            if place[keys[-1]] is value:
                continue
            place[keys[-1]] = value
            (forged.folder / CARD).write_text(json.dumps(card if keys == ("digest",) else sealed(card)))
            count += 1
            match, line = opened(forged.folder, image)
            assert line.isprintable(), (keys, name)
            assert len(line) < 1_500, (keys, name)
            if match is not None:
                assert HARMLESS.intersection(map(str, keys)), (keys, name)
                assert 0 <= match.distance <= 2, (keys, name)
                assert match.probability is None or 0 <= match.probability <= 1, (keys, name)
    assert count > 1_000


def text(change: Callable[[str], str | bytes]) -> Edit:
    """Another text in `matcher.json`, unsealed."""

    def edit(forged: Forged) -> None:
        path = forged.folder / CARD
        given = change(path.read_text())
        path.write_bytes(given.encode() if isinstance(given, str) else given)

    return edit


TEXTS: dict[str, Edit] = {
    "empty": text(lambda _: ""),
    "a list": text(lambda _: "[]"),
    "UTF-16": text(lambda card: card.encode("utf-16")),
    "not UTF-8": text(lambda _: b'{"format": 2, "name": "\xff"}'),
    "cut": text(lambda card: card[:-20]),
    "two values": text(lambda card: card + card),
    "100,000 brackets": text(lambda _: "[" * 100_000 + "]" * 100_000),
    "100,000 objects": text(lambda _: '{"a":' * 100_000 + "1" + "}" * 100_000),
    "900 brackets inside": text(lambda card: card.replace('"small"', "[" * 900 + "]" * 900)),
    "NaN": text(lambda card: card.replace("1.0", "NaN", 1)),
    "Infinity": text(lambda card: card.replace("1.0", "Infinity", 1)),
    "1e999": text(lambda card: card.replace("1.0", "1e999", 1)),
    "5,000 digits": text(lambda card: card.replace("1.0", "9" * 5_000, 1)),
    "a key twice": text(lambda card: card.replace('"golden"', '"threshold": {"distance": 9}, "golden"')),
    "2 million lists": text(lambda _: '{"format": 2, "x": [' + ",".join(["[]"] * 2_000_000) + "]}"),
    "2 million keys": text(lambda _: '{"format": 2' + "".join(f',"{n}":0' for n in range(700_000)) + "}"),
    "a golden row of 1 million": text(lambda _: '{"format": 2, "golden": [[' + ",".join(["0.5"] * 1_000_000) + "]]}"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_card_of_any_text_is_one_line(forged: Forged, name: str) -> None:
    TEXTS[name](forged)
    refused(forged.folder)


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", [CARD, CONFIG, HEAD])
def test_what_is_no_file_is_refused_at_once(forged: Forged, name: str, kind: str) -> None:
    put(kind, forged.folder / name)
    refused(forged.folder, "is not a file|are the most|holes|cannot be read|leads out|Too many levels|is missing")


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_a_network_that_is_no_file_is_refused_at_once(
    convolutional: Path, tmp_path: Path, suffix: str, kind: str
) -> None:
    forged = Forged(tmp_path / "mailed", convolutional)
    put(kind, forged.network.with_suffix(suffix))
    refused(forged.folder, "is not a file|are the most|holes|cannot be read|leads out|Too many levels")


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", [WEIGHTS, "feature_model.keras", "other"])
def test_what_is_not_needed_is_not_opened(convolutional: Path, tmp_path: Path, name: str, kind: str) -> None:
    forged = Forged(tmp_path / "mailed", convolutional)
    put(kind, forged.folder / name)
    matcher = ImageMatcher.load(forged.folder)
    if name == WEIGHTS:
        with pytest.raises(ModelError, match=r"is not a file|are the most|holes|cannot be read|leads out"):
            _ = matcher.feature_model


def test_a_link_leads_nowhere_outside(forged: Forged, tmp_path: Path) -> None:
    for name in (CARD, CONFIG, HEAD):
        path = forged.folder / name
        content = path.read_bytes()
        (tmp_path / "secret").write_bytes(content)
        path.unlink()
        path.symlink_to(tmp_path / "secret")
        refused(forged.folder, "leads out of its folder")
        path.unlink()
        path.write_bytes(content)
    ImageMatcher.load(forged.folder)


def header(forged: Forged, change: Callable[[bytes, bytes], bytes]) -> Path:
    """Writes the head's file anew from its header and its numbers."""
    path = forged.folder / HEAD
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    path.write_bytes(change(content[8 : 8 + length], content[8 + length :]))
    return forged.seal()


def with_length(text: bytes, numbers: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + numbers


HEADERS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "length 2^64 - 1": lambda text, numbers: with_length(text, numbers, 2**64 - 1),
    "length 0": lambda text, numbers: with_length(text, numbers, 0),
    "offsets that overlap": lambda text, numbers: with_length(text.replace(b"[0,", b"[4,", 1), numbers),
    "another shape": lambda text, numbers: with_length(text.replace(b"[192,16]", b"[16,192]"), numbers),
    "a pickle": lambda text, numbers: with_length(text, b"cos\nsystem\n(S'true'\ntR." + numbers[24:])[:-1],
    "cut": lambda text, numbers: with_length(text, numbers[:-4]),
    "more": lambda text, numbers: with_length(text, numbers + bytes(4)),
    "no JSON": lambda text, numbers: with_length(b"[" * len(text), numbers),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_head_that_lies_is_refused(forged: Forged, name: str) -> None:
    refused(header(forged, HEADERS[name]), "does not hold the weights")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_a_head_of_odd_numbers_gives_no_answer(forged: Forged, value: float) -> None:
    folder = header(forged, lambda text, numbers: with_length(text, np.full(len(numbers) // 4, value, "<f4").tobytes()))
    with np.errstate(all="ignore"):
        refused(folder, "no longer gives its own embeddings")


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_network_of_odd_numbers_gives_no_answer(convolutional: Path, tmp_path: Path, value: float) -> None:
    forged = Forged(tmp_path / "mailed", convolutional)
    weights = np.frombuffer(forged.network.with_suffix(".bin").read_bytes(), np.uint8).copy()
    weights[1024 : 1024 + 4096] = np.frombuffer(np.full(1024, value, "<f4").tobytes(), np.uint8)
    with np.errstate(all="ignore"):
        refused(forged.put_network(forged.network.read_bytes(), weights.tobytes()))


SHAPES: dict[str, tuple[Any, ...]] = {
    "image_size 2049": (2049, "embedding", "image_size"),
    "65,536 units": ([65_536] * 64, "embedding", "head", "units"),
    "65 blocks": ([1] * 65, "embedding", "head", "units"),
    "whitening to 65,536": (65_536, "embedding", "head", "whitening"),
    "embedding_dim 65,536": (65_536, "embedding", "head", "embedding_dim"),
    "16,777,216 features": (1 << 24, "embedding", "extractors", 0, "feature_dim"),
    "another extractor's name": ("efficientnet", "embedding", "extractors", 0, "name"),
    "a path": ("/etc/passwd", "embedding", "extractors", 0, "name"),
    "a digest of dots": ("..", "embedding", "extractors", 0, "network"),
    "no network": (None, "embedding", "extractors", 0, "network"),
    "another file": ({"../x": "0" * 32}, "files"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_claims_are_checked_before_a_weight_is_read(convolutional: Path, tmp_path: Path, name: str) -> None:
    value, *keys = SHAPES[name]
    forged = Forged(tmp_path / "mailed", convolutional)
    forged.set(value, *keys)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(forged.folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_another_network_is_not_taken_for_the_one_that_was_saved(convolutional: Path, tmp_path: Path) -> None:
    forged = Forged(tmp_path / "mailed", convolutional)
    digest = forged.network.stem.removeprefix("network-")
    for suffix, content in zip((".xml", ".bin"), small_network(lambda x: x, tmp_path), strict=True):
        forged.network.with_suffix(suffix).write_bytes(content.encode() if isinstance(content, str) else content)
    refused(forged.folder, "was changed since it was saved")
    assert digest in refused(forged.folder)
    other = Forged(tmp_path / "other", convolutional)
    other.put_network(*small_network(lambda x: x, tmp_path))
    refused(other.folder, "its features are not 256 numbers")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two images, to run commands in."""
    folder = tmp_path / "user"
    (folder / "images" / "a").mkdir(parents=True)
    (folder / ".ssh").mkdir()
    (folder / ".ssh" / "id").write_text("key")
    for number in range(4):
        Image.new("RGB", (9, 9), (number * 60, 10, 20)).save(folder / "images" / "a" / f"{number}.png")
    monkeypatch.chdir(folder)
    return folder


def command(*arguments: Any) -> tuple[int, str]:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, ImagematchError):
        assert len(str(done.exception).splitlines()) == 1
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_mailed_configuration_says_nowhere_where_anything_is_written(forged: Forged, user: Path) -> None:
    hostile = {"feature_dir": user / ".ssh", "data_dir": user / ".ssh", "storage": f"sqlite:///{user}/.ssh/db"}
    lines = [f"{key}: {value}\n" for key, value in hostile.items()]
    (forged.folder / CONFIG).write_text("experiment_name: ../../.ssh/x\ndataset: folder\n" + "".join(lines))
    forged.seal()
    before = files(user)
    for arguments in (
        ("match", "images/a/0.png", "images/a/1.png"),
        ("duplicates", "images"),
        ("retrieve", "--query", "images", "--gallery", "images", "--output", "out.json"),
        ("evaluate",),
        ("export", "--format", "projector", "--output", "out"),
    ):
        name, *rest = arguments
        command(name, "--model", forged.folder, *rest)
    now = files(user)
    assert {name for name in now if not name.startswith(("exp/", "out"))} == set(before)
    assert all(now[name] == content for name, content in before.items())
    assert sorted(path.name for path in forged.folder.parent.iterdir()) == ["mailed", "user"]


COMMANDS: dict[str, tuple[str, ...]] = {
    "evaluate": (),
    "retrieve": ("--query", "images", "--gallery", "images", "--output", "out.json"),
    "duplicates": ("images",),
    "export": ("--format", "projector", "--output", "out"),
}
ODD = ("null", "escapes", "10^18", "list of lists", "-1e-300", "path", "long")


def test_every_command_ends_in_one_line_on_every_forged_card(pixels: Path, user: Path, tmp_path: Path) -> None:
    """One of the odd values at each place of the card, texts and headers; a matcher that opens may answer."""
    sound = json.loads((pixels / CARD).read_text())
    forged = Forged(tmp_path / "mailed", pixels)
    answered = 0

    def tried(*what: Any) -> None:
        nonlocal answered
        match, _ = opened(forged.folder, np.full((8, 8, 3), 9, np.uint8))
        answered += match is not None
        for name, rest in COMMANDS.items():
            if match is not None and (answered > 5 or name in ("evaluate", "export")):  # costs seconds, not a moment
                continue
            code, line = command(name, "--model", forged.folder, *rest)
            assert code in ((0, 2, 3, 4, 5) if match is not None else (5,)), (what, name, line)
            assert match is not None or line.isprintable(), (what, name)

    for number, keys in enumerate(places(sound)):
        name, card = ODD[number % len(ODD)], json.loads(json.dumps(sound))
        place = card
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = WRONG[name]
        (forged.folder / CARD).write_text(json.dumps(card if keys == ("digest",) else sealed(card)))
        tried(keys, name)
    for name in ("empty", "a list", "not UTF-8", "cut", "900 brackets inside", "NaN", "5,000 digits", "a key twice"):
        (forged.folder / CARD).write_text((pixels / CARD).read_text())
        TEXTS[name](forged)
        tried(name)
    (forged.folder / CARD).write_text((pixels / CARD).read_text())
    for name, change in HEADERS.items():
        (forged.folder / HEAD).write_bytes((pixels / HEAD).read_bytes())
        header(forged, change)
        tried(name)
    assert {path.name for path in user.iterdir()} <= {"images", ".ssh", "exp", "out", "out.json"}
    assert files(user / ".ssh") == {"id": b"key"}


@pytest.mark.parametrize("name", ["weights: {mailed}/evil.h5", "feature_extractor: kerashub:{mailed}/evil"])
def test_a_mailed_configuration_has_no_file_opened(
    convolutional: Path, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The baseline of a trained matcher is the network that it began with: a Keras archive, or HDF5."""
    monkeypatch.setattr("imagematch.pipeline.evaluate.choose_extractor", lambda _: pytest.fail("opened"))
    forged = Forged(tmp_path / "mailed", convolutional)
    forged.set(True, "embedding", "trained")
    fields = {"experiment_name": "x", "dataset": "digits", "feature_extractor": "small_cnn", "image_size": 8}
    fields |= {"weights": "random", "trainable": True}
    key, value = name.format(mailed=forged.folder).split(": ")
    fields[key] = value
    (forged.folder / CONFIG).write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    forged.seal()
    code, line = command("evaluate", "--model", forged.folder)
    assert (code, "only for matchers that were trained here" in line) == (5, True), line
    (user / "pairs.csv").write_text("images/a/0.png,images/a/1.png,1\nimages/a/0.png,images/a/2.png,0\n")
    code, line = command("evaluate", "--model", forged.folder, "--pairs", "pairs.csv", "--data-dir", ".")
    assert (code, "only for matchers that were trained here" in line) == (5, True), line


def test_a_link_among_the_indexes_has_nothing_written_elsewhere(forged: Forged, user: Path) -> None:
    pytest.importorskip("faiss")
    search = ("retrieve", "--model", forged.folder, "--query", "images", "--gallery", "images", "--output", "out.json")
    (forged.folder / "indexes").symlink_to(user / ".ssh")
    code, line = command(*search, "--index", "hnsw")
    assert (code, "leads out of the model's folder" in line) == (5, True), line
    (forged.folder / "indexes").unlink()
    assert command(*search, "--index", "hnsw")[0] == 0
    (place,) = (path for path in (forged.folder / "indexes").iterdir() if path.is_dir())
    lock = place.with_name(f".{place.name}.lock")
    for linked, target in ((lock, user / ".ssh" / "made"), (place.with_name(f".{place.name}.new"), user / ".ssh")):
        for path in (forged.folder / "indexes").glob("*"):
            if path.is_dir() and not path.is_symlink():
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()
        linked.unlink(missing_ok=True)
        linked.symlink_to(target)
        assert command(*search, "--index", "hnsw")[0] in (0, 4)
        linked.unlink(missing_ok=True)
    assert files(user / ".ssh") == {"id": b"key"}


@pytest.mark.parametrize("kind", [*NO_FILES, "text"])
def test_a_history_that_is_no_file_is_left_out(forged: Forged, kind: str) -> None:
    from imagematch.pipeline.experiments import read_history

    path = forged.folder / "history.csv"
    if kind == "text":
        path.write_text("epoch,loss\n" + "1,\x1b[31m\n" * 1_000)
    else:
        put(kind, path)
    assert not read_history(forged.folder)


COST = """
import resource, sys
from pathlib import Path
from imagematch import ImageMatcher
from imagematch.errors import ModelError
import numpy as np
try:
    matcher = ImageMatcher.load(sys.argv[1])
    matcher.match(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8, 3), np.uint8))
    print("opened")
except ModelError as error:
    print(error)
assert not {"tensorflow", "keras", "h5py", "torch", "pickle5"} & set(sys.modules), "imported"
used = resource.getrusage(resource.RUSAGE_SELF)
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(int(peak) >> 10, used.ru_utime + used.ru_stime)
"""


def cost(folder: Path) -> tuple[str, int, float]:
    """What a process of its own says of a folder, its memory in MB and its processor time in seconds."""
    done = subprocess.run(
        [sys.executable, "-c", COST, folder], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    line, used = done.stdout.splitlines()
    return line, int(used.split()[0]), float(used.split()[1])


COSTLY: dict[str, Edit] = {
    "2 million lists": TEXTS["2 million lists"],
    "700,000 keys": TEXTS["2 million keys"],
    "a golden row of 1 million": TEXTS["a golden row of 1 million"],
    "a sparse card": lambda forged: put("sparse", forged.folder / CARD),
    "a sparse head": lambda forged: put("sparse", forged.folder / HEAD),
    "a sparse network": lambda forged: put("sparse", forged.network.with_suffix(".bin")),
    "a sparse description": lambda forged: put("sparse", forged.network),
    "a device": lambda forged: put("device", forged.network),
    "250,000 elements": lambda forged: forged.put_network(
        forged.network.read_text().replace("</layers>", "</layers>" + "<a/>" * 240_000),
        forged.network.with_suffix(".bin").read_bytes(),
    ),
    "240,000 attributes": lambda forged: forged.put_network(
        forged.network.read_text().replace("<net ", "<net " + " ".join(f'a{n}=""' for n in range(230_000)) + " "),
        forged.network.with_suffix(".bin").read_bytes(),
    ),
    "120,000 deep": lambda forged: forged.put_network(
        forged.network.read_text().replace("</layers>", "</layers>" + "<a>" * 100_000 + "</a>" * 100_000),
        forged.network.with_suffix(".bin").read_bytes(),
    ),
}


def test_none_costs_much(convolutional: Path, tmp_path: Path) -> None:
    line, usual_mb, usual_s = cost(convolutional)
    assert line == "opened"
    for name, edit in COSTLY.items():
        forged = Forged(tmp_path / name, convolutional)
        edit(forged)
        line, used_mb, used_s = cost(forged.folder)
        assert used_mb - usual_mb < 200, (name, line, used_mb - usual_mb)
        assert used_s - usual_s < 5, (name, line, used_s - usual_s)


def test_a_small_network_of_large_images_costs_what_they_cost(convolutional: Path, tmp_path: Path) -> None:
    sound = write_matcher(tmp_path / "sound", **{**SMALL, "image_size": 1_024})
    forged = Forged(tmp_path / "mailed", convolutional)
    forged.set(1_024, "embedding", "image_size")
    (line, usual_mb, usual_s), (refusal, used_mb, used_s) = cost(sound), cost(forged.folder)
    assert line == "opened"
    assert "no longer gives its own embeddings" in refusal
    assert used_mb - usual_mb < 200
    assert used_s - usual_s < 5


def test_the_command_ends_with_5_and_one_line(forged: Forged, tmp_path: Path) -> None:
    forged.set("\x1b[31m<script>", "name")
    Image.new("L", (9, 9), 100).save(tmp_path / "a.png")
    done = run_command("-m", "imagematch", "match", "--model", forged.folder, "a.png", "a.png", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (5, "")
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    assert "defect" not in done.stderr


def test_a_folder_that_is_replaced_while_it_is_open_keeps_answering(pixels: Path, tmp_path: Path) -> None:
    forged = Forged(tmp_path / "mailed", pixels)
    matcher = ImageMatcher.load(forged.folder)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    expected = matcher.embed(images)
    for path in forged.folder.iterdir():
        path.unlink()
    forged.folder.rmdir()
    np.testing.assert_array_equal(matcher.embed(images), expected)
    with pytest.raises(ModelError, match="no such model folder"):
        _ = matcher.feature_model
