"""What the driver's tests share: sessions on disk, and links whose events a test waits for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from wasessionpool.abc import Connection, Inbox
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.links import LinkUp, PairingOffered, ReceiptsReceived
from wasessionpool.models import DeviceLocation, SessionRecord, WorkerMetrics
from wasessionpool.testing.whatsapp.server import WhatsAppServer

OWN = "79001234567"
OTHER = "79007654321"
PATIENCE = 60.0
"""Seconds until an event is given up, on a machine that does much else; a test that waits for it all is broken."""
EventT = TypeVar("EventT")
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": "", "SSL_CERT_DIR": "/nonexistent"}
"""An environment whose workers reach nothing: port 9 refuses."""

# neonize leaves pipes of os.popen() to the garbage collector while it is imported.
CASES_OPTIONS = (
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::ResourceWarning",
    "-W",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


class ThreadLimit:
    """Starts no thread that ``refuses`` is true of, as the system does where there are too many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses: Callable[[threading.Thread], bool] = lambda _: False
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if self.refuses(thread):
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.fixture
def thread_limit(monkeypatch: pytest.MonkeyPatch) -> ThreadLimit:
    return ThreadLimit(monkeypatch)


def run_cases(name: str) -> None:
    """Run tests that load neonize; it starts Go in its process, so they get one of their own."""
    cases = Path(__file__).with_name(name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *CASES_OPTIONS, str(cases)],
        env=os.environ | NOWHERE,
        cwd=cases.parents[2],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppServer]:
    async with WhatsAppServer() as server:
        yield server


@dataclass
class Link:
    """A connection and an inbox under readers that keep all their events, and acknowledge what the inbox had."""

    connection: Connection
    inbox: Inbox
    events: list[Any] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)

    async def read(self) -> None:
        async for event in self.connection:
            for item in event.receipts if isinstance(event, ReceiptsReceived) else (event,):
                self._note(item)

    async def empty_inbox(self) -> None:
        while True:
            for item in await self.inbox.read(0, 100):
                self._note(item.message)
                await self.inbox.acknowledge([item.number])
            await self.inbox.changed()

    def _note(self, event: object) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = anyio.Event()

    async def next(self, kind: type[EventT], after: object = None, timeout: float = PATIENCE) -> EventT:
        """Return the first event of a kind, or the first after an earlier one."""
        start = 0 if after is None else next(i for i, event in enumerate(self.events) if event is after) + 1
        with anyio.move_on_after(timeout):
            while True:
                for event in self.events[start:]:
                    if isinstance(event, kind):
                        return event
                await self.changed.wait()
        raise AssertionError(f"no {kind.__name__} within {timeout} s; there were {self.events[start:]}")


@dataclass(frozen=True)
class Session:
    """A session on disk, whose links a test opens one after another."""

    record: SessionRecord
    device: DeviceLocation

    @asynccontextmanager
    async def link(self, driver: NeonizeDriver) -> AsyncIterator[Link]:
        async with (
            driver.inbox(self.record.key, self.device) as inbox,
            driver.connect(self.record, self.device) as connection,
            anyio.create_task_group() as tasks,
        ):
            link = Link(connection, inbox)
            tasks.start_soon(link.read)
            tasks.start_soon(link.empty_inbox)
            yield link
            tasks.cancel_scope.cancel()


SessionFactory = Callable[..., Session]


@pytest.fixture
def session(tmp_path: Path) -> SessionFactory:
    def make(company_id: str = "962302", **fields: object) -> Session:
        directory = tmp_path / company_id / "auth_info"
        directory.mkdir(parents=True, exist_ok=True)
        record = SessionRecord.model_validate({"company_id": company_id, "created_at": datetime.now(UTC), **fields})
        return Session(record, DeviceLocation(directory / "device.db", directory.parent / "inbox"))

    return make


async def pair(link: Link, whatsapp: WhatsAppServer, number: str = OWN) -> LinkUp:
    offer = await link.next(PairingOffered)
    await whatsapp.phone(number).scan(offer.text)
    return await link.next(LinkUp)


async def paired(session: Session, driver: NeonizeDriver, whatsapp: WhatsAppServer, number: str = OWN) -> None:
    async with session.link(driver) as link:
        await pair(link, whatsapp, number)


def of_role(driver: NeonizeDriver, role: str) -> list[WorkerMetrics]:
    return [worker for worker in driver.workers() if worker.role == role]


async def until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Wait for what a driver tells nobody."""
    with anyio.fail_after(timeout):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)
