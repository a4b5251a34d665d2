"""TensorFlow and numpy, imported when a loss is first run: its name, options and defaults are known without them.

A module of this room says `from imagematch.losses.lazy import tf` and uses `tf` as ever, but inside functions only. So
the configuration reads all losses in a few milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class LazyModule(ModuleType):
    """Stands for a module, and imports it when an attribute is first read."""

    def __getattr__(self, name: str) -> Any:
        module = import_module(self.__name__)
        self.__dict__.update({key: value for key, value in vars(module).items() if not key.startswith("__")})
        return getattr(module, name)  # what the module itself imports late


if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
else:
    np = LazyModule("numpy")
    tf = LazyModule("tensorflow")

__all__ = ["np", "tf"]
