"""omniglot: handwritten characters of 50 alphabets, 20 drawings each, in the official layout.

`images_background/ALPHABET/CHARACTER/*.png`, `images_evaluation/ALPHABET/CHARACTER/*.png`; one of them is enough.

Source: B. Lake, R. Salakhutdinov, J. Tenenbaum, Human-level concept learning through probabilistic program
induction, Science 2015.
"""

from __future__ import annotations

from imagematch.errors import DataError
from imagematch.sources.downloads import MB, Archive, Download
from imagematch.sources.listing import Listing, Source, register_source
from imagematch.sources.scanning import image_files

_PARTS = {"images_background": "train", "images_evaluation": "test"}


_PLACE = "https://github.com/brendenlake/omniglot/raw/master/python"
# The SHA-256s and sizes are those of TensorFlow Datasets (tensorflow_datasets/url_checksums/omniglot.txt).
_DOWNLOAD = Download(
    "omniglot",
    (
        Archive(
            f"{_PLACE}/images_background.zip",
            9_464_212,
            "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
            "sha256",
            "images_background",
            200 * MB,
            50_000,
        ),
        Archive(
            f"{_PLACE}/images_evaluation.zip",
            6_462_886,
            "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
            "sha256",
            "images_evaluation",
            200 * MB,
            50_000,
        ),
    ),
    "MIT licence, B. Lake, R. Salakhutdinov and J. Tenenbaum",
)


@register_source(
    "omniglot",
    "Omniglot: 1,623 handwritten characters x 20 drawings, 105 px; class-disjoint by alphabet",
    folders=("data/omniglot",),
    download=_DOWNLOAD,
)
class OmniglotSource(Source):
    """A class is a character, "ALPHABET/CHARACTER"; class-disjoint splits keep alphabets whole.

    Its own split, where both parts are there, is the official one: background trains, evaluation tests.
    """

    def listing(self) -> Listing:
        """See Source."""
        parts = [part for part in _PARTS if (self.folder / part).is_dir()]
        if not parts:
            raise DataError(
                f"has neither {' nor '.join(_PARTS)}",
                where=str(self.folder),
                do="set data_dir to the folder that holds them, or use `dataset: folder`",
            )
        rows = []
        for part in parts:
            split = _PARTS[part] if len(parts) == len(_PARTS) else ""
            for row in image_files(self.folder / part):
                label = row.path.rpartition("/")[0]
                alphabet, slash, _ = label.partition("/")
                if slash:
                    path = f"{part}/{row.path}"
                    rows.append(row._replace(path=path, label=label, split=split, superclass=alphabet))
        if not rows:
            raise DataError(
                "no ALPHABET/CHARACTER folders with images", where=str(self.folder), do="unpack Omniglot again"
            )
        return Listing(tuple(sorted(rows)))
