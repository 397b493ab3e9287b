"""The gate around the real neonize: `stress.py` lives with it, and dies without it.

`STRESS_SECONDS=60 pytest tests/driver/test_gate_stress.py` is the long form.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wasessionpool.drivers.neonize.process import ENVIRONMENT

from .conftest import NOWHERE

SECONDS = float(os.environ.get("STRESS_SECONDS", "15"))
UNGATED = max(30.0, SECONDS)
"""How long the process without a gate gets to die in; it takes about one second."""


def run(directory: Path, seconds: float, gate: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("stress.py")), str(directory), str(seconds), gate],
        env=ENVIRONMENT | os.environ | NOWHERE,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + 60,
        check=False,
    )


@pytest.mark.timeout(SECONDS + 90)
def test_starts_stops_and_sends_at_once_do_no_harm(tmp_path: Path) -> None:
    done = run(tmp_path, SECONDS, "gated")
    assert done.returncode == 0, done.stderr[-2000:]
    did = json.loads(done.stdout.splitlines()[-1])
    assert min(did["starts"], did["stops"], did["answers from Go"]) > SECONDS, did


@pytest.mark.timeout(3 * (UNGATED + 60))
def test_without_the_gate_they_end_the_process(tmp_path: Path) -> None:
    """Nearly always by the map's own check; a client that is looked up as it comes or goes may end it before that."""
    for attempt in range(3):
        (directory := tmp_path / str(attempt)).mkdir()
        done = run(directory, UNGATED, "open")
        assert done.returncode == -signal.SIGABRT
        if "fatal error: concurrent map" in done.stderr:
            return
    pytest.fail(f"it never ended by the map's check, but at last by {done.stderr[:300]}")
