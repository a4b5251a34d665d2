"""The pages that people read, and their blocks of code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    )
)
RUN_PAGES = {
    "README.md",
    "docs/tutorial.md",
    *(
        f"docs/howto/{name}.md"
        for name in (
            "duplicates",
            "export",
            "faces",
            "flowers",
            "gallery",
            "labels",
            "letters",
            "medical",
            "own_images",
            "products",
            "python",
            "reidentification",
            "threshold",
            "webcams",
        )
    ),
}
"""The pages whose blocks run, but for those that say why not."""

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>.*?) -->\n)?```(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A block: its language, the file that it is (`title`), why it is not run ("" if it is), and where it begins."""

    language: str
    title: str
    text: str
    not_run: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The blocks of a page; a block ends where it began, so that nothing is passed over."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(m["language"], m["title"] or "", m["text"], m["why"] or "", text.count("\n", 0, m.start()) + 1)
        for m in _BLOCK.finditer(text)
    ]
    assert text.count("\n```") == 2 * len(found), f"{page}: a block does not end, or begins in another way"
    return found
