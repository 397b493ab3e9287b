"""What schemathesis asks, led by the OpenAPI document, finds nothing: all its checks, with and without a key."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from wasessionpool.testing import FakeDriver, FakeLink

from .conftest import KEY, PREFIX, OpenService
from .serving import serve

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]
GENEROUS = {"max_sessions": 100_000, "rate_limit_max": 1_000_000, "rate_limit_recipient_max": 1_000_000}


async def linked(link: FakeLink) -> None:
    """Link the session at once, or after its first code."""
    if not link.record.linked:
        link.offer_pairing()
    link.up()


@pytest.mark.parametrize(
    ("key", "examples"), [(KEY, 5), (None, 2), ("a-key-that-is-wrong", 1)], ids=["key", "none", "wrong"]
)
async def test_nothing_is_found(open_service: OpenService, tmp_path: Path, key: str | None, examples: int) -> None:
    options = ["--checks", "all", "--seed", "1", "--max-examples", str(examples), "--workers", "1", "--no-color"]
    options += ["--request-timeout", "60"]
    if key is not None:
        options += ["--header", f"X-API-Key: {key}"]
    async with (
        open_service(driver=FakeDriver(linked), settings=GENEROUS, request_limit=None) as service,
        serve(service.app, lifespan="off") as address,
    ):
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}{PREFIX}/openapi.json", *options]
        run = await anyio.run_process(command, check=False, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)})
        report = run.stdout.decode()
        assert run.returncode == 0, report[-6000:] + run.stderr.decode()[-2000:]
        assert "Failures:" not in report
        for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
            assert f"✅ {phase}" in report, report[-3000:]
        assert bool(service.driver.links) == (key == KEY)
