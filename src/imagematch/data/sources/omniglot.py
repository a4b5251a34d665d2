"""omniglot: handwritten characters of 50 alphabets, 20 drawings each, in the official layout.

`images_background/ALPHABET/CHARACTER/*.png`, `images_evaluation/ALPHABET/CHARACTER/*.png`; one of them is enough.

Source: B. Lake, R. Salakhutdinov, J. Tenenbaum, Human-level concept learning through probabilistic program
induction, Science 2015.
"""

from __future__ import annotations

from pathlib import Path

from imagematch.data.sources.listing import Entry, FolderBased, Listing
from imagematch.data.sources.walking import image_files
from imagematch.errors import DataError

_PARTS = {"images_background": "train", "images_evaluation": "test"}


class OmniglotSource(FolderBased):
    """A class is a character, "ALPHABET/CHARACTER"; class-disjoint splits keep alphabets whole.

    Its own split, where both parts are there, is the official one: background trains, evaluation tests.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path | None) -> None:
        super().__init__(root, "omniglot")

    def listing(self) -> Listing:
        """See Source."""
        parts = [part for part in _PARTS if (self.root / part).is_dir()]
        if not parts:
            raise DataError(
                f"has neither {' nor '.join(_PARTS)}",
                where=str(self.root),
                do="set data_dir to the folder that holds them, or use `dataset: folder`",
            )
        entries = []
        for part in parts:
            for file in image_files(self.root / part):
                label = file.path.rpartition("/")[0]
                alphabet, slash, _ = label.partition("/")
                if slash:
                    split = _PARTS[part] if len(parts) == len(_PARTS) else ""
                    entries.append(Entry(f"{part}/{file.path}", label, split, alphabet, file.size, file.mtime_ns))
        if not entries:
            raise DataError(
                "no ALPHABET/CHARACTER folders with images", where=str(self.root), do="unpack Omniglot again"
            )
        return Listing(tuple(sorted(entries)))
