"""What a service says while it runs, as text or JSON, in files that may be moved away under it."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Full, Queue
from types import TracebackType
from typing import Self

from ..http.request_log import ACCESS, request_id
from .ending import printable

STDOUT, STDERR = 1, 2
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
WAITING = 10_000
"""Lines that may wait for the disk, or for who reads the pipe; what comes then is counted only."""
PATIENCE = 2.0
"""Seconds that the last lines may take when the service ends."""
FIELDS = ("session", "message_id", "client", "method", "path", "status", "milliseconds")
"""What a line has beside its text, for programs."""


class LogFile:
    """Takes lines at its end: a file, its owner's only where it is new; or a descriptor that is open already.

    Raises ``OSError`` where the file cannot be opened.
    """

    def __init__(self, path: Path | None, *, otherwise: int) -> None:
        self._path = path
        self._descriptor = otherwise if path is None else _open(path)

    def write(self, text: str) -> None:
        """Append; what cannot be written is lost, and so is what a full disk has no place for."""
        rest = text.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def reopen(self) -> None:
        """Go on in the file that is at the path now; raises ``OSError``, and stays in the old one then."""
        if self._path is not None:
            new = _open(self._path)
            os.close(self._descriptor)
            self._descriptor = new


class ServiceLog(logging.Handler):
    """Takes lines without waiting; a thread writes them, those about requests to ``access`` and the rest to ``error``.

    While the context lasts it is the only handler of the process, and shows the library's lines from INFO on.
    """

    def __init__(self, *, access: LogFile, error: LogFile, as_json: bool) -> None:
        super().__init__()
        self.setFormatter(JsonLines() if as_json else TextLines())
        self._access, self._error = access, error
        self._dropped = self._told = 0
        self._waiting: Queue[Callable[[], None] | None] = Queue(WAITING)
        self._writer = threading.Thread(target=self._write, name="service log", daemon=True)

    def __enter__(self) -> Self:
        logging.basicConfig(level=logging.WARNING, handlers=[self], force=True)
        logging.getLogger("wasessionpool").setLevel(logging.INFO)
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        logging.getLogger().removeHandler(self)
        # Who reads the pipe may have stopped reading, and is not waited for.
        with suppress(Full):
            self._waiting.put(None, timeout=PATIENCE)
            self._writer.join(PATIENCE)

    def emit(self, record: logging.LogRecord) -> None:
        # Formatted here, since the thread that writes is in no request.
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - a line that cannot be formatted ends nothing but itself
            text = f"a line of {record.name} cannot be written: {type(error).__name__}"
        self._put(partial((self._access if record.name == ACCESS else self._error).write, text + "\n"))

    def reopen(self) -> None:
        """Go on in the files that are at the paths now, once what waits is written to the old ones."""
        self._put(self._reopen)

    def _put(self, what: Callable[[], None]) -> None:
        try:
            self._waiting.put_nowait(what)
        except Full:
            self._dropped += 1

    def _write(self) -> None:
        while (what := self._waiting.get()) is not None:
            what()
            dropped = self._dropped - self._told
            if dropped:
                self._told += dropped
                self._say("%d lines of this log were dropped", dropped)

    def _reopen(self) -> None:
        for file in (self._access, self._error):
            try:
                file.reopen()
            except OSError as error:
                self._say("a log goes on in its old file: %s: %s", error.filename, error.strerror)

    def _say(self, text: str, *values: object) -> None:
        record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, text, values, None)
        self._error.write(self.format(record) + "\n")


class TextLines(logging.Formatter):
    """``2026-11-27T14:03:00.125Z INFO wasessionpool.session: Reconnecting session 962302: … [id of the request]``."""

    def format(self, record: logging.LogRecord) -> str:
        asked = f" [{name}]" if (name := request_id()) else ""
        line = f"{_time(record)} {record.levelname} {record.name}: {printable(record.getMessage())}{asked}"
        return "\n".join([line, *_traceback(self, record)])


class JsonLines(logging.Formatter):
    """An object a line: ``time``, ``level``, ``logger``, ``message``, and what else there is."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id(),
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
            "traceback": "\n".join(_traceback(self, record)) or None,
        }
        return json.dumps({name: value for name, value in line.items() if value is not None}, separators=(",", ":"))


def _time(record: logging.LogRecord) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{at}.{int(record.msecs):03}Z"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    """Return the traceback of a defect; of nothing else does this library log one."""
    return formatter.formatException(record.exc_info).split("\n") if record.exc_info else []


def _open(path: Path) -> int:
    return os.open(path, FLAGS, 0o600)
