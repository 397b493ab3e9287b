"""The inbox as both processes use it; SQLite is the real one, and the application's side runs on both backends."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from wasessionpool.drivers.neonize import inbox
from wasessionpool.drivers.neonize.inbox import InboxReader, InboxWriter
from wasessionpool.errors import StorageError
from wasessionpool.models import Contact, InboundMessage

pytestmark = pytest.mark.anyio
BOB = Contact(id="79001234567@s.whatsapp.net")
PATIENCE = 20.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OpenReader = Callable[[], AbstractAsyncContextManager[InboxReader]]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "100% in#box?.d"


@pytest.fixture
def writer(path: Path) -> InboxWriter:
    return InboxWriter(path, 64 * 1024 * 1024)


@pytest.fixture
def open_reader(path: Path) -> OpenReader:
    @asynccontextmanager
    async def open_() -> AsyncIterator[InboxReader]:
        reader = InboxReader(path)
        await reader.open()
        try:
            yield reader
        finally:
            await reader.close()

    return open_


def message(number: int) -> InboundMessage:
    return InboundMessage(message_id=str(number), chat=BOB, sender=BOB, text=f"text {number}", timestamp=NOW)


def receive(writer: InboxWriter, *messages: InboundMessage | None) -> None:
    for _message in messages:
        assert writer.append(b"raw")
    rows = writer.unconverted(100)
    assert [data for _number, data in rows] == [b"raw"] * len(messages)
    writer.convert([number for number, _data in rows], messages)


async def test_keeps_order_and_ids_until_acknowledged(writer: InboxWriter, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        receive(writer, message(1), None, message(3), message(2))
        items = await reader.read(0, 100)
        assert [item.message for item in items] == [message(1), message(3), message(2)]
        assert not any(item.redelivered for item in items)
        assert len({item.event_id for item in items}) == 3
        assert [item.message for item in await reader.read(items[0].number, 1)] == [message(3)]
        await reader.acknowledge([items[0].number, items[1].number])
    async with open_reader() as reader:
        receive(writer, message(4))
        again = await reader.read(0, 100)
        assert [(item.message, item.redelivered) for item in again] == [(message(2), True), (message(4), False)]
        assert again[0].event_id == items[2].event_id


async def test_what_came_before_is_no_news(
    writer: InboxWriter, path: Path, open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = message(1).model_copy(update={"kind": "edited"})
    async with open_reader() as reader:
        receive(writer, message(1), message(2))
        items = await reader.read(0, 100)
        await reader.acknowledge([item.number for item in items])
        writer.close()
        again = InboxWriter(path, 64 * 1024 * 1024)
        receive(again, message(2), edited, message(1), message(3), message(3))
        assert [item.message for item in await reader.read(0, 100)] == [edited, message(3)]
        monkeypatch.setattr(inbox, "REMEMBERED", 1)
        receive(again, message(4))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("select count(*) from known").fetchone() == (1,)
        again.close()


class Work:
    """A reader's call whose caller is cancelled by asyncio, and which goes on in its thread until it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.gate, self.ended = (threading.Event() for _ in range(3))
        self.found: object = None
        read = inbox._read

        def work(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, str, str]]:
            self.begun.set()
            try:
                assert self.gate.wait(PATIENCE)
                self.found = len(rows := read(connection, after, limit))
            except sqlite3.Error as error:
                self.found = error
                raise
            finally:
                self.ended.set()
            return rows

        monkeypatch.setattr(inbox, "_read", work)

    async def begin(self, reader: InboxReader) -> None:
        caller = asyncio.create_task(reader.read(0, 100))
        assert await anyio.to_thread.run_sync(self.begun.wait, PATIENCE)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_call_whose_caller_was_cancelled_has_the_file_to_itself_until_it_ends(
    writer: InboxWriter, open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_reader() as reader:
        receive(writer, message(1))
        work, delete, next_began = Work(monkeypatch), inbox._delete, threading.Event()

        def note(*arguments: Any, **options: Any) -> None:
            next_began.set()
            delete(*arguments, **options)

        monkeypatch.setattr(inbox, "_delete", note)
        await work.begin(reader)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.acknowledge, [1])
            assert not await anyio.to_thread.run_sync(next_began.wait, 0.2)
            work.gate.set()
        assert (next_began.is_set(), work.found) == (True, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_closing_waits_for_a_call_whose_caller_was_cancelled(
    writer: InboxWriter, open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_reader() as reader:
        receive(writer, message(1))
        work = Work(monkeypatch)
        await work.begin(reader)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.close)
            assert not await anyio.to_thread.run_sync(work.ended.wait, 0.2)
            assert reader._connection is not None
            work.gate.set()
        assert (work.found, reader._connection) == (1, None)


async def test_what_is_not_converted_yet_holds_back_what_follows(writer: InboxWriter, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        receive(writer, message(1))
        writer.append(b"raw")
        assert [item.message for item in await reader.read(0, 100)] == [message(1)]
        number, *_ = writer.unconverted(100)[0]
        writer.convert([number], [message(2)])
        assert [item.message for item in await reader.read(0, 100)] == [message(1), message(2)]


async def test_what_a_dead_worker_left_is_converted_by_the_next(
    writer: InboxWriter, path: Path, open_reader: OpenReader
) -> None:
    receive(writer, message(1))
    writer.append(b"left")
    writer.close()
    second = InboxWriter(path, 1 << 20)
    rows = second.unconverted(100)
    assert [data for _number, data in rows] == [b"left"]
    second.convert([rows[0][0]], [message(2)])
    async with open_reader() as reader:
        assert [item.message for item in await reader.read(0, 100)] == [message(1), message(2)]


async def test_a_full_inbox_takes_more_once_something_was_acknowledged(path: Path, open_reader: OpenReader) -> None:
    writer = InboxWriter(path, 100_000)
    numbers = []
    while writer.append(b"x" * 10_000):
        number, *_ = writer.unconverted(1)[0]
        writer.convert([number], [message(number)])
        numbers.append(number)
    assert 5 < len(numbers) < 400
    async with open_reader() as reader:
        await reader.acknowledge(numbers)
    assert writer.append(b"x")


async def test_trims_to_the_newest(writer: InboxWriter, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        receive(writer, *(message(number) for number in range(10)))
        assert await reader.trim(20) == 0
        assert await reader.trim(3) == 7
        assert [item.message for item in await reader.read(0, 100)] == [message(7), message(8), message(9)]
        assert await reader.trim(0) == 3


async def test_waits_for_news(writer: InboxWriter, open_reader: OpenReader) -> None:
    async with open_reader() as reader, anyio.create_task_group() as tasks:
        empty, heard = anyio.Event(), anyio.Event()

        async def listen() -> None:
            assert await reader.read(0, 1) == []
            empty.set()
            await reader.changed()
            assert len(await reader.read(0, 1)) == 1
            heard.set()

        tasks.start_soon(listen)
        await empty.wait()
        receive(writer, message(1))
        reader.notify()
        await heard.wait()


async def test_before_a_worker_made_the_file_there_is_nothing(path: Path, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        assert await reader.read(0, 1) == []
        await reader.acknowledge([1])
        assert await reader.trim(0) == 0
        assert not path.exists()


async def test_a_damaged_file_is_put_aside(
    path: Path, open_reader: OpenReader, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"this is no database" * 100)
    async with open_reader() as reader:
        assert await reader.read(0, 1) == []
        receive(InboxWriter(path, 1 << 20), message(1))
        assert [item.message for item in await reader.read(0, 1)] == [message(1)]
    assert path.with_name(f"{path.name}.damaged").exists()
    assert "is damaged" in caplog.text


async def test_damage_anywhere_puts_a_file_aside(
    path: Path, open_reader: OpenReader, caplog: pytest.LogCaptureFixture
) -> None:
    writer = InboxWriter(path, 1 << 30)
    receive(writer, *(message(number).model_copy(update={"text": "x" * 1000}) for number in range(100)))
    writer.close()
    with path.open("r+b") as file:
        file.seek(4096 * 10)
        file.write(b"\xff" * 4096 * 3)
    async with open_reader() as reader:
        assert await reader.read(0, 100) == []
        writer = InboxWriter(path, 1 << 20)
        receive(writer, message(1))
        assert [item.message for item in await reader.read(0, 1)] == [message(1)]
    assert path.with_name(f"{path.name}.damaged").exists()
    assert "is damaged" in caplog.text


async def test_a_damaged_file_that_cannot_be_put_aside_is_a_storage_error(path: Path, open_reader: OpenReader) -> None:
    path.write_bytes(b"this is no database" * 100)
    path.with_name(f"{path.name}.damaged").mkdir()
    with pytest.raises(StorageError, match="cannot be put aside: Is a directory"):
        async with open_reader():
            pass


async def test_no_number_comes_again_in_a_file_that_follows_another(path: Path, open_reader: OpenReader) -> None:
    numbers = []
    for _ in range(2):
        writer = InboxWriter(path, 1 << 20)
        receive(writer, *map(message, range(2)))
        async with open_reader() as reader:
            numbers += [item.number for item in await reader.read(0, 100)]
            await reader.acknowledge(numbers)
        writer.close()
        path.rename(path.with_name(f"{len(numbers)}"))
        await anyio.sleep(0.005)
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 4


async def test_a_file_that_cannot_be_opened_is_a_storage_error(path: Path, open_reader: OpenReader) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="the inbox cannot be used"):
        async with open_reader():
            pass


async def test_a_message_of_another_version_holds_up_nothing_and_stays(
    writer: InboxWriter, path: Path, open_reader: OpenReader, caplog: pytest.LogCaptureFixture
) -> None:
    receive(writer, *(message(number) for number in range(5)))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "update received set content = json_set(content, '$.news', 'secret') where number in "
            "(select number from received order by number limit 3)"
        )
    async with open_reader() as reader:
        assert [item.message for item in await reader.read(0, 2)] == [message(3)]
        assert [item.message for item in await reader.read(0, 100)] == [message(3), message(4)]
    assert "is passed over: 1 errors" in caplog.text
    assert "secret" not in caplog.text
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from received").fetchone() == (5,)


async def test_messages_are_made_readable_all_or_none(writer: InboxWriter, open_reader: OpenReader) -> None:
    for _ in range(2):
        writer.append(b"raw")
    one, two = (number for number, _ in writer.unconverted(2))
    with pytest.raises(sqlite3.Error):
        writer.convert([one, object()], [message(1), message(2)])  # type: ignore[list-item]
    async with open_reader() as reader:
        assert await reader.read(0, 100) == []
        writer.convert([one, two], [message(1), message(2)])
        assert [item.message for item in await reader.read(0, 100)] == [message(1), message(2)]


KILLED = """
import sys
from wasessionpool.drivers.neonize.inbox import InboxWriter
from pathlib import Path
writer = InboxWriter(Path(sys.argv[1]), 1 << 30)
number = 0
while True:
    number += 1
    writer.append(b"%d" % number)
    print(number, flush=True)
"""


async def test_no_message_is_lost_when_the_worker_is_killed(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        told = [int(process.stdout.readline()) for _ in range(200)]
        os.kill(process.pid, signal.SIGKILL)
        told += [int(line) for line in process.stdout if line.endswith(b"\n")]
    rows = InboxWriter(path, 1 << 30).unconverted(1_000_000)
    kept = [int(data) for _number, data in rows]
    assert kept[: len(told)] == told
    assert len(kept) - len(told) <= 1


async def test_the_file_is_private(path: Path) -> None:
    before = os.umask(0o077)
    try:
        writer = InboxWriter(path, 1 << 20)
        receive(writer, message(1))
    finally:
        os.umask(before)
    files = list(path.parent.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    writer.close()
