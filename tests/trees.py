"""Makes trees of image files as people have them, and says how each is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

CLASSES = ("ann", "bob", "cleo", "dan")
SESSIONS = ("monday", "session2", "2024-03-05")
OTHER_GROUPS = ("garden", "kitchen", "roof")


@dataclass
class Tree:
    """Files, and how they are meant.

    Attributes:
        files: relative paths.
        meant: of each labelled image: label, split, role, and the group's name ("" for none).
        ambiguous: another reading is possible: it must be refused under `layout: auto`.
        layout: what names this reading where it is ambiguous.
        unlabelled: those of the files that are images without a label.
    """

    files: list[str] = field(default_factory=list)
    meant: dict[str, tuple[str, str, str, str]] = field(default_factory=dict)
    ambiguous: bool = False
    layout: str = "auto"
    unlabelled: list[str] = field(default_factory=list)

    def add(self, folder: str, label: str, split: str = "", role: str = "", group: str = "", images: int = 3) -> None:
        """Adds images of a class."""
        for number in range(images):
            path = f"{folder}/{number}.png"
            self.files.append(path)
            self.meant[path] = (label, split, role, group)

    def wrapped(self, folder: str) -> Tree:
        """The same below one more folder."""
        return Tree(
            [f"{folder}/{path}" for path in self.files],
            {f"{folder}/{path}": meaning for path, meaning in self.meant.items()},
            self.ambiguous,
            self.layout,
            [f"{folder}/{path}" for path in self.unlabelled],
        )

    def write(self, root: Path) -> Path:
        """Makes the files; their content is not an image."""
        for path in self.files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"x")
        return root


def plain() -> Tree:
    """A folder for each class."""
    return named(*CLASSES)


def named(*labels: str) -> Tree:
    """Class folders of these names."""
    tree = Tree()
    for label in labels:
        tree.add(label, label)
    return tree


def chain() -> Tree:
    """Class folders that hold one folder with their images, as Tiny ImageNet has."""
    tree = Tree()
    for label in CLASSES:
        tree.add(f"{label}/images", label)
    return tree


def nested() -> Tree:
    """Classes inside superclasses."""
    tree = Tree(ambiguous=True, layout="classes")
    for above, labels in (("animals", ("cat", "dog")), ("plants", ("fern", "moss"))):
        for label in labels:
            tree.add(f"{above}/{label}", f"{above}/{label}")
    return tree


def sessions(names: tuple[str, ...] = SESSIONS) -> Tree:
    """A person's folder holds one for each sitting."""
    tree = Tree(ambiguous=names == OTHER_GROUPS, layout="groups")
    for label in CLASSES:
        for name in names:
            tree.add(f"{label}/{name}", label, group=f"{label}/{name}")
    if not tree.ambiguous:
        tree.layout = "auto"
    return tree


def beside() -> Tree:
    """Images in the class folder, and more in a folder inside it."""
    tree = plain()
    for label in CLASSES[:2]:
        tree.add(f"{label}/more", label, group=f"{label}/more")
    return tree


def splits(names: tuple[str, ...] = ("train", "val", "test"), groups: tuple[str, ...] = ()) -> Tree:
    """Split folders above the classes."""
    meaning = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
    meaning |= {"validation": "validation", "test": "test", "testing": "test", "holdout": "test"}
    meaning |= {"train_images": "train", "val-set": "validation", "bounding_box_test": "test", "1 train": "train"}
    tree = Tree(ambiguous=groups == OTHER_GROUPS, layout="splits_groups" if groups == OTHER_GROUPS else "auto")
    for name in names:
        for label in CLASSES:
            for group in groups:
                tree.add(f"{name}/{label}/{group}", label, meaning[name.lower()], group=f"{name}/{label}/{group}")
            if not groups:
                tree.add(f"{name}/{label}", label, meaning[name.lower()])
    return tree


def kaggle() -> Tree:
    """Classes to train on, and test images without labels."""
    tree = splits(("train",))
    tree.unlabelled = [f"test/{number}.png" for number in range(5)]
    tree.files += tree.unlabelled
    return tree


def reid(gallery: str = "gallery") -> Tree:
    """As re-identification has it: people to train on, and others to search for and in."""
    tree = Tree()
    for label in CLASSES[:2]:
        tree.add(f"train/{label}", label, "train")
    for label in CLASSES[2:]:
        tree.add(f"query/{label}", label, "test", "query")
        tree.add(f"{gallery}/{label}", label, "test", "gallery")
    return tree


def search() -> Tree:
    """Folders to search for and in."""
    tree = Tree()
    for label in CLASSES:
        tree.add(f"query/{label}", label, role="query")
        tree.add(f"gallery/{label}", label, role="gallery")
    return tree


def vehicles() -> Tree:
    """Classes of which one is called as a split is."""
    tree = plain()
    tree.add("train", "train")
    return tree


def splits_and_more() -> Tree:
    """Split folders, and one more folder."""
    tree = splits(("train", "val"))
    tree.ambiguous, tree.layout = True, "splits"
    tree.files += [f"extra/{number}.png" for number in range(3)]
    return tree


def bare_splits(*names: str) -> Tree:
    """Folders called as splits are, and perhaps others, which hold images alone."""
    tree = Tree(ambiguous=True, layout="classes")
    for name in names:
        tree.add(name, name)
    return tree


def unlabelled(tree: Tree, folder: str) -> Tree:
    """A tree, and a folder of images that say that they have no class."""
    tree.unlabelled = [f"{folder}/{number}.png" for number in range(3)]
    tree.files += tree.unlabelled
    return tree


def superclasses() -> Tree:
    """Classes in folders by their first letter, and one level more."""
    tree = Tree(ambiguous=True, layout="classes")
    for path in ("a/aa/ann", "a/ab/abe", "b/ba/bob"):
        tree.add(path, path)
    return tree


def deep_chain() -> Tree:
    """Class folders in which the images lie two folders further down, alike in all."""
    tree = Tree()
    for label in CLASSES:
        tree.add(f"{label}/original/jpg", label)
    return tree


def folds() -> Tree:
    """Folds above the classes: to be chosen by hand."""
    tree = Tree(ambiguous=True, layout="classes")
    for fold in ("fold1", "fold2"):
        for label in CLASSES[:2]:
            tree.add(f"{fold}/{label}", f"{fold}/{label}")
    return tree


MAKERS: dict[str, Callable[[], Tree]] = {
    "plain": plain,
    "chain": chain,
    "nested": nested,
    "sessions": sessions,
    "other groups": lambda: sessions(OTHER_GROUPS),
    "beside": beside,
    "splits": splits,
    "Train, VALID, Testing": lambda: splits(("Train", "VALID", "Testing")),
    "training, dev, holdout": lambda: splits(("training", "dev", "holdout")),
    "one split": lambda: splits(("train",)),
    "splits of sessions": lambda: splits(groups=SESSIONS),
    "splits of other groups": lambda: splits(groups=OTHER_GROUPS),
    "kaggle": kaggle,
    "reid": reid,
    "reid, gallery_all": lambda: reid("gallery_all"),
    "search": search,
    "vehicles": vehicles,
    "splits and more": splits_and_more,
    "bare splits": lambda: bare_splits("train", "test"),
    "market": lambda: bare_splits("bounding_box_train", "bounding_box_test", "query"),
    "train_images, val-set, bounding_box_test": lambda: splits(("train_images", "val-set", "bounding_box_test")),
    "1 train": lambda: splits(("1 train", "val-set")),
    "words that are classes": lambda: named("test tube", "train station", "set", "box 1"),
    "copies": lambda: named("ann", "ann copy", "ann (1)"),
    "unlabelled class": lambda: unlabelled(plain(), "_unlabeled"),
    "unlabelled beside splits": lambda: unlabelled(splits(("train", "test")), "Unlabelled"),
    "unlabelled in a split": lambda: unlabelled(splits(("train", "test")), "test/unlabeled"),
    "superclasses": superclasses,
    "deep chain": deep_chain,
    "folds": folds,
}

JUNK = (
    "cat Previews.lrdata/0.png",
    ".DS_Store",
    "Thumbs.db",
    "__MACOSX/._0.png",
    ".cache/0.png",
    "desktop.ini",
    "readme.txt",
    "labels.csv",
)
