"""A minute of chaos; ``python -m tests.chaos`` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from .storm import Options, brew


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_a_minute_of_chaos(tmp_path: Path) -> None:
    options = Options(seed=7, minutes=1, sessions=8)
    outcome = await brew(options, tmp_path)
    print(outcome.line(options))
    assert outcome.violations == []
