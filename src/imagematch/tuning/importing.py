"""A large library, imported while nothing else is to be done."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def importing(module: str) -> Iterator[None]:
    """Imports a module in a thread, which has ended when the block does.

    Nothing in the block may import it or a part of it: of modules that import each other, two threads at a time come
    to hold halves. Whoever needs the module is told why it cannot be imported.
    """

    def run() -> None:
        with contextlib.suppress(Exception):
            importlib.import_module(module)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
