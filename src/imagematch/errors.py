"""The errors a user can meet, each with the exit code of its kind and one line of text: what, where, what to do."""

from __future__ import annotations


class ImagematchError(Exception):
    """An error that is shown to the user as one line, without a traceback.

    Args:
        what: what is wrong, in plain words.
        where: the file, key, line, option or path concerned; may be empty.
        do: what the user can do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.do = do

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{text}; {self.do}" if self.do else text
        return " ".join(text.split())

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.do)


def _rebuild(kind: type[ImagematchError], what: str, where: str, do: str) -> ImagematchError:
    return kind(what, where=where, do=do)


class ConfigError(ImagematchError):
    """The configuration or the command line is wrong.

    Args:
        what: as in `ImagematchError`.
        where: likewise.
        do: likewise.
        more: the other mistakes of the same file; each is reported in a line of its own.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", do: str = "", more: tuple[ConfigError, ...] = ()) -> None:
        super().__init__(what, where=where, do=do)
        self.more = more

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_config_error, (self.what, self.where, self.do, self.more)


def _rebuild_config_error(what: str, where: str, do: str, more: tuple[ConfigError, ...]) -> ConfigError:
    return ConfigError(what, where=where, do=do, more=more)


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
