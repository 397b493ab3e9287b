"""A minute of chaos; ``python -m tests.chaos`` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from .plan import make_plan
from .storm import brew
from .subject import Options

OPTIONS = Options(seed=5334, minutes=1, sessions=8)
WORST = {
    "kill_application",
    "kill_worker",
    "stop_worker",
    "abort_worker",
    "log_out",
    "replace",
    "ban",
    "outdate",
    "mute",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_a_minute_of_chaos(tmp_path: Path) -> None:
    assert {
        step.fault for step in make_plan(OPTIONS.seed, OPTIONS.minutes * 60, OPTIONS.sessions, OPTIONS.every)
    } >= WORST
    outcome = await brew(OPTIONS, tmp_path)
    print(outcome.line(OPTIONS))
    assert outcome.violations == []
