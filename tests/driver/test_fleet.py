"""Workers that fail, and what is left of them; no WhatsApp is reachable here."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import to_thread

import wasessionpool
from wasessionpool.addresses import Address
from wasessionpool.drivers.neonize import NeonizeDriver, process
from wasessionpool.drivers.neonize import driver as driver_module
from wasessionpool.errors import ConfigurationError, DriverError, SessionNotConnected
from wasessionpool.links import LinkEnded, LinkUp, PairingStarted
from wasessionpool.messages import Text
from wasessionpool.models import DisconnectReason

from .conftest import NOWHERE, Session, SessionFactory, until

pytestmark = pytest.mark.anyio

WorkerFactory = Callable[..., NeonizeDriver]

NO_LIBMAGIC = """
import ctypes, sys
sys.modules["pylibmagic"] = None
real = ctypes.CDLL
ctypes.CDLL = lambda name, *rest: real("missing.so" if "libmagic" in str(name) else name, *rest)
"""
ODD_INTERFACE = """
import importlib
real = importlib.import_module
def odd(name, package=None):
    module = real(name, package)
    if name == "neonize._binder":
        module.gocode.SendMessage.argtypes = []
    return module
importlib.import_module = odd
"""

NO_THREAD = """
import threading
from wasessionpool.drivers.neonize.worker import main
start = threading.Thread.start
def limited(thread):
    if thread.name == "vitals":
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = limited
main()
"""


@pytest.fixture
async def driver() -> AsyncIterator[NeonizeDriver]:
    async with NeonizeDriver(environment=NOWHERE) as driver:
        yield driver


@pytest.fixture
def worker(tmp_path: Path) -> WorkerFactory:
    """Make a driver whose workers run some code."""

    def make(code: str, **options: Any) -> NeonizeDriver:
        (tmp_path / "odd_worker.py").write_text(textwrap.dedent(code))
        environment = NOWHERE | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(wasessionpool.__file__).parents[1]}"}
        return NeonizeDriver(worker_module="odd_worker", environment=environment, **options)

    return make


async def end_of(session: Session, driver: NeonizeDriver) -> LinkEnded:
    async with session.link(driver) as link:
        return await link.next(LinkEnded)


async def test_without_a_network(driver: NeonizeDriver, session: SessionFactory) -> None:
    ended = await end_of(session(), driver)
    assert ended.reason is DisconnectReason.NETWORK
    assert "connection refused" in (ended.detail or "")


async def test_a_worker_that_gets_no_threads_dies_at_its_start_and_says_why(
    worker: WorkerFactory, session: SessionFactory
) -> None:
    async with worker(NO_THREAD) as driver:
        ended = await end_of(session(), driver)
    assert ended.reason is DisconnectReason.WORKER_CRASHED
    assert "can't start new thread" in (ended.detail or "")


async def test_a_file_that_is_no_database(driver: NeonizeDriver, session: SessionFactory) -> None:
    one = session()
    one.device.database.write_bytes(b"this is no database at all" * 100)
    assert (await end_of(one, driver)).reason is DisconnectReason.STORAGE
    assert driver.workers() == ()


async def test_a_directory_in_place_of_the_database(driver: NeonizeDriver, session: SessionFactory) -> None:
    one = session()
    one.device.database.mkdir()
    assert (await end_of(one, driver)).reason is DisconnectReason.STORAGE


async def test_a_directory_that_is_gone(driver: NeonizeDriver, session: SessionFactory) -> None:
    one = session()
    one.device.database.parent.rmdir()
    assert (await end_of(one, driver)).reason is DisconnectReason.STORAGE


async def test_a_name_that_means_something_to_sqlite(driver: NeonizeDriver, session: SessionFactory) -> None:
    one = session("x")
    odd = one.device.database.parent / "a%20b#c?d é"
    odd.mkdir()
    one = Session(one.record, type(one.device)(odd / "device.db", odd / "inbox"))
    await end_of(one, driver)
    assert [path.name for path in odd.glob("*.db")] == ["device.db"]
    with sqlite3.connect(one.device.database) as database:
        assert database.execute("pragma journal_mode").fetchone() == ("wal",)
    database.close()
    assert {path.stat().st_mode & 0o777 for path in odd.iterdir()} == {0o600}


async def test_a_device_that_another_process_has_open(driver: NeonizeDriver, session: SessionFactory) -> None:
    one = session()
    descriptor = os.open(one.device.database.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert (await end_of(one, driver)).reason is DisconnectReason.WORKER_CRASHED
    finally:
        os.close(descriptor)
    assert (await end_of(one, driver)).reason is DisconnectReason.NETWORK


async def test_a_worker_that_cannot_be_found(session: SessionFactory) -> None:
    async with NeonizeDriver(worker_module="no_such_worker", environment=NOWHERE) as driver:
        ended = await end_of(session(), driver)
    assert ended.reason is DisconnectReason.WORKER_CRASHED
    assert "No module named no_such_worker" in (ended.detail or "")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("import importlib.metadata as m; m.version = lambda name: '0.6.0'", "0.6.0 is installed"),
        ("import platform; platform.machine = lambda: 'sparc'", "no neonize-linux-sparc.so"),
        (NO_LIBMAGIC, "apt install libmagic1"),
        (ODD_INTERFACE, "SendMessage takes or returns something else"),
    ],
    ids=["newer", "platform", "libmagic", "interface"],
)
async def test_an_installation_that_cannot_work(
    worker: WorkerFactory, session: SessionFactory, odd: str, message: str
) -> None:
    code = odd + "\nfrom wasessionpool.drivers.neonize.worker import main\nmain()\n"
    async with worker(code) as driver, driver.connect(session().record, session().device) as connection:
        iterator = aiter(connection)
        assert isinstance(await anext(iterator), PairingStarted)
        with pytest.raises(ConfigurationError, match=message):
            await anext(iterator)
        assert driver.workers() == ()


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("1/0", "ZeroDivisionError"),
        ("import os; os.abort()", "signal 6 (SIGABRT)"),
        ("import os, sys; os.write(int(sys.argv[-1]), b'nonsense')", "protocol error"),
        ("import time; time.sleep(60)", "not ready within 0.5 s"),
    ],
    ids=["exit", "exception", "abort", "garbage", "hang"],
)
async def test_a_worker_that_fails_at_its_start(
    worker: WorkerFactory, session: SessionFactory, monkeypatch: pytest.MonkeyPatch, code: str, detail: str
) -> None:
    if "sleep" in code:
        monkeypatch.setattr(process, "START_TIMEOUT", 0.5)
    async with worker(code) as driver:
        ended = await end_of(session(), driver)
    assert ended.reason is DisconnectReason.WORKER_CRASHED
    assert detail in (ended.detail or "")


@pytest.mark.parametrize(("variable", "usual"), [("MALLOC_ARENA_MAX", "2"), ("GOMAXPROCS", "8")])
@pytest.mark.parametrize("told", [None, "7"])
async def test_a_worker_has_the_environment_that_suits_it_unless_it_is_told_otherwise(
    worker: WorkerFactory,
    session: SessionFactory,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    usual: str,
    told: str | None,
) -> None:
    monkeypatch.delenv(variable, raising=False)
    if told is not None:
        monkeypatch.setenv(variable, told)
    async with worker(f"import os; raise SystemExit('it is ' + os.environ['{variable}'])") as driver:
        assert f"it is {told or usual}" in ((await end_of(session(), driver)).detail or "")


async def test_workers_that_die_at_their_start_are_spawned_more_and_more_slowly(
    worker: WorkerFactory, session: SessionFactory, tmp_path: Path
) -> None:
    births = tmp_path / "births"
    code = f"import time; print(time.monotonic(), file=open({str(births)!r}, 'a')); raise SystemExit(3)"
    async with worker(code, respawn_delay=0.4) as driver:
        for _ in range(4):
            await end_of(session(), driver)
        assert driver.worker_restarts == 4
    times = [float(line) for line in births.read_text().split()]
    for (before, after), delay in zip(pairwise(times), (0.4, 0.8, 1.6), strict=True):
        assert after - before >= delay


@pytest.mark.parametrize("proxy", ["ftp://secret@host", "http://", "host:8080", "http://[secret", ""])
async def test_a_proxy_that_is_none(driver: NeonizeDriver, session: SessionFactory, proxy: str) -> None:
    one = session(proxy=proxy)
    async with driver.connect(one.record, one.device) as connection:
        with pytest.raises(ConfigurationError, match="https://, socks5://") as caught:
            await anext(aiter(connection))
    assert "secret" not in str(caught.value)


async def test_a_worker_may_refuse_a_proxy(worker: WorkerFactory, session: SessionFactory) -> None:
    code = """
        from wasessionpool.drivers.neonize.worker import main
        def check(proxy):
            if proxy != "http://127.0.0.1:9": raise ValueError("foreign")
        main(check_proxy=check)
    """
    async with worker(code) as driver:
        foreign = await end_of(session("a", proxy="http://192.0.2.1:1"), driver)
        allowed = await end_of(session("b", proxy="http://127.0.0.1:9"), driver)
    assert foreign.detail == "the proxy is refused: foreign"
    assert "connection refused" in (allowed.detail or "")


async def test_a_proxy_that_go_cannot_read_is_not_repeated(driver: NeonizeDriver, session: SessionFactory) -> None:
    ended = await end_of(session(proxy='http://user:se"cret@127.0.0.1:1'), driver)
    assert (ended.reason, ended.detail) == (DisconnectReason.NETWORK, 'parse "the proxy": net/url: invalid userinfo')


LOOPBACK = """
import socket, sys
from wasessionpool.drivers.neonize.wire import *
from wasessionpool.links import LinkUp

