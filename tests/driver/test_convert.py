from __future__ import annotations

import subprocess
import sys

from .conftest import run_cases


def test_conversions_in_a_process_that_loads_neonize() -> None:
    run_cases("convert_cases.py")


def test_the_driver_imports_no_neonize() -> None:
    code = "import sys, wasessionpool.drivers.neonize; sys.exit('neonize' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
