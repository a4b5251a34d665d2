"""The examples in the docstrings of the evaluation package are right."""

import doctest
import importlib
import inspect
import pkgutil
from types import FunctionType

import pytest

from imagematch import evaluation

MODULES = sorted(found.name for found in pkgutil.iter_modules(evaluation.__path__))
FUNCTIONS = [name for name in evaluation.__all__ if isinstance(getattr(evaluation, name), FunctionType)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(f"{evaluation.__name__}.{name}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_an_example(name: str) -> None:
    assert ">>> " in str(inspect.getdoc(getattr(evaluation, name)))
