"""What a session receives: stored as it comes, then made readable for the application, which does not know neonize."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial

from ...links import InboxBlocked
from ...models import InboundMessage
from .inbox import InboxWriter
from .pump import Pump

BATCH = 64
"""Messages that are made readable before another session has its turn."""

FULL_RETRY = 0.2
"""Seconds until a full inbox is tried again; whatsmeow waits meanwhile, for this session alone."""

CONVERT_RETRY = 1.0
"""Seconds until messages that could not be made readable are tried again."""


class Intake:
    """The messages of one session. ``draw`` is what the pump calls to have them made readable.

    ``read`` makes a message of what neonize told, ``None`` of what is none; ``blocked`` is told once what stands in the
    way; ``stopping`` ends every wait.
    """

    def __init__(
        self,
        inbox: InboxWriter,
        pump: Pump,
        *,
        draw: Callable[[], bool],
        read: Callable[[bytes], InboundMessage | None],
        blocked: Callable[[InboxBlocked], None],
        stopping: threading.Event,
    ) -> None:
        self._inbox = inbox
        self._pump = pump
        self._draw = draw
        self._read = read
        self._blocked = blocked
        self._stopping = stopping
        self._storing = False
        self._stored_at = 0.0
        self._store_failing = self._convert_failing = False

    @property
    def stored_at(self) -> float:
        """The monotonic time at which something was stored last; now, while something is."""
        return time.monotonic() if self._storing else self._stored_at

    def keep(self, data: bytes) -> bool:
        """Store a message however long it takes, before whatsmeow gets its thread back, so that no crash loses it.

        At a stop it is stored whatever the inbox's size, or ``False`` is returned: there is no second try.
        """
        self._storing = True
        try:
            while True:
                last = self._stopping.is_set()
                problem = self._store(data, force=last)
                if problem is None:
                    self._store_failing = False
                    self._pump.draw(self._draw)
                    return True
                if last:
                    return False
                if not self._store_failing:
                    self._store_failing = True
                    self._pump.put(partial(self._blocked, problem))
                self._stopping.wait(FULL_RETRY)
        finally:
            self._stored_at = time.monotonic()
            self._storing = False

    def convert(self) -> int:
        """Make the oldest messages readable, and return how many, at most ``BATCH``; what fails is tried again."""
        try:
            rows = self._inbox.unconverted(BATCH)
            if rows:
                self._inbox.convert([number for number, _ in rows], [self._read(data) for _, data in rows])
        except sqlite3.Error as error:
            if not self._convert_failing:
                self._convert_failing = True
                self._blocked(_unwritable(error))
            if not self._stopping.is_set():
                self._pump.draw_later(self._draw, CONVERT_RETRY)
            return 0
        self._convert_failing = False
        return len(rows)

    def close(self) -> None:
        self._inbox.close()

    def _store(self, data: bytes, *, force: bool) -> InboxBlocked | None:
        try:
            if self._inbox.append(data, force=force):
                return None
        except sqlite3.Error as error:
            return _unwritable(error)
        return InboxBlocked(code="backlog_full", detail="the inbox is full; WhatsApp has to wait until it is read")


def _unwritable(error: sqlite3.Error) -> InboxBlocked:
    return InboxBlocked(code="storage_error", detail=f"the inbox cannot be written: {error}")
