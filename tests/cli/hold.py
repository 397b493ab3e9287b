"""Run a session until standard input ends."""

from __future__ import annotations

import sys

import anyio
from anyio.to_thread import run_sync

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.testing.driver import FakeDriver


async def main(path: str, company_id: str) -> None:
    settings = PoolSettings(session_path=path, autostart=False)
    async with WhatsAppSessionPool(settings, driver=FakeDriver()) as pool:
        await pool.create_session(company_id)
        sys.stdout.write("held\n")
        sys.stdout.flush()
        await run_sync(sys.stdin.read)


anyio.run(main, sys.argv[1], sys.argv[2])
