"""Hostile files: what each gets, and what refusing it costs.

Every file is made anew and given to the command that a user would give it to, in a process of its own; beside it stands
the same command on a sound file. `growth_mb` is the peak of memory above that one's, `seconds` are of processor time.
Asked are one line, an exit code of its kind, under 200 MB and under 5 s.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MB = 1 << 20
MEASURED = """
import json, resource, sys
from pathlib import Path
from imagematch.cli.main import app
from imagematch.cli.running import exit_code
code = exit_code(app, sys.argv[2:], False)
sys.stdout.flush()
own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
seconds = sum(one.ru_utime + one.ru_stime for one in (own, others))
Path(sys.argv[1]).write_text(json.dumps([code, max(peak, others.ru_maxrss) / 1024, seconds]))
sys.stderr.flush()
import os; os._exit(code)
"""
Make = Callable[[Path], object]


def card(change: Callable[[dict[str, Any]], object]) -> Make:
    """A matcher whose card was changed, with a digest that fits."""
    from imagematch.matching.card_file import sealed

    def make(folder: Path) -> None:
        values = json.loads((folder / "matcher.json").read_text())
        change(values)
        (folder / "matcher.json").write_text(json.dumps(sealed(values)))

    return make


def text(name: str, content: str | bytes) -> Make:
    """A file with this content."""
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def instead(name: str, put: Callable[[Path], object]) -> Make:
    """Something else in a file's place."""

    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        put(folder / name)

    return make


def sparse(path: Path) -> None:
    """A file of which nothing was ever written."""
    with path.open("wb") as file:
        file.truncate(8 << 30)


