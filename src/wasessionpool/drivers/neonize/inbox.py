"""What a device received and the application has not acknowledged: a file of its own beside the device's keys.

The worker that hosts the device writes it, and the application reads it and removes what is done with: SQLite keeps the
two apart, and neither waits for the other longer than a commit takes. Both use Python's SQLite; Go never opens it.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import anyio
from pydantic import ValidationError
from ulid import ULID

from ...disk import on_disk
from ...errors import StorageError
from ...links import InboxItem
from ...models import InboundMessage
from .database import uri_path

logger = logging.getLogger(__name__)

BUSY = 10.0
"""Seconds to wait for the other process's commit, which takes microseconds."""

REMEMBERED = 1_000
"""Messages of which is kept that they came: WhatsApp sends again what it did not hear to have been taken."""

_SCHEMA = """
create table if not exists received (
    number integer primary key autoincrement,
    raw blob,
    event_id text,
    content text
);
create table if not exists known (identity integer primary key, number integer not null);
"""
_FIRST_NUMBER = """
insert into sqlite_sequence (name, seq)
select 'received', ? where not exists (select 1 from sqlite_sequence where name = 'received')
"""
_CONVERT = "update received set raw = null, event_id = ?, content = ? where number = ?"
T = TypeVar("T")
Raw = tuple[int, bytes]
"""A number, and a message as neonize told it: protobuf."""


