"""A session's own log: what happened to it, by ids, in a small file beside its keys."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync

from .counts import Counts
from .events import BaseEvent
from .models import Contact, SessionKey

SIZE, KEPT = 1 << 20, 2
"""Bytes of the file until it becomes ``debug.log.1``, and how many such files are kept."""
WAITING = 1000
"""Lines that may wait for the disk; what comes then is counted only."""
TOGETHER = 50
"""Lines that are written at once."""
GATHERING = 0.1
"""Seconds that a line waits for others, to be written with them."""
PATIENCE = 1.0
"""Seconds that the last lines may take when the session ends."""
UNTOLD = frozenset({"presence", "typing", "contact"})
"""Events that come too often to be of use."""
TOLD = (
    "reason", "previous", "current", "attempt", "attempts", "delay", "failures", "kind", "until", "code", "detail",
    "message_id", "message_ids", "send_id", "receipt", "chat", "sender", "to", "from_me", "redelivered", "jid",
    "call_id", "caller", "group", "action", "by", "sync_type", "progress",
)  # fmt: skip
"""The fields of an event that are written: no text, no name, no metadata."""

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
TRACEBACK = logging.Formatter()
"""Formats a record as its message, with the traceback where it has one."""


@asynccontextmanager
async def debug_log(key: SessionKey, path: Path | None, counts: Counts) -> AsyncIterator[DebugLog | None]:
    """Keep the log while the context lasts; ``None`` where there is no path. ``counts`` has what did not fit.

    The library's warnings that name the session are in it too.
    """
    if path is None:
        yield None
        return
    log = DebugLog(key, path, counts)
    library = logging.getLogger(__package__)
    library.addHandler(log)
    try:
        yield log
    finally:
        library.removeHandler(log)
        with anyio.move_on_after(PATIENCE, shield=True):
            await log.drain()
            await run_sync(log.close, abandon_on_cancel=True)
        log.over = True


class DebugLog(logging.Handler):
    """Takes lines and events without waiting; ``write`` brings them to disk, in a thread.

    A disk that takes nothing costs lines, never a session.
    """

    def __init__(self, key: SessionKey, path: Path, counts: Counts) -> None:
        super().__init__(logging.WARNING)
        self._key = key
        self._counts = counts
        self._file = _PrivateFile(path, maxBytes=SIZE, backupCount=KEPT, encoding="utf-8", delay=True)
        self._waiting: deque[tuple[float, str | BaseEvent | logging.LogRecord]] = deque()
        self._dropped_told = counts.log_lines_dropped
        self.over = False
        """Nothing is written any more: a thread that was too slow closes the file, which may be deleted by then."""
        self._writing = threading.Lock()
        self._changed = anyio.Event()
        self._loop = threading.get_ident()

    def say(self, line: str | BaseEvent | logging.LogRecord) -> None:
        """Take a line; from an event, its type and ids."""
        if isinstance(line, BaseEvent) and getattr(line, "type", "") in UNTOLD:
            return
        if len(self._waiting) >= WAITING:
            self._counts.log_lines_dropped += 1
            return
        self._waiting.append((time.time(), line))
        # From another thread nothing can be woken; the line goes out with the next.
        if threading.get_ident() == self._loop:
            self._changed.set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Take only what names this session."""
        return isinstance(record.args, tuple) and any(
            isinstance(argument, SessionKey) and argument == self._key for argument in record.args
        )

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record)

    async def write(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            await self._changed.wait()
            await anyio.sleep(GATHERING)
            self._changed = anyio.Event()
            await self.drain()

    async def drain(self) -> None:
        """Write what waits."""
        if self._waiting:
            await run_sync(self._write, abandon_on_cancel=True)

    def close(self) -> None:
        self.over = True
        # Not for ever: `logging` closes its handlers at the interpreter's exit, too.
        if self._writing.acquire(timeout=PATIENCE):
            self._shut()
            self._writing.release()
        super().close()

    def _write(self) -> None:
        # One thread at a time: an abandoned one may still be at it.
        with self._writing:
            while self._waiting and not self.over:
                count = min(len(self._waiting), TOGETHER)
                self._put([_line(*self._waiting.popleft()) for _ in range(count)])
            total = self._counts.log_lines_dropped
            dropped, self._dropped_told = total - self._dropped_told, total
            if dropped:
                self._put([_line(time.time(), f"{dropped} lines were dropped")])
            if self.over:
                self._shut()

    def _shut(self) -> None:
        with suppress(OSError):
            self._file.close()

    def _put(self, lines: list[str]) -> None:
        if not self.over:
            self._file.handle(logging.makeLogRecord({"msg": "\n".join(lines)}))


def line_of(event: BaseEvent) -> str:
    """Return an event as a line: its type and ids."""
    kind = str(getattr(event, "type", type(event).__name__))
    # A pairing code is a secret, and its field has the name of an error's code.
    fields = () if kind in ("qr", "pairing_code") else TOLD
    has = vars(event)
    told = [(name, has[name]) for name in fields if has.get(name) not in (None, "") and has[name] is not False]
    return " ".join([kind, *(f"{name}={_shown(value)}" for name, value in told)])


def _shown(value: Any) -> str:
    match value:
        case Contact():
            value = value.id
        case Enum():
            value = value.value
        case tuple():
            value = ",".join(map(str, value))
    return " ".join(str(value).split())


def _line(at: float, said: str | BaseEvent | logging.LogRecord) -> str:
    level = "DEBUG"
    if isinstance(said, logging.LogRecord):
        level, said = said.levelname, TRACEBACK.format(said)
    elif isinstance(said, BaseEvent):
        said = line_of(said)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03}Z {level} {said}"


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(os.fdopen(os.open(self.baseFilename, FLAGS, 0o600), "ab"), encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class calls it so
        """Say nothing: a full disk shows elsewhere, and no log may end what it is about."""
