"""The errors a user can meet, each with the exit code of its kind and one line of text: what, where, what to do."""

from __future__ import annotations

from collections.abc import Sequence


class ImagematchError(Exception):
    """An error that is told to the user in one line, without a traceback.

    Args:
        what: what is wrong, in plain words.
        where: the file, key, line, option or path concerned; may be empty.
        do: what the user can do about it; may be empty.
        more: what else is wrong; each is reported in a line of its own.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", do: str = "", more: tuple[ImagematchError, ...] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.do = do
        self.more = more

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{text}; {self.do}" if self.do else text
        return " ".join(text.split())

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.do, self.more)


def _rebuild(
    kind: type[ImagematchError], what: str, where: str, do: str, more: tuple[ImagematchError, ...]
) -> ImagematchError:
    return kind(what, where=where, do=do, more=more)


def first_of(errors: Sequence[ImagematchError]) -> ImagematchError:
    """The first of some errors, with the others as what else is wrong."""
    first, *rest = errors
    count = f" (and {len(rest)} more)" if rest else ""
    return type(first)(first.what + count, where=first.where, do=first.do, more=tuple(rest))


class ConfigError(ImagematchError):
    """The configuration or the command line is wrong."""

    exit_code = 2


class DataError(ImagematchError):
    """The images, their labels or their splits cannot be used."""

    exit_code = 3


class StudyError(ImagematchError):
    """The study, its storage or what a run writes cannot be used."""

    exit_code = 4


class ModelError(ImagematchError):
    """A network, its weights or a saved model cannot be used."""

    exit_code = 5


class TrainingFailedError(ModelError):
    """The training cannot go on: the loss is not a number, or the embeddings have collapsed."""


class InterruptedRunError(ImagematchError):
    """The user or the system stopped the run; it can be resumed."""

    exit_code = 130


def unloadable_library(error: ImportError) -> StudyError:
    """The one-line error for a library that is not there, is damaged, or for which there is no memory."""
    do = "install the requirements again; if memory is limited here (ulimit -v), raise the limit"
    return StudyError(f"a library cannot be loaded: {error}", do=do)