class InboxWriter:
    """The worker's side; usable from several threads. Raises ``sqlite3.Error``."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._converted = 0
        self._connection = _connect(path, create=True)
        try:
            self._connection.execute("pragma auto_vacuum = full")
            self._connection.execute("pragma journal_mode = wal")
            self._connection.executescript(_SCHEMA)
            # Whatever became of an earlier file, no number that its reader may still have in hand comes again.
            self._connection.execute(_FIRST_NUMBER, (time.time_ns() // 1_000_000,))
            self._page_size: int = self._connection.execute("pragma page_size").fetchone()[0]
        except BaseException:
            self._connection.close()
            raise

    def append(self, data: bytes, *, force: bool = False) -> bool:
        """Store what came; ``False``: there is no room until the application removes something, or with ``force``."""
        with self._lock:
            if not force and self._size() > self._max_bytes:
                return False
            self._connection.execute("insert into received (raw) values (?)", (data,))
            return True

    def unconverted(self, limit: int) -> list[Raw]:
        """Return the oldest messages that are still as neonize told them."""
        query = "select number, raw from received where number > ? and raw is not null order by number limit ?"
        with self._lock:
            return self._connection.execute(query, (self._converted, limit)).fetchall()

    def convert(self, numbers: Sequence[int], messages: Sequence[InboundMessage | None]) -> None:
        """Make messages readable for the application; ``None``, and what came before, is no news to it and removed."""
        with self._lock:
            with _transaction(self._connection):
                for number, message in zip(numbers, messages, strict=True):
                    if message is None or not self._is_new(number, message):
                        self._connection.execute("delete from received where number = ?", (number,))
                    else:
                        row = (str(ULID()), message.model_dump_json(), number)
                        self._connection.execute(_CONVERT, row)
                self._connection.execute("delete from known where number <= ?", (numbers[-1] - REMEMBERED,))
            self._converted = numbers[-1]

    def _is_new(self, number: int, message: InboundMessage) -> bool:
        known = "insert or ignore into known (identity, number) values (?, ?)"
        return self._connection.execute(known, (_identity(message), number)).rowcount > 0

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _size(self) -> int:
        pages: int = self._connection.execute("pragma page_count").fetchone()[0]
        return pages * self._page_size


class InboxReader:
    """The application's side, an ``Inbox``. Raises ``StorageError``.

    Its connection is used by one thread at a time, also where a caller is cancelled and its call goes on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._old = 0
        self._changed = anyio.Event()

    async def open(self) -> None:
        """Find out what is there from earlier on; a file that is damaged anywhere is put aside.

        Raises ``StorageError`` where that, too, fails. To look for damage takes some 0.1 s for 100 MB.
        """
        try:
            self._old = await self._do(_checked_last_number, default=0)
        except StorageError as error:
            if not isinstance(error.__cause__, sqlite3.DatabaseError) or isinstance(
                error.__cause__, sqlite3.OperationalError
            ):
                raise
            aside = await on_disk(self._path, self._put_aside)
            logger.error("an inbox is damaged (%s) and was put aside as %s", error.__cause__, aside)

    async def close(self) -> None:
        """Close the file, once no call is at work any more."""
        with anyio.CancelScope(shield=True), suppress(StorageError):
            await on_disk(self._path, self._let_go, keep=True)

    def notify(self) -> None:
        """There is more to read."""
        self._changed.set()

    async def read(self, after: int, limit: int) -> Sequence[InboxItem]:
        self._changed = anyio.Event()
        nothing: list[tuple[int, str, str]] = []
        items: list[InboxItem] = []
        while not items and (rows := await self._do(partial(_read, after=after, limit=limit), default=nothing)):
            items = [item for row in rows if (item := self._item(*row)) is not None]
            after = rows[-1][0]
        return items

    def _item(self, number: int, event_id: str, content: str) -> InboxItem | None:
        try:
            message = InboundMessage.model_validate_json(content)
        except ValidationError as error:
            # Written by another version, which may come back for it: it stays, and holds up nothing.
            logger.error("message %d of an inbox is passed over: %d errors in it", number, error.error_count())
            return None
        return InboxItem(number=number, event_id=event_id, message=message, redelivered=number <= self._old)

    async def changed(self) -> None:
        await self._changed.wait()

    async def acknowledge(self, numbers: Sequence[int]) -> None:
        await self._do(partial(_delete, numbers=numbers), default=None)

    async def trim(self, keep: int) -> int:
        return await self._do(partial(_trim, keep=keep), default=0)

    async def _do(self, work: Callable[[sqlite3.Connection], T], *, default: T) -> T:
        return await on_disk(self._path, partial(self._work, work, default))

    def _work(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        try:
            if self._connection is None:
                if not self._path.exists():
                    return default
                self._connection = _connect(self._path, create=False)
            return work(self._connection)
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return default
            raise StorageError(f"the inbox cannot be used: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"the inbox cannot be used: {error}") from error

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _put_aside(self) -> Path:
        self._let_go()
        return _put_aside(self._path)


def _identity(message: InboundMessage) -> int:
    """Return a number that no other message of the last few thousand has; its author chooses a message's id."""
    name = " ".join((message.kind, message.chat.id, message.sender.id, message.message_id))
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)


def _connect(path: Path, *, create: bool) -> sqlite3.Connection:
    uri = f"file:{uri_path(path)}?mode={'rwc' if create else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)
    # What a commit has written survives the process; the last ones may be lost with the power, never the file.
    connection.execute("pragma synchronous = normal")
    connection.execute("pragma cache_size = -128")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("begin immediate")
    with connection:
        yield


def _put_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"the inbox is damaged and cannot be put aside: {error.strerror}") from error
    return aside


def _checked_last_number(connection: sqlite3.Connection) -> int:
    [found] = connection.execute("pragma quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found.splitlines()[-1])
    return int(connection.execute("select coalesce(max(number), 0) from received").fetchone()[0])


def _read(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, str, str]]:
    query = "select number, event_id, content from received where number > ? order by number limit ?"
    rows = connection.execute(query, (after, limit))
    return list(takewhile(lambda row: row[2] is not None, rows))


def _delete(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    with _transaction(connection):
        connection.executemany("delete from received where number = ?", [(number,) for number in numbers])


def _trim(connection: sqlite3.Connection, keep: int) -> int:
    query = """
        delete from received where raw is null and number <= (
            select number from received order by number desc limit 1 offset ?
        )
    """
    return connection.execute(query, (keep,)).rowcount
