"""Benchmarks can be run: none hides a library from another by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOR_USERS = [path for path in sorted(BENCHMARKS.glob("*.py")) if "argparse" in path.read_text()]


@pytest.mark.parametrize("path", FOR_USERS, ids=lambda path: path.stem)
def test_it_says_how_it_is_used(path: Path) -> None:
    said = subprocess.run(
        [sys.executable, str(path), "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith(f"usage: {path.name}")
