"""Everything that a user may import is documented, and used by a test."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import wasessionpool
import wasessionpool.fastapi
import wasessionpool.testing

TESTS = Path(__file__).parents[1]
MODULES = (wasessionpool, wasessionpool.fastapi, wasessionpool.testing)


def names_of(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Every public name of a module, and those of its classes: methods, properties, what they take over from bases."""
    for name in module.__all__:
        value = getattr(module, name)
        yield name, value
        if inspect.isclass(value):
            for base in value.__mro__:
                if base.__module__.startswith("wasessionpool"):
                    for member, what in vars(base).items():
                        if not member.startswith(("_", "model_")) and (
                            inspect.isroutine(what) or isinstance(what, property)
                        ):
                            yield f"{name}.{member}", getattr(value, member)


NAMES = {f"{module.__name__}.{name}": value for module in MODULES for name, value in names_of(module)}


ALIASES = {"wasessionpool.Event", "wasessionpool.fastapi.PoolDependency"}
"""Types that have no place for a docstring of their own."""


def documentation_of(value: Any) -> str:
    """What is written about a name itself; what pydantic or typing say of their own is not."""
    documentation = inspect.getdoc(value) or ""
    return "" if documentation.startswith(("!!! abstract", "str(object", "Annotated", "Runtime")) else documentation


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ALIASES])
def test_it_has_a_docstring(name: str) -> None:
    assert documentation_of(NAMES[name]), f"{name} has no docstring"


@pytest.fixture(scope="module")
def words() -> set[str]:
    """Every word in the tests but for this file and what is only checked, not run."""
    files = [path for path in TESTS.rglob("*.py") if path != Path(__file__) and path.parent.name != "typing"]
    return {word for path in files for word in re.findall(r"\w+", path.read_text("utf-8"))}


@pytest.mark.parametrize("name", NAMES)
def test_a_test_uses_it(name: str, words: set[str]) -> None:
    assert name.rpartition(".")[2] in words, f"no test uses {name}"
