"""Large libraries, imported while nothing else is to be done."""

from __future__ import annotations

import importlib
import threading


def import_ahead(module: str) -> None:
    """Begins to import a module in a thread; whoever needs it before that has ended waits for it."""
    threading.Thread(target=importlib.import_module, args=(module,), daemon=True).start()
