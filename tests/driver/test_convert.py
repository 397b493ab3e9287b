from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .conftest import NOWHERE

# neonize leaves pipes of os.popen() to the garbage collector while it is imported.
OPTIONS = (
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::ResourceWarning",
    "-W",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def test_conversions_in_a_process_that_loads_neonize() -> None:
    """neonize starts Go in the process that imports it, so the cases run in one of their own."""
    cases = Path(__file__).with_name("convert_cases.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *OPTIONS, str(cases)],
        env=os.environ | NOWHERE,
        cwd=cases.parents[2],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_driver_imports_no_neonize() -> None:
    code = "import sys, wasessionpool.drivers.neonize; sys.exit('neonize' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