def parquet(folder: Path) -> None:
    """A text of a megabyte, once in the file and in a million rows."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), ["x" * MB])
    (folder / "table/t.csv").unlink()
    write_table(pa.table({"path": rows, "label": rows}), folder / "table/t.parquet", write_statistics=False)


def png(folder: Path) -> None:
    """9990 x 9990 pixels with an alpha channel, packed to 390 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = 9990
    head, packer = side.to_bytes(4, "big") * 2 + b"\x08\x06\0\0\0", zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 4 * side)) for _ in range(side)) + packer.flush()
    (folder / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def database(statement: str) -> Make:
    """A study's database, in which a statement was run."""

    def make(folder: Path) -> None:
        connection = sqlite3.connect(folder / "s.db")
        connection.executescript(statement)
        connection.close()

    return make


ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT"
MATCH, CHECK = ["match", "--model", "M", "M/a.png", "M/b.png"], ["data", "check", "M/c.yaml"]
VALIDATE, LIST = ["train", "--config", "M/c.yaml", "--validate"], ["study", "list", "--storage", "sqlite:///M/s.db"]
CASES: dict[str, tuple[list[str], Make]] = {
    "card: a digest that is a path": (
        MATCH,
        card(lambda one: one["embedding"]["extractors"][0].update(network="/home/user")),
    ),
    "card: 4,000,000 units": (MATCH, card(lambda one: one["embedding"]["head"].update(units=[4_000_000]))),
    "card: images of 4096 px": (MATCH, card(lambda one: one["embedding"].update(image_size=4096))),
    "card: a threshold that is no number": (MATCH, card(lambda one: one["threshold"].update(distance="1.1"))),
    "card: 2 million lists": (MATCH, text("matcher.json", "[" + "[]," * 2_000_000 + "[]]")),
    "card: 200,000 deep": (MATCH, text("matcher.json", "[" * 200_000)),
    "card: 8 GB of holes": (MATCH, instead("matcher.json", sparse)),
    "card: a named pipe": (MATCH, instead("matcher.json", os.mkfifo)),
    "card: a link to /dev/zero": (MATCH, instead("matcher.json", lambda path: path.symlink_to("/dev/zero"))),
    "weights: a header that lies": (MATCH, text("head.safetensors", (1 << 40).to_bytes(8, "little") + b"{}")),
    "weights: 8 GB of holes": (MATCH, instead("head.safetensors", sparse)),
    "image: 390 kB of 9990 x 9990 RGBA": (MATCH, png),
    "image: a named pipe": (MATCH, instead("a.png", os.mkfifo)),
    "configuration: 90,000 keys": (VALIDATE, text("c.yaml", "".join(f"k{n}: 1\n" for n in range(90_000)))),
    "configuration: an alias in an alias": (
        VALIDATE,
        text("c.yaml", "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))),
    ),
    "configuration: a Python object": (VALIDATE, text("c.yaml", "a: !!python/object/apply:os.system [true]\n")),
    "table: a line of 200 MB": (CHECK, text("table/t.csv", b"," * (200 * MB))),
    "table: a quotation mark that never ends": (CHECK, text("table/t.csv", b"path,label\n" + b'"\n",' * (40 * MB))),
    "table: Parquet of 2 TB": (CHECK, parquet),
    "database: a view without end": (LIST, database(f"DROP TABLE studies; CREATE VIEW studies AS {ENDLESS} n FROM t")),
    "database: a text of 200 MB": (
        LIST,
        database("UPDATE studies SET study_name = printf('%.*c', 200000000, 'x')"),
    ),
    "database: 8 GB of holes": (LIST, instead("s.db", sparse)),
}
"""Kind -> the command, and what is put in the folder `M`."""


def make_sound(folder: Path) -> None:
    """A matcher, two images, a table of them, a configuration, a study."""
    import optuna

    from imagematch.config import parse_train
    from imagematch.files import Layout
    from imagematch.pipeline import run_training

    values = {"dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "epochs": 1}
    run_training(parse_train({"experiment_name": "one", **values}), Layout(folder / "exp"))
    model = (folder / "exp/saved_models/one").rename(folder / "M")
    for number, name in enumerate("ab"):
        noise = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(noise).save(model / f"{name}.png")
    (model / "table").mkdir()
    (model / "table/t.csv").write_text("path,label\n../a.png,x\n../b.png,x\n")
    (model / "c.yaml").write_text("experiment_name: a\ndataset: csv\ndata_dir: M/table\nsplit_by: image\n")
    optuna.create_study(storage=f"sqlite:///{model}/s.db", study_name="sound")


def measured(command: list[str], folder: Path) -> tuple[str, int, float, float]:
    """The last line, the exit code, MB at most, and seconds."""
    figures = folder / "figures.json"
    figures.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(figures), *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    lines = (done.stderr if done.returncode else done.stdout).splitlines() or [""]
    code, mb, seconds = json.loads(figures.read_text()) if figures.exists() else (done.returncode, np.nan, np.nan)
    return f"{len(lines)} lines" if len(lines) > 1 and code else lines[-1], code, mb, seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", default="", help="cases whose kind has this in it")
    options = parser.parse_args()
    rows, usual = [], dict[str, tuple[str, int, float, float]]()
    with tempfile.TemporaryDirectory() as temporary:
        sound = Path(temporary) / "sound"
        sound.mkdir()
        make_sound(sound)
        for number, (kind, (command, make)) in enumerate(CASES.items()):
            if options.only not in kind:
                continue
            if command[0] not in usual:
                usual[command[0]] = measured(command, sound)
            folder = Path(temporary) / str(number)
            subprocess.run(["cp", "-r", str(sound), str(folder)], check=True)  # noqa: S607
            make(folder / "M")
            line, code, mb, seconds = measured(command, folder)
            line = line.replace(str(folder), "").removeprefix("error: ")
            rows.append((kind, code, mb - usual[command[0]][2], seconds - usual[command[0]][3], line))
            if not options.json:
                print(f"| {kind} | {code} | {rows[-1][2]:+.0f} | {rows[-1][3]:+.1f} | {line[:110]} |", flush=True)
    if options.json:
        ratios = {f"{kind}: growth_mb": round(mb, 1) for kind, _, mb, _, _ in rows}
        seconds = {kind: round(taken, 2) for kind, _, _, taken, _ in rows}
        print(json.dumps({"name": "hostile_files", "ratios": ratios, "seconds": seconds}))
    else:
        for command, (line, code, mb, taken) in usual.items():
            print(f"sound: {command}: code {code}, {mb:.0f} MB, {taken:.1f} s: {line[:80]}")


if __name__ == "__main__":
    main()
