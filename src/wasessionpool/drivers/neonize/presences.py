"""People's coming, going and typing: worth telling while it is new, and not worth waiting for."""

from __future__ import annotations

import threading
from collections import deque

KEPT = 32


class Presences:
    """The newest events of one session; what has to make way is counted."""

    def __init__(self, credit: int) -> None:
        self._lock = threading.Lock()
        self._events: deque[tuple[int, bytes]] = deque()
        self._credit = credit
        self._missed = 0

    def put(self, code: int, data: bytes) -> None:
        with self._lock:
            if len(self._events) == KEPT:
                self._events.popleft()
                self._missed += 1
            self._events.append((code, data))

    def grant(self, count: int) -> None:
        """Let ``count`` more be taken."""
        with self._lock:
            self._credit += count

    def take(self) -> tuple[int, bytes, int] | None:
        """Return the oldest event that may be told now, with the number of those missed before it."""
        with self._lock:
            if not self._events or self._credit <= 0:
                return None
            self._credit -= 1
            missed, self._missed = self._missed, 0
            return (*self._events.popleft(), missed)
