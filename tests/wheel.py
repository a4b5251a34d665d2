"""Checks what a build gave: `python tests/wheel.py build/dist`. All of src/ is in the wheel, and no more."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

ROOT = Path(__file__).parent.parent
NEEDED = ("imagematch/py.typed", "imagematch/serving/page/index.html", "imagematch/reporting/html/page.html.j2")


def main(folder: Path) -> None:
    """Exits with what is wrong."""
    (wheel,) = folder.glob("*.whl")
    (source,) = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(about).decode())
    own = {name for name in names if not name.startswith(about.split("/")[0])}
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "imagematch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wrong = [f"in the wheel, not in src/: {name}" for name in sorted(own - expected)]
    wrong += [f"in src/, not in the wheel: {name}" for name in sorted(expected - own)]
    wrong += [f"needed: {name}" for name in NEEDED if name not in own]
    namespace: dict[str, str] = {}
    version = next(
        line
        for line in (ROOT / "src/imagematch/__init__.py").read_text().splitlines()
        if line.startswith("__version__")
    )
    exec(version, namespace)
    if metadata["Version"] != namespace["__version__"]:
        wrong.append(f"version {metadata['Version']}, not {namespace['__version__']}")
    if "Typing :: Typed" not in metadata.get_all("Classifier", []):
        wrong.append("no classifiers")
    with tarfile.open(source) as archive:
        if not any(name.endswith("/LICENSE") for name in archive.getnames()):
            wrong.append("no LICENSE in the source distribution")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{wheel.name}: {len(own)} files, {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
