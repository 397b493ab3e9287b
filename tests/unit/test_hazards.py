"""`docs/hazards.md`: every row names the file that handles it, and its test, or why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import wasessionpool

ROOT = Path(__file__).parents[2]
PACKAGE = Path(wasessionpool.__file__).parent
HEADINGS = [
    "It ends the process",
    "It hangs",
    "It leaks",
    "It mixes tenants",
    "It says too little, or the wrong thing",
    "Side effects",
]
NO_TEST = re.compile(r"–: \S+")
TEST = re.compile(r"tests/\S+\.py::test_\w+")


def read_tables() -> dict[str, list[list[str]]]:
    """Return the cells of each row, under its heading."""
    tables: dict[str, list[list[str]]] = {}
    heading = ""
    for line in (ROOT / "docs" / "hazards.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("|"):
            tables.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return {heading: rows[2:] for heading, rows in tables.items()}


TABLES = read_tables()
ROWS = [row for rows in TABLES.values() for row in rows]


@cache
def functions_of(path: Path) -> set[str]:
    """The tests that a file defines, as pytest names them without parameters."""
    nodes = ast.parse(path.read_text("utf-8")).body if path.is_file() else []
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def fault_of(row: list[str]) -> str | None:
    """Say what is wrong with a row."""
    if len(row) != 3 or not all(row):
        return f"{len(row)} cells, or an empty one"
    _, handling, test = row
    files = re.findall(r"`([\w/]+\.py)`", handling)
    if not files:
        return "no file handles it"
    for file in files:
        if not any((directory / file).is_file() for directory in (PACKAGE, PACKAGE / "drivers" / "neonize")):
            return f"there is no {file}"
    if NO_TEST.match(test):
        return None
    for name in test.split():
        path, _, function = name.strip("`").partition("::")
        if not TEST.fullmatch(name.strip("`")) or function not in functions_of(ROOT / path):
            return f"there is no test {name}"
    return None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_every_hazard_is_handled_and_tested(row: list[str]) -> None:
    assert fault_of(row) is None


def test_the_hazards_are_listed() -> None:
    assert list(TABLES) == HEADINGS
    assert len(ROWS) >= 40
    assert all(TABLES.values())


@pytest.mark.parametrize(
    "row",
    [
        ["hazard", "`gate.py`", "PENDING a test"],
        ["hazard", "`gate.py`", ""],
        ["hazard", "`gate.py`", "–:"],
        ["hazard", "`gate.py`", "`tests/unit/test_hazards.py::test_that_is_missing`"],
        ["hazard", "`gate.py`", "`tests/unit/test_missing.py::test_it`"],
        ["hazard", "`missing.py`", "–: a reason"],
        ["hazard", "somehow", "–: a reason"],
        ["hazard", "–: a reason"],
    ],
)
def test_a_row_that_proves_nothing_is_noticed(row: list[str]) -> None:
    assert fault_of(row) is not None