line, decoder = socket.socket(fileno=int(sys.argv[-1])), FrameDecoder(COMMANDS)
line.sendall(encode(Hello(neonize="none")))
while data := line.recv(65536):
    for command in decoder.feed(data):
        if isinstance(command, Start):
            line.sendall(encode(Running(session=command.session)))
            up = Happened(session=command.session, event=LinkUp(jid="1@s.whatsapp.net", phone_number="+1"))
            line.sendall(encode(up))
        elif isinstance(command, Stop):
            line.sendall(encode(Over(session=command.session)))
        elif isinstance(command, Quit):
            sys.exit()
"""
"""A worker that links every session at once, and nothing else."""


def link_on_disk(session: Session) -> None:
    """Make a device's database that looks linked, for a worker that does not open it."""
    with closing(sqlite3.connect(session.device.database)) as database, database:
        database.execute("create table whatsmeow_device (jid text)")
        database.execute("insert into whatsmeow_device values ('1')")


async def test_the_applications_threads_may_all_be_busy(worker: WorkerFactory, session: SessionFactory) -> None:
    one, done = session(), threading.Event()
    link_on_disk(one)
    limiter = to_thread.current_default_thread_limiter()
    async with worker(LOOPBACK) as driver, anyio.create_task_group() as tasks:
        for _ in range(int(limiter.total_tokens)):
            tasks.start_soon(to_thread.run_sync, done.wait)
        await until(lambda: limiter.available_tokens == 0)
        try:
            async with one.link(driver) as link:
                await link.next(LinkUp, timeout=20)
        finally:
            done.set()


async def test_a_worker_that_is_ending_takes_nothing_new(
    worker: WorkerFactory, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaping, reap, read = anyio.Event(), anyio.Event(), process.WorkerProcess._watch_output

    async def watch_output(self: process.WorkerProcess) -> None:
        await read(self)
        if self._line is None:
            reaping.set()
            await reap.wait()

    monkeypatch.setattr(process.WorkerProcess, "_watch_output", watch_output)
    monkeypatch.setattr(process, "END_TIMEOUT", 60)
    old, new = [session(name) for name in ("a", "b")], session("new")
    for one in (*old, new):
        link_on_disk(one)
    async with worker(LOOPBACK) as driver, old[0].link(driver) as first, old[1].link(driver) as second:
        await first.next(LinkUp)
        await second.next(LinkUp)
        [dying] = driver.workers()
        os.kill(dying.pid, signal.SIGABRT)
        await reaping.wait()
        with pytest.raises(SessionNotConnected):
            await first.connection.send(Address.parse("79001234567"), Text(text="x"))
        async with new.link(driver) as link:
            await link.next(LinkUp)
            reap.set()
            for one in (first, second):
                assert (await one.next(LinkEnded)).reason is DisconnectReason.WORKER_CRASHED
            assert not any(isinstance(event, LinkEnded) for event in link.events)
            quarantine = driver._terms.fleet.quarantine if driver._terms is not None else None
            assert quarantine is not None
            assert [quarantine.share(one.record.key) for one in (*old, new)] == [1, 1, None]


async def test_lifetime_of_a_driver(session: SessionFactory) -> None:
    driver = NeonizeDriver(environment=NOWHERE)
    with pytest.raises(DriverError, match="not entered"):
        async with driver.connect(session().record, session().device):
            pass
    async with driver:
        with pytest.raises(DriverError, match="already"):
            async with driver:
                pass
    assert driver.workers() == ()
    with pytest.raises(ConfigurationError):
        NeonizeDriver(sessions_per_worker=0)


@pytest.mark.parametrize(("platform", "libc", "message"), [("win32", "", "Windows"), ("linux", "", "not Alpine")])
async def test_a_platform_without_neonize(
    monkeypatch: pytest.MonkeyPatch, platform: str, libc: str, message: str
) -> None:
    monkeypatch.setattr(driver_module, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(os, "confstr", lambda _: libc)
    with pytest.raises(ConfigurationError, match=message):
        async with NeonizeDriver():
            pass
