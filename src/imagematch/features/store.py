"""The feature store: the features of every image by every network, computed once, cached, shared between processes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.data import AUGMENTATION_VERSION, DECODER_VERSION
from imagematch.errors import ModelError, StudyError
from imagematch.events import SILENT, Advance, RunLog
from imagematch.extractors import Concatenation, Engine, EngineChoice, Network, SavedExtractor, choose_engine
from imagematch.features.arrays import ConcatenatedFeatures, FeatureArray
from imagematch.features.computation import Computation
from imagematch.features.entry import ENTRY_FORMAT, FeatureEntry, entry_name, read_facts
from imagematch.features.entry_index import digest_table
from imagematch.features.extraction import MIRROR, ImageRows, decoder, extract
from imagematch.file_locks import BusyError, locked
from imagematch.files import is_file, write_text
from imagematch.reading import KB, read_file
from imagematch.registry import short_name

_DTYPES = {"float32": "float32", "bfloat16": "float16", "int8": "float16"}


@dataclass(frozen=True)
class Features:
    """The features of a data set.

    Attributes:
        array: (n, feature_dim) float32 or float16, in the data set's order; read-only where it is mapped from disk.
            Cached in another order, or for a concatenation, it is gathered when rows are asked for.
        engine: `openvino`, `tensorflow` or `numpy`.
        precision: `float32`, `bfloat16` or `int8`.
        computed: number of images that went through the network now; 0 where all were cached.
        seconds: how long it took to have them.
    """

    array: FeatureArray
    engine: str
    precision: str
    computed: int
    seconds: float


class FeatureStore:
    """Caches features below `root`, by content: the image's digest, decoder version, network and weights, precision.

    Renaming, moving or splitting a data set anew computes nothing; changing one image computes that one.

    Args:
        root: the store's folder; made when something is cached.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @property
    def networks(self) -> Path:
        """Where converted networks are cached; `cache_dir` for `open_engine`."""
        return self.root / "networks"

    def link(self, saved: SavedExtractor, extractor: Network) -> None:
        """Records that a matcher which this machine saved has the extractor that it was trained with.

        So the matcher finds the features that its training cached. No matcher can claim that of itself: it is found by
        the digest of its network's content.

        Raises:
            StudyError: the store cannot be written.
        """
        if saved.digest != extractor.digest:
            write_text(self._link(saved), extractor.digest)

    def remember(self, matcher_digest: str) -> None:
        """Records that a matcher, by the digest of its card, was trained with this store.

        Raises:
            StudyError: the store cannot be written.
        """
        write_text(self._own(matcher_digest), "")

    def trained_here(self, matcher_digest: str) -> bool:
        """Whether `remember` was told of a matcher; so its configuration is the user's own."""
        return is_file(self._own(matcher_digest))

    def _own(self, matcher_digest: str) -> Path:
        return self.networks / "own" / matcher_digest

    def _link(self, saved: SavedExtractor) -> Path:
        return self.networks / "saved" / saved.digest

    def _network_digest(self, network: Network) -> str:
        if not isinstance(network, SavedExtractor):
            return network.digest
        try:
            linked = read_file(self._link(network), max_bytes=KB, inside=self.root).decode("ascii")
        except (OSError, UnicodeDecodeError):
            return network.digest
        return linked if re.fullmatch("[0-9a-f]{32}", linked) else network.digest

    def features(
        self,
        dataset: ImageRows,
        extractor: Network,
        *,
        engine: str = "auto",
        precision: str = "auto",
        view: int | str = 0,
        seed: int = 0,
        log: RunLog = SILENT,
    ) -> Features:
        """The features of all images of a data set; only those that are not cached yet, or damaged, are computed.

        Several processes may ask at once: one computes, the others wait and read. A process killed in the middle loses
        at most the last twenty seconds or so. Memory stays bounded whatever the number of images.

        Args:
            dataset: the images.
            extractor: the network; only a frozen one has features worth caching. Of a concatenation each member's are
                cached, as those of the member alone.
            engine: `auto`, `openvino` or `tensorflow`.
            precision: `auto`, `float32`, `bfloat16`; `int8` of a quantised network. With an engine given too,
                what is cached is found even where that engine cannot run.
            view: 0 is the images as they are, MIRROR their mirror images; 1, 2, ... are augmented views, always the
                same for a seed.
            seed: of the augmentation; without effect on the other views.
            log: told what is computed, how far it is, and what was damaged.

        Raises:
            DataError: a image that must be computed cannot be read.
            ModelError: the network or the engine cannot be used, or gives numbers that cannot be cached.
            StudyError: the store cannot be read or written; everything cached before is intact.
        """
        started = time.monotonic()
        choice = self._choice(extractor, engine, precision, log)
        if isinstance(extractor, Concatenation):
            chosen: dict[str, Any] = {"precision": choice.precision, "view": view, "seed": seed, "log": log}
            engine = "auto" if choice.name == "numpy" else choice.name
            members = [self.features(dataset, member, engine=engine, **chosen) for member in extractor.members]
            return Features(
                ConcatenatedFeatures([one.array for one in members]),
                choice.name,
                choice.precision,
                max(one.computed for one in members),
                time.monotonic() - started,
            )
        entry = self._entry(extractor, choice, view, seed)
        wanted = digest_table(dataset.digests)
        found = entry.find(wanted)
        computed = 0
        if not found.complete or read_facts(entry.folder) is None:
            with self._turn(entry, log):
                entry.prepare()
                found = entry.find(wanted)
                if not found.complete:
                    decode = decoder(dataset, extractor.image_size, view, seed, extractor.framing)
                    work = Computation(entry, choice, extractor, decode, log)
                    computed = work.complete(wanted, found.rows, found.damaged)
                    found = entry.find(wanted)
                    if not found.complete:
                        raise StudyError(
                            "features that were just written do not read back",
                            where=str(entry.folder),
                            do="check the disk",
                        )
        array = entry.array(found.rows)
        return Features(array, choice.name, choice.precision, computed, time.monotonic() - started)

    def missing(
        self, dataset: ImageRows, extractor: Network, *, engine: str = "auto", precision: str, log: RunLog = SILENT
    ) -> int:
        """How many images of a data set have no cached features as they are; arguments and errors as `features`."""
        choice = self._choice(extractor, engine, precision, log)
        if isinstance(extractor, Concatenation):
            own = "auto" if choice.name == "numpy" else choice.name
            counts = (self.missing(dataset, one, engine=own, precision=precision) for one in extractor.members)
            return max(counts)
        found = self._entry(extractor, choice, 0, 0).find(digest_table(dataset.digests))
        return int((found.rows < 0).sum())

    def speed(
        self,
        dataset: ImageRows,
        extractor: Network,
        *,
        engine: str = "auto",
        precision: str,
        seconds: float,
        log: RunLog = SILENT,
    ) -> float:
        """Images a second that are decoded and go through the network, measured; other arguments as `features`.

        Args:
            seconds: how long is measured, about; and a moment before, to warm up.
        """
        choice = choose_engine(extractor, engine, precision, self.networks, log)
        running = choice.open()
        decode = decoder(dataset, extractor.image_size, 0, 0, extractor.framing)
        largest = 3 * extractor.image_size**2
        order = np.random.default_rng(0).permutation(len(dataset.digests))
        count, rate = 2 * running.batch_size, 0.0
        for _warm_up_and_measured in range(2):
            rows = np.resize(order, count)
            out = np.empty((count, extractor.feature_dim), np.float32)
            started = time.perf_counter()
            extract(running, decode, largest, rows, out, np.arange(count), Advance())
            rate = count / (time.perf_counter() - started)
            count = max(count, int(rate * seconds))
        return rate

    def _choice(self, network: Network, engine: str, precision: str, log: RunLog) -> EngineChoice:
        """The engine to use; if the given one cannot run here, one that raises only when it must compute."""
        try:
            return choose_engine(network, engine, precision, self.networks, log)
        except ModelError as error:
            if "auto" in (engine, precision):
                raise
            refusal = error

        def refuse() -> Engine:
            raise refusal

        return EngineChoice(engine, precision, refuse)

    def _entry(self, network: Network, choice: EngineChoice, view: int | str, seed: int) -> FeatureEntry:
        """The entry that these features belong to.

        In float32 the engines agree to within a thousandth of a vector's norm and share an entry; in bfloat16 each
        rounds in its own places, and has its own.
        """
        key = {
            "format": ENTRY_FORMAT,
            "network": self._network_digest(network),
            "image_size": network.image_size,
            "feature_dim": network.feature_dim,
            "decoder": DECODER_VERSION,
            "precision": choice.precision,
            "engine": "any" if choice.precision == "float32" else choice.name,
            "dtype": _DTYPES[choice.precision],
            "view": view,
        }
        if view not in (0, MIRROR):
            key |= {"augmentation": AUGMENTATION_VERSION, "augmentation_seed": seed}
        facts = {
            "extractor": short_name(network.name),
            **key,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return FeatureEntry(self.root / entry_name(facts), facts)

    @contextmanager
    def _turn(self, entry: FeatureEntry, log: RunLog) -> Iterator[None]:
        """Holds the entry's lock; says so where it has to wait for it."""
        path = lock_path(entry.folder)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(path, wait=False))
            except BusyError:
                log.event("features_wait", "another process is computing these features: waiting for it")
                stack.enter_context(locked(path))
            yield


def lock_path(folder: Path) -> Path:
    """The lock of an entry; it stays where it is when the entry goes."""
    return folder.parent / "locks" / f"{folder.name}.lock"
