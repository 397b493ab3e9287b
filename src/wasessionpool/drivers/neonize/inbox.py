"""What a session received and the application has not taken yet."""

from __future__ import annotations

import threading
from collections import deque

ROOM = 256
"""Events an inbox holds; whatsmeow waits while it is full."""


class Inbox:
    """A bounded queue from one Go callback to the pump: a full one makes only this session's WhatsApp wait."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._changed = threading.Condition()
        self._items: deque[tuple[int, bytes]] = deque()
        self._closed = False

    def put(self, code: int, data: bytes) -> bool:
        """Add an event, waiting for room; returns ``False`` once the inbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._room)
            if self._closed:
                return False
            self._items.append((code, data))
            return True

    def take(self) -> tuple[int, bytes] | None:
        """Return the oldest event, if there is one."""
        with self._changed:
            if not self._items:
                return None
            self._changed.notify_all()
            return self._items.popleft()

    def close(self) -> None:
        """Take nothing more; what is inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
