"""Ends of connections, drivers and applications: none waits for Go, and nothing is left of any."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

import wasessionpool
from wasessionpool.drivers.neonize import NeonizeDriver, connection
from wasessionpool.drivers.neonize.database import is_linked
from wasessionpool.links import LinkEnded, LinkUp, PairingOffered
from wasessionpool.models import DisconnectReason
from wasessionpool.testing.whatsapp.server import WhatsAppServer

from .conftest import NOWHERE, OWN, PATIENCE, Session, SessionFactory, paired, until

pytestmark = pytest.mark.anyio

END = 25.0
"""Seconds in which what does not wait for Go has ended, however busy the machine: Go gives a dial up after 60."""

APPLICATION = """
import sys, anyio
from datetime import UTC, datetime
from pathlib import Path
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.models import DeviceLocation, SessionRecord

async def main():
    record = SessionRecord(company_id="962302", created_at=datetime.now(UTC))
    device = DeviceLocation(Path(sys.argv[1]), Path(sys.argv[1]).with_name("inbox"))
    async with NeonizeDriver() as driver, driver.connect(record, device) as connection:
        while not driver.workers():
            await anyio.sleep(0.01)
        print(driver.workers()[0].pid, flush=True)
        async for event in connection:
            print(event.type, flush=True)

anyio.run(main)
"""

TWICE = """
import os, sys, threading, anyio
from datetime import UTC, datetime
from pathlib import Path
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.links import LinkEnded
from wasessionpool.models import DeviceLocation, SessionRecord

RECORD = SessionRecord(company_id="962302", created_at=datetime.now(UTC))
DEVICE = DeviceLocation(Path(sys.argv[1]), Path(sys.argv[1]).with_name("inbox"))

async def use():
    async with NeonizeDriver() as driver:
        for _ in range(2):
            async with driver.inbox(RECORD.key, DEVICE), driver.connect(RECORD, DEVICE) as connection:
                assert isinstance([event async for event in connection][-1], LinkEnded)

def left():
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join(20)
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
    return sorted(os.listdir("/proc/self/fd")), threading.active_count(), children

for _ in range(2):
    anyio.run(use)
    print(left())
"""

SLOW_OUTPUT = """
import os
from wasessionpool.drivers.neonize import engine
from wasessionpool.testing.whatsapp.worker import main

class Library(engine.Library):
    def run(self, start, *rest):
        if not start.pairing:
            os.dup2(os.open(os.environ["SLOW_OUTPUT"], os.O_WRONLY), 2)
        return super().run(start, *rest)

