"""Ends of sessions in a worker, with the real inbox and without Go."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wasessionpool.drivers.neonize import engine as module
from wasessionpool.drivers.neonize.binding import EVENT_CODES, Binding
from wasessionpool.drivers.neonize.database import uri_path
from wasessionpool.drivers.neonize.engine import Engine
from wasessionpool.drivers.neonize.hosted import Hosted
from wasessionpool.drivers.neonize.inbox import InboxWriter
from wasessionpool.drivers.neonize.lease import Lease
from wasessionpool.drivers.neonize.wire import Happened, Log, Over, Report, Start, Stored
from wasessionpool.links import InboxBlocked, LinkEnded
from wasessionpool.models import Contact, DisconnectReason

from .conftest import ThreadLimit

NAME = "a:main:1"
PATIENCE = 20.0
"""Seconds until what another thread does is given up."""


class Reports:
    """What the engine reports, which a test waits for."""

    def __init__(self) -> None:
        self.all: list[Report] = []
        self._changed = threading.Condition()

    def __call__(self, report: Report) -> None:
        with self._changed:
            self.all.append(report)
            self._changed.notify_all()

    def wait(self, wanted: Callable[[Report], object], timeout: float = PATIENCE) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: any(map(wanted, self.all)), timeout)


class FakeLibrary:
    """A client that opens its line when it is let, and returns once it is stopped while the line is open."""

    def __init__(self, _binding: object) -> None:
        self.running, self.may_open, self.stopped = (threading.Event() for _ in range(3))
        self.on_event: Callable[..., None] = lambda *_: None
        self.opened = False
        self.disconnected: set[bytes] = set()
        self.may_open.set()

    def callbacks(self, _qr: object, _status: object, on_event: Callable[..., None], _log: object) -> tuple[()]:
        self.on_event = on_event
        return ()

    def run(self, _start: Start, key: bytes, _callbacks: object) -> str:
        self.running.set()
        assert self.may_open.wait(PATIENCE)
        self.opened = True
        self.on_event(key, 0, 0, EVENT_CODES["Connected"])
        assert self.stopped.wait(PATIENCE)
        return ""

    def disconnect(self, key: bytes) -> None:
        self.disconnected.add(key)

    def has_opened(self, _key: bytes) -> bool:
        return self.opened

    def stop(self, _key: bytes) -> None:
        if self.opened:
            self.stopped.set()


class Message:
    """neonize's, of which the engine only hands on that it came."""

    @classmethod
    def FromString(cls, _data: bytes) -> Message:  # noqa: N802 - protobuf's
        return cls()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def engine(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(module, "Library", FakeLibrary)
    monkeypatch.setattr(module, "SETTLE", 0.01)
    events = SimpleNamespace(Connected=Message, Message=Message)
    engine = Engine(cast("Binding", SimpleNamespace(events=events)), reports)
    monkeypatch.setattr(module.convert, "message", lambda *_: None)
    monkeypatch.setattr(Hosted, "interpret", lambda *_: None)
    return engine


def library_of(engine: Engine) -> FakeLibrary:
    return cast("FakeLibrary", engine._library)


def start(directory: Path, **fields: Any) -> Start:
    values = {"session": NAME, "database": uri_path(directory / "device.db"), "inbox": str(directory / "inbox")}
    return Start(**{"inbox_max_bytes": 1 << 20, "device_name": "x", "pairing": False, **values, **fields})


def hosted(engine: Engine, begin: Start) -> Hosted:
    """Start a session, and wait until its line is open."""
    engine.start(begin)
    session = engine._hosted[begin.session]
    assert session.started.wait(PATIENCE)
    session.me = Contact(id="1@s.whatsapp.net")
    return session


def is_over(report: Report) -> bool:
    return isinstance(report, Over)


def ends(reports: Reports) -> list[tuple[DisconnectReason, str | None]]:
    return [
        (report.event.reason, report.event.detail)
        for report in reports.all
        if isinstance(report, Happened) and isinstance(report.event, LinkEnded)
    ]


def is_blocked(report: Report) -> bool:
    return isinstance(report, Happened) and isinstance(report.event, InboxBlocked)


def stored(begin: Start) -> int:
    with closing(sqlite3.connect(begin.inbox)) as connection:
        count: int = connection.execute("select count(*) from received").fetchone()[0]
    return count


@pytest.mark.parametrize("parting", [False, True], ids=["stop", "the application died"])
def test_at_its_end_a_full_inbox_takes_what_was_acknowledged(
    engine: Engine, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parting: bool
) -> None:
    begin = start(tmp_path, inbox_max_bytes=0)
    session = hosted(engine, begin)
    monkeypatch.setattr(engine, "_convert", lambda _: False)

    def receive() -> None:
        for _ in range(100):
            engine._keep(session, b"message")

    whatsmeow = threading.Thread(target=receive, daemon=True)
    whatsmeow.start()
    assert reports.wait(is_blocked)
    assert stored(begin) == 0
    if parting:
        engine.part(PATIENCE)
    else:
        engine.stop(NAME)
        assert session.returned.wait(PATIENCE)
    assert stored(begin) == 100
    whatsmeow.join(PATIENCE)


def test_a_store_that_takes_long_is_no_quiet(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = start(tmp_path)
    session = hosted(engine, begin)
    monkeypatch.setattr(engine, "_convert", lambda _: False)
    monkeypatch.setattr(module, "QUIET", 0.02)
    began = threading.Event()
    append = InboxWriter.append

    def slow(writer: InboxWriter, data: bytes, **options: Any) -> bool:
        began.set()
        threading.Event().wait(0.1)
        return append(writer, data, **options)

    monkeypatch.setattr(InboxWriter, "append", slow)

    def receive() -> None:
        for _ in range(5):
            if not library_of(engine).stopped.is_set():
                engine._keep(session, b"message")

    threading.Thread(target=receive, daemon=True).start()
    assert began.wait(PATIENCE)
    engine.stop(NAME)
    assert session.returned.wait(PATIENCE)
    assert stored(begin) == 5


def test_a_client_that_comes_up_only_after_its_stop_is_stopped_again(
    engine: Engine, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ABANDON", 0.05)
    library = library_of(engine)
    library.may_open.clear()
    engine.start(start(tmp_path))
    assert library.running.wait(PATIENCE)
    engine.stop(NAME)
    assert not reports.wait(is_over, 0.2), "it may yet open its line"
    library.may_open.set()
    assert reports.wait(is_over)
    assert library.stopped.is_set()
    assert not any("left behind" in report.text for report in reports.all if isinstance(report, Log))


def test_a_session_that_is_stopped_while_it_waits_for_its_lease_leaves_none(
    engine: Engine, reports: Reports, tmp_path: Path
) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        engine.start(start(tmp_path))
        session = engine._hosted[NAME]
        engine.stop(NAME)
        assert session.returned.wait(PATIENCE)
        assert session.lease is None
        assert reports.wait(is_over)
    finally:
        os.close(descriptor)


def test_what_a_session_takes_after_it_was_given_up_is_given_back(
    engine: Engine, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ABANDON", 0.02)
    monkeypatch.setattr(module, "OPEN_LIMIT", 0.02)
    usual, may_take, taken = Lease.take, threading.Event(), threading.Event()

    def take(*arguments: Any) -> Lease | None:
        assert may_take.wait(PATIENCE)
        lease = usual(*arguments)
        taken.set()
        return lease

    monkeypatch.setattr(Lease, "take", take)
    engine.start(start(tmp_path))
    engine.stop(NAME)
    assert reports.wait(is_over)
    may_take.set()
    assert taken.wait(PATIENCE)
    next_one = usual(tmp_path, PATIENCE, threading.Event())
    assert next_one is not None
    next_one.release()


def test_messages_that_could_not_be_made_readable_are_tried_again(
    engine: Engine, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread_limit: ThreadLimit
) -> None:
    monkeypatch.setattr("wasessionpool.drivers.neonize.intake.CONVERT_RETRY", 0.02)
    session = hosted(engine, start(tmp_path))
    thread_limit.refuses = lambda _: True
    usual, failures = InboxWriter.convert, iter(range(3))

    def convert(writer: InboxWriter, *arguments: Any) -> None:
        if next(failures, None) is not None:
            raise sqlite3.OperationalError("database or disk is full")
        usual(writer, *arguments)

    monkeypatch.setattr(InboxWriter, "convert", convert)
    engine._keep(session, b"message")
    assert reports.wait(lambda report: isinstance(report, Stored))
    assert len([report for report in reports.all if is_blocked(report)]) == 1
    engine.stop(NAME)
    assert reports.wait(is_over)


def test_an_end_does_not_wait_for_messages_that_cannot_be_made_readable(
    engine: Engine, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = start(tmp_path)
    session = hosted(engine, begin)

    def convert(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(InboxWriter, "convert", convert)
    engine._keep(session, b"message")
    assert reports.wait(is_blocked)
    engine.stop(NAME)
    assert reports.wait(is_over)
    assert stored(begin) == 1


def test_a_session_that_gets_no_thread_ends_alone_and_can_be_started_again(
    engine: Engine, reports: Reports, tmp_path: Path, thread_limit: ThreadLimit
) -> None:
    begin = start(tmp_path)
    thread_limit.refuses = lambda _: True
    engine.start(begin)
    assert reports.wait(is_over)
    assert ends(reports) == [(DisconnectReason.WORKER_CRASHED, "the worker is at a limit: can't start new thread")]
    thread_limit.refuses = lambda _: False
    assert library_of(engine).disconnected == set()
    hosted(engine, begin)
    engine.stop(NAME)
    assert reports.wait(lambda _: sum(map(is_over, reports.all)) == 2)


def test_a_session_is_stopped_also_where_its_stop_gets_no_thread(
    engine: Engine, reports: Reports, tmp_path: Path, thread_limit: ThreadLimit
) -> None:
    hosted(engine, start(tmp_path))
    thread_limit.refuses = lambda _: True
    engine.stop(NAME)
    assert reports.wait(is_over)
    assert library_of(engine).stopped.is_set()


def test_at_a_parting_every_session_that_gets_a_thread_closes_its_line(
    engine: Engine, tmp_path: Path, thread_limit: ThreadLimit
) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        hosted(engine, start(tmp_path / str(number), session=f"a:main:{number}"))
    refusals = iter([False, True])
    thread_limit.refuses = lambda _: next(refusals, False)
    engine.part(PATIENCE)
    assert library_of(engine).disconnected == {b"a:main:0", b"a:main:2"}


def test_a_code_that_gets_no_thread_ends_the_pairing(
    engine: Engine, reports: Reports, tmp_path: Path, thread_limit: ThreadLimit
) -> None:
    session = hosted(engine, start(tmp_path, pairing=True, pairing_number="79001234567"))
    thread_limit.refuses = lambda _: True
    engine._pump.put(lambda: engine._offer(session, "code", 0.0))
    assert reports.wait(is_over)
    detail = "no code: the worker is at a limit: can't start new thread"
    assert ends(reports) == [(DisconnectReason.PAIRING_FAILED, detail)]
