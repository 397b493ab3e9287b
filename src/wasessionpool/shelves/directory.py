"""Small things kept in a file of the session path, by SQLite, which several processes may open at once."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio

from ..damage import BUSY, fault_of, is_damage
from ..disk import on_disk
from ..errors import StorageError
from ..files import private_directory
from .keys import AFTER_ALL, check_key, check_prefix

logger = logging.getLogger(__name__)

PLACE = Path(".pool", "pool.db")
"""Where the file lies, below the session path; a dot cannot begin a company id."""
PAGE = 500
"""Entries that a scan reads at once."""
SWEEP = 100
"""Expired entries that a write removes at most; they are ignored before that."""
VERSION = 1

_SCHEMA = """
create table if not exists shelf (key text primary key, value blob not null, expires_at real not null) without rowid;
create index if not exists shelf_expires_at on shelf (expires_at);
"""
_PUT = """
insert into shelf values (:key, :value, :expires_at)
on conflict (key) do update set value = excluded.value, expires_at = excluded.expires_at
where not :if_absent or shelf.expires_at <= :now
"""
_SWEEP = "delete from shelf where key in (select key from shelf where expires_at <= ? order by expires_at limit ?)"
_PAGE = "select key, value from shelf where key > ? and key >= ? and key < ? and expires_at > ? order by key limit ?"

T = TypeVar("T")


class DirectoryShelf:
    """The default ``Shelf``: ``<session path>/.pool/pool.db``. ``now`` returns the aware time.

    A damaged file is put aside as ``pool.db.damaged``, and an empty one begun. One that is moved or removed while the
    shelf is open is begun anew, too.
    """

    def __init__(
        self, session_path: str | os.PathLike[str], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.path = Path(session_path).absolute() / PLACE
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        await self._do(lambda _: None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        with anyio.CancelScope(shield=True):
            await on_disk(self.path, self._close, keep=True)

    async def get(self, key: str) -> bytes | None:
        check_key(key)
        return await self._do(partial(_get, key=key, now=self._time()))

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        check_key(key)
        now = self._time()
        entry = {
            "key": key,
            "value": value,
            "expires_at": math.inf if ttl is None else now + ttl,
            "if_absent": if_absent,
            "now": now,
        }
        return await self._do(partial(_put, entry=entry))

    async def delete(self, key: str) -> bool:
        check_key(key)
        return await self._do(partial(_delete, key=key, now=self._time()))

    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        check_prefix(prefix)
        last = ""
        while page := await self._do(partial(_page, after=last, prefix=prefix, now=self._time())):
            for key, value in page:
                yield key, value
            last = page[-1][0]

    def fault(self) -> str | None:
        """Say what is wrong with the file, where there is one, without changing it; blocks as long as the disk does."""
        return fault_of(self.path)

    def _time(self) -> float:
        return self._now().timestamp()

    async def _do(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        if not self._open:
            raise StorageError("the shelf is not open: enter it with `async with` first")
        return await on_disk(self.path, partial(self._work, operation))

    def _work(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        try:
            try:
                return operation(self._current())
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._replace(error)
                return operation(self._current())
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"{self.path} cannot be used: {error}") from error

    def _current(self) -> sqlite3.Connection:
        """Return a connection to the file that lies at the path now."""
        if self._connection is not None and self._opened == _identity(self.path):
            return self._connection
        self._close()
        private_directory(self.path.parent)
        with _alone(self.path.parent):
            _create(self.path)
            self._opened = _identity(self.path)
            self._connection = _connect(self.path)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _replace(self, error: sqlite3.Error) -> None:
        """Put the damaged file aside, unless another process was quicker."""
        self._close()
        with _alone(self.path.parent):
            if self._opened == _identity(self.path):
                aside = _put_aside(self.path)
                logger.error(
                    "%s is damaged (%s) and was put aside as %s: what it held is lost", self.path, error, aside
                )


def _get(connection: sqlite3.Connection, *, key: str, now: float) -> bytes | None:
    row = connection.execute("select value from shelf where key = ? and expires_at > ?", (key, now)).fetchone()
    return None if row is None else bytes(row[0])


def _put(connection: sqlite3.Connection, *, entry: dict[str, object]) -> bool:
    with _transaction(connection):
        connection.execute(_SWEEP, (entry["now"], SWEEP))
        return connection.execute(_PUT, entry).rowcount > 0


def _delete(connection: sqlite3.Connection, *, key: str, now: float) -> bool:
    with _transaction(connection):
        connection.execute(_SWEEP, (now, SWEEP))
        return connection.execute("delete from shelf where key = ? and expires_at > ?", (key, now)).rowcount > 0


def _page(connection: sqlite3.Connection, *, after: str, prefix: str, now: float) -> list[tuple[str, bytes]]:
    return connection.execute(_PAGE, (after, prefix, prefix + AFTER_ALL, now, PAGE)).fetchall()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("pragma journal_mode = wal")
        # What is put has to outlive a power cut, too: a send is told by it from one that was never made.
        connection.execute("pragma synchronous = full")
        connection.execute("pragma cache_size = -256")
        # What is forgotten is not to be read from the file either.
        connection.execute("pragma secure_delete = on")
        version = connection.execute("pragma user_version").fetchone()[0]
        if version > VERSION:
            raise StorageError(f"{path} was written by a newer version of this library: upgrade it")
        if version < VERSION:
            connection.executescript(f"begin immediate; {_SCHEMA} pragma user_version = {VERSION}; commit;")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make the file the owner's only, whatever the umask; SQLite gives the files that it adds the same mode."""
    try:
        # Never opened where it exists: the closing would drop the locks that this process has on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let no other process begin or put aside the file meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        deadline = time.monotonic() + BUSY
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise StorageError(f"{directory} is held by another process")
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _put_aside(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged" + (f".{number}" if number else "")) for number in count())
    aside = next(name for name in names if not name.exists())
    for suffix in ("-wal", "-shm", ""):
        # Another who had it open may take what is beside it along, as it closes it at this moment.
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside
