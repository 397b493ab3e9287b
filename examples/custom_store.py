"""A store of one's own: every session's record in one SQLite file, the keys in directories beside it.

    python examples/custom_store.py 962302

Any object with the five methods of ``wasessionpool.abc.SessionStore`` will do. The keys and the inbox have to be files.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync

from wasessionpool import SessionKey, SessionRecord, StorageError, WhatsAppPoolError, WhatsAppSessionPool
from wasessionpool.models import DeviceLocation

T = TypeVar("T")
TABLE = """
CREATE TABLE IF NOT EXISTS sessions (
    company_id TEXT, device TEXT, fence INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY (company_id, device)
)"""
PUT = """
INSERT INTO sessions VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET fence = excluded.fence, record = excluded.record WHERE excluded.fence >= fence"""
THIS = "WHERE company_id = ? AND device = ?"


class SQLiteStore:
    """Remembers sessions in ``<path>/sessions.db``; each call has a connection and a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    async def get(self, key: SessionKey) -> SessionRecord | None:
        def read(db: sqlite3.Connection) -> str | None:
            row = db.execute(f"SELECT record FROM sessions {THIS}", (key.company_id, key.device)).fetchone()  # noqa: S608
            return row[0] if row else None

        found = await self._do(read)
        return SessionRecord.model_validate_json(found) if found else None

    async def put(self, record: SessionRecord, fence: int) -> None:
        row = (record.company_id, record.device, fence, record.model_dump_json())
        if not await self._do(lambda db: db.execute(PUT, row).rowcount):
            raise StorageError(f"session {record.key} has a newer owner than fence {fence}")

    async def delete(self, key: SessionKey) -> None:
        await self._do(lambda db: db.execute(f"DELETE FROM sessions {THIS}", (key.company_id, key.device)))  # noqa: S608
        await run_sync(lambda: shutil.rmtree(self._directory(key), ignore_errors=True))

    async def records(self) -> AsyncIterator[SessionRecord]:
        for (record,) in await self._do(lambda db: db.execute("SELECT record FROM sessions").fetchall()):
            yield SessionRecord.model_validate_json(record)

    @asynccontextmanager
    async def device(self, key: SessionKey) -> AsyncIterator[DeviceLocation]:
        directory = self._directory(key)
        await run_sync(lambda: directory.mkdir(mode=0o700, parents=True, exist_ok=True))
        yield DeviceLocation(directory / "device.db", directory / "inbox")

    def _directory(self, key: SessionKey) -> Path:
        return self.path / f"{key.company_id}.{key.device}"

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path / "sessions.db")) as db, db:
                db.execute(TABLE)
                return work(db)

        try:
            return await run_sync(run)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"{self.path}: {error}") from error


async def main(company_id: str) -> None:
    async with WhatsAppSessionPool(store=SQLiteStore(Path("whatsapp_sqlite"))) as pool:
        status = await pool.create_session(company_id)
        if status.qr is not None:
            print(status.qr.terminal())
        status = await pool.wait_until_connected(company_id, timeout=120)
        print(f"Company {company_id} is {status.status} as {status.phone_number}")


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[1])
    except (WhatsAppPoolError, TimeoutError) as error:
        sys.exit(str(error))
