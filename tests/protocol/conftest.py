"""What the protocol tests share: the real pool and the unmodified neonize against a WhatsApp on loopback."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import PoolSettings, Status, WhatsAppSessionPool
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.events import Event
from wasessionpool.testing import Phone, WhatsAppServer

BOB = "79001234567"
PHONES = {"962302": "79686484488", "962303": "79686484499"}
PATIENCE = 60.0
"""Seconds until an event is given up, on a machine that does much else; a test that waits for it all is broken."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppServer]:
    async with WhatsAppServer() as server:
        yield server


class Heard:
    """Every event of a pool, and the wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = anyio.Event()

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()
        self._changed = anyio.Event()

    def types(self, *without: str) -> list[str]:
        return [event.type for event in self.events if event.type not in without]

    async def wait_for(self, wanted: Callable[[Any], bool], timeout: float = PATIENCE) -> Any:
        """Return the first event that is wanted, past or to come."""
        with anyio.move_on_after(timeout):
            while True:
                for event in self.events:
                    if wanted(event):
                        return event
                await self._changed.wait()
        raise AssertionError(f"not heard within {timeout} s; there were {self.types()}")

    async def next(self) -> None:
        """Wait for one more event."""
        await self._changed.wait()

    async def message(self, text: str, company_id: str = "962302") -> Any:
        return await self.wait_for(lambda e: e.type == "message" and e.company_id == company_id and e.text == text)

    async def status(self, current: Status, company_id: str = "962302", timeout: float = PATIENCE) -> Any:
        """Wait for a status after everything heard so far, and forget that."""
        event = await self.wait_for(
            lambda e: e.type == "status" and e.company_id == company_id and e.current is current, timeout
        )
        del self.events[: self.events.index(event) + 1]
        return event


class Application:
    """A pool on loopback, its driver, and what it heard."""

    def __init__(self, pool: WhatsAppSessionPool, driver: NeonizeDriver, heard: Heard) -> None:
        self.pool = pool
        self.driver = driver
        self.heard = heard

    async def link(self, phone: Phone, company_id: str = "962302", **fields: Any) -> None:
        """Create a company's session and scan its QR."""
        status = await self.pool.create_session(company_id, **fields)
        assert status.qr is not None, status
        await phone.scan(status.qr, timeout=PATIENCE)
        await self.pool.wait_until_connected(company_id, timeout=PATIENCE, device=fields.get("device", "main"))

    def shard_pids(self) -> list[int]:
        return [worker.pid for worker in self.driver.workers() if worker.role == "shard"]

    @contextmanager
    def frozen_shard(self) -> Iterator[None]:
        """Keep the only shard worker from answering anything until the context is left."""
        [pid] = self.shard_pids()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


async def lie_in_inbox(session: Path, texts: Sequence[str]) -> None:
    """Wait until these messages lie in the inbox, and no others."""

    def found() -> list[str | None]:
        rows = inbox.execute("select content from received order by number")
        return [json.loads(content)["text"] if content else None for (content,) in rows]

    with closing(sqlite3.connect(f"file:{session / 'inbox'}?mode=ro", uri=True)) as inbox, anyio.fail_after(PATIENCE):
        while found() != list(texts):  # noqa: ASYNC110 - a file tells nobody
            await anyio.sleep(0.01)


@pytest.fixture
def session_path(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


OpenApplication = Callable[..., Any]


@pytest.fixture
def application(whatsapp: WhatsAppServer, session_path: Path) -> OpenApplication:
    """Open an application that hears all events, or those it is told to, and keeps no spare worker."""

    @asynccontextmanager
    async def open_(
        driver_options: dict[str, Any] | None = None, hear: tuple[str, ...] = (), **settings: Any
    ) -> AsyncIterator[Application]:
        heard = Heard()
        chosen = {"session_path": session_path, "reconnect_base_delay": 1.0, "reconnect_jitter": 0.0} | settings
        options = {"spare_timeout": 0} | (driver_options or {})
        async with whatsapp.driver(**options) as driver:
            pool = WhatsAppSessionPool(PoolSettings(**chosen), driver=driver)
            pool.on(*hear)(heard)
            async with pool:
                yield Application(pool, driver, heard)
        assert driver.workers() == ()

    return open_


def descriptors() -> set[str]:
    """What this process has open, by what it is; pipes and sockets by their number."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except OSError:
            continue
    return found


def children() -> set[int]:
    """The processes that this one started and that are still there."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except (FileNotFoundError, ProcessLookupError):
            # The thread has ended meanwhile.
            continue
    return found


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Note what there is now; call it to check that nothing was left behind."""
    before = descriptors(), children(), set(threading.enumerate())
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))

    def check() -> None:
        assert children() - before[1] == set()
        assert descriptors() - before[0] == set()
        threads = {t for t in set(threading.enumerate()) - before[2] if "AnyIO worker" not in t.name}
        for thread in threads:
            # asyncio's thread that waited for a process ends a moment after the process.
            thread.join(5)
        assert not [thread for thread in threads if thread.is_alive()]
        assert list(temporary.iterdir()) == []

    return check
