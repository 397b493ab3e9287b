"""Run a session until standard input ends; it says ``held`` once the session is saved as connected."""

from __future__ import annotations

import sys

import anyio
from anyio.to_thread import run_sync

from wasessionpool import PoolSettings, SessionKey, Status, WhatsAppSessionPool
from wasessionpool.stores.directory import DirectoryStore
from wasessionpool.testing.driver import FakeDriver


async def wait_saved(path: str, key: SessionKey) -> None:
    store = DirectoryStore(path)
    while (record := await store.get(key)) is None or record.status is not Status.CONNECTED:  # noqa: ASYNC110 - a file tells nobody
        await anyio.sleep(0.01)


async def main(path: str, company_id: str) -> None:
    settings = PoolSettings(session_path=path, autostart=False)
    async with WhatsAppSessionPool(settings, driver=FakeDriver()) as pool:
        await pool.create_session(company_id)
        await wait_saved(path, SessionKey(company_id))
        sys.stdout.write("held\n")
        sys.stdout.flush()
        await run_sync(sys.stdin.read)


anyio.run(main, sys.argv[1], sys.argv[2])
