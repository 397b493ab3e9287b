"""What of neonize is reachable at all."""

from __future__ import annotations

import ast
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wasessionpool.drivers.neonize import library

from .conftest import NOWHERE, run_cases
from .library_cases import EXPORTS

SOURCE = Path(library.__file__)


def attributes(path: Path, owner: str) -> set[str]:
    """The names that a module reads of what is called ``owner``."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == owner
    }


def test_ten_exports_are_called_and_from_one_module() -> None:
    assert attributes(SOURCE, "_gocode") == set(EXPORTS)
    for path in SOURCE.parent.glob("*.py"):
        assert attributes(path, "gocode") == set(), path
        assert path == SOURCE or attributes(path, "_gocode") == set(), path


def test_the_library_in_a_process_that_loads_neonize() -> None:
    run_cases("library_cases.py")


@pytest.mark.parametrize(
    ("code", "handlers"),
    [("import neonize", 1), ("from wasessionpool.drivers.neonize.binding import load_neonize; load_neonize()", 0)],
    ids=["neonize", "driver"],
)
def test_the_root_logger_is_left_alone(code: str, handlers: int) -> None:
    code += "; import logging; root = logging.getLogger(); print(len(root.handlers), root.level)"
    said = subprocess.check_output([sys.executable, "-c", code], env=os.environ | NOWHERE, text=True, timeout=30)
    assert said.split() == [str(handlers), str(logging.INFO if handlers else logging.WARNING)]


def test_what_runs_beside_go_opens_no_database() -> None:
    """Python's SQLite would drop the locks that Go's has on a file; the inbox is a file that Go never opens."""
    for path in SOURCE.parent.glob("*.py"):
        knows_errors = path.name in ("engine.py", "intake.py")
        tree = ast.parse(path.read_text())
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert "sqlite3" not in imported or knows_errors or path.name in ("database.py", "inbox.py")
        opens = {name for name in ("is_linked", "forget_unlinked") if name in imported}
        assert not opens or path.name == "connection.py"
        uses = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is(node.value, "sqlite3")}
        assert not knows_errors or uses == {"Error"}, f"{path.name} knows the inbox's errors, and opens nothing"


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
