"""Large libraries, imported while nothing else is to be done."""

from __future__ import annotations

import contextlib
import importlib
import threading


def import_ahead(module: str) -> None:
    """Begins to import a module in a thread; whoever needs it waits for that, or is told why it cannot be imported."""

    def run() -> None:
        with contextlib.suppress(Exception):
            importlib.import_module(module)

    threading.Thread(target=run, daemon=True).start()