engine.Library, engine.ABANDON = Library, 0.2
main()
"""
"""A worker in which neonize, before it asks for its own name, has to wait until somebody reads what it prints."""


class DeafProxy:
    """Accepts connections and never answers, until told to hang up: a dial through it hangs."""

    def __init__(self) -> None:
        self.dials = 0
        self.changed = anyio.Event()
        self.hang_up = anyio.Event()
        self.environment: dict[str, str] = {}

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            try:
                await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return
            self.dials += 1
            self.changed.set()
            self.changed = anyio.Event()
            await self.hang_up.wait()

    async def dialled(self, times: int = 1) -> None:
        with anyio.fail_after(PATIENCE):
            while self.dials < times:
                await self.changed.wait()


@pytest.fixture
async def deaf() -> AsyncIterator[DeafProxy]:
    proxy = DeafProxy()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        proxy.environment = NOWHERE | {"HTTPS_PROXY": f"http://127.0.0.1:{port}"}
        tasks.start_soon(listener.serve, proxy.serve)
        yield proxy
        tasks.cancel_scope.cancel()


async def pair(session: Session, number: str = "79001234567") -> None:
    async with WhatsAppServer() as whatsapp, whatsapp.driver(spare_timeout=0) as driver, session.link(driver) as link:
        await whatsapp.phone(number).scan((await link.next(PairingOffered)).text)
        await link.next(LinkUp)


async def test_leaving_does_not_wait_for_a_dial_that_hangs_and_the_next_connection_does(
    deaf: DeafProxy, session: SessionFactory
) -> None:
    one = session()
    await pair(one)
    async with NeonizeDriver(environment=deaf.environment, stop_timeout=0.2) as driver:
        async with driver.connect(one.record, one.device):
            await deaf.dialled()
            left = time.monotonic()
        assert time.monotonic() - left < 4.5, "that is not its own stop_timeout"
        async with one.link(driver) as link:
            with anyio.move_on_after(0.5):
                await link.changed.wait()
            assert link.events == []
            assert [worker.sessions for worker in driver.workers()] == [("962302",)]
            deaf.hang_up.set()
            assert (await link.next(LinkEnded)).reason is DisconnectReason.NETWORK


async def test_a_client_that_never_lets_go_loses_its_worker(
    deaf: DeafProxy, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = session("one"), session("two")
    await pair(one)
    await pair(two)
    monkeypatch.setattr(connection, "LINGER", 0.5)
    async with NeonizeDriver(environment=deaf.environment, stop_timeout=0.2) as driver, two.link(driver) as other:
        async with one.link(driver):
            await deaf.dialled(2)
        ended = await other.next(LinkEnded)
        assert ended.reason is DisconnectReason.WORKER_CRASHED
        assert ended.detail == "signal 9 (SIGKILL)"


async def test_a_client_without_a_sign_of_life(
    deaf: DeafProxy, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = session()
    await pair(one)
    monkeypatch.setattr(connection, "START_TIMEOUT", 0.5)
    monkeypatch.setattr(connection, "LINGER", 0.5)
    async with NeonizeDriver(environment=deaf.environment) as driver, one.link(driver) as link:
        ended = await link.next(LinkEnded)
        assert (ended.reason, ended.detail) == (DisconnectReason.NETWORK, "no sign of life in 0.5 s")


async def test_a_silent_client_whose_keys_are_gone_is_logged_out(
    deaf: DeafProxy, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = session()
    await pair(one)
    looks, deleted = 0, threading.Event()

    def look(database: Path) -> bool:
        """The first look is before the start, any other while there is no sign of life."""
        nonlocal looks
        looks += 1
        assert looks == 1 or deleted.wait(PATIENCE)
        return is_linked(database)

    monkeypatch.setattr(connection, "is_linked", look)
    monkeypatch.setattr(connection, "LOOK_INTERVAL", 0.5)
    monkeypatch.setattr(connection, "LINGER", 0.5)
    async with NeonizeDriver(environment=deaf.environment) as driver, one.link(driver) as link:
        await deaf.dialled()
        with closing(sqlite3.connect(one.device.database)) as database, database:
            database.execute("delete from whatsmeow_device")
        deleted.set()
        ended = await link.next(LinkEnded)
        assert (ended.reason, ended.detail) == (DisconnectReason.LOGGED_OUT, "the device's keys are gone")


async def test_a_silent_client_whose_keys_are_gone_is_soon_out_of_the_way(
    session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOOK_INTERVAL", 0.5)
    (tmp_path / "slow_output.py").write_text(SLOW_OUTPUT)
    os.mkfifo(tmp_path / "output")
    output = os.open(tmp_path / "output", os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(output, b"x")
    one = session()
    async with WhatsAppServer() as whatsapp:
        async with whatsapp.driver(spare_timeout=0) as driver:
            await paired(one, driver, whatsapp)
        environment = {
            **whatsapp.environment,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(wasessionpool.__file__).parents[1]}",
            "SLOW_OUTPUT": str(tmp_path / "output"),
            # Its collector would wait for what prints, and all of Go for it.
            "GOGC": "off",
        }
        options = {"environment": environment, "spare_timeout": 0, "stop_timeout": 0.2}
        async with NeonizeDriver(worker_module="slow_output", **options) as driver:
            whatsapp.phone(OWN).fail_login(401)
            async with one.link(driver) as link:
                await until(lambda: not is_linked(one.device.database))
                os.close(output)
                ended = await link.next(LinkEnded)
                assert (ended.reason, ended.detail) == (DisconnectReason.LOGGED_OUT, "the device's keys are gone")
            async with one.link(driver) as link:
                await link.next(PairingOffered, timeout=END)


class ApplicationFault(Exception):
    """What the application raises of its own."""


async def test_an_error_of_the_application_leaves_the_driver_as_it_came(whatsapp: WhatsAppServer) -> None:
    with pytest.raises(ApplicationFault):
        async with whatsapp.driver() as driver:
            raise ApplicationFault
    assert driver.workers() == ()


async def test_leaving_the_driver_while_a_dial_hangs(deaf: DeafProxy, session: SessionFactory) -> None:
    one = session()
    await pair(one)
    ended: list[LinkEnded] = []

    async def hold() -> None:
        async with one.link(driver) as link:
            ended.append(await link.next(LinkEnded))

    async with anyio.create_task_group() as tasks:
        async with NeonizeDriver(environment=deaf.environment) as driver:
            tasks.start_soon(hold)
            await deaf.dialled()
            [worker] = driver.workers()
            begin = time.monotonic()
        assert time.monotonic() - begin < END
    assert [event.reason for event in ended] == [DisconnectReason.SHUTDOWN]
    assert not _runs(worker.pid)


async def test_a_killed_application_leaves_no_worker(deaf: DeafProxy, session: SessionFactory) -> None:
    one = session()
    await pair(one)
    command = [sys.executable, "-c", APPLICATION, str(one.device.database)]
    application = await anyio.open_process(command, env={**os.environ, **deaf.environment}, stderr=None)
    try:
        assert application.stdout is not None
        pid = int(await application.stdout.receive())
        await deaf.dialled()
    finally:
        application.kill()
        await application.wait()
        await application.aclose()
    with anyio.fail_after(END):
        while _runs(pid):  # noqa: ASYNC110 - another process's child has no event to wait for
            await anyio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_signals_to_a_whole_group_do_not_end_the_workers(session: SessionFactory) -> None:
    async with WhatsAppServer() as whatsapp, whatsapp.driver(spare_timeout=0) as driver, session().link(driver) as link:
        await link.next(PairingOffered)
        [worker] = driver.workers()
        assert os.getpgid(worker.pid) == worker.pid
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(worker.pid, number)
        await whatsapp.phone("79001234567").scan((await link.next(PairingOffered)).text)
        await link.next(LinkUp)


def test_nothing_is_left_of_a_driver(session: SessionFactory) -> None:
    command = [sys.executable, "-c", TWICE, str(session().device.database)]
    said = subprocess.check_output(command, env=os.environ | NOWHERE, text=True, timeout=100)
    before, after = said.splitlines()
    assert after == before
