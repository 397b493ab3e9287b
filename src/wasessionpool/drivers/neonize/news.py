"""What a session hears that is told soon, not at once, and kept in memory only: receipts, notices, presence, typing."""

from __future__ import annotations

import threading
from collections import deque

PRESENCES_KEPT = 32
NOTICES_KEPT = 1_000
NOTICES_BYTES = 32 * 1024 * 1024
"""What notices may come to, of which a part of the history alone may have megabytes."""

RECEIPTS_KEPT = 10_000
RECEIPTS_AT_ONCE = 256
BYTES_AT_ONCE = 64 * 1024
"""What a batch of receipts comes to before it is cut: as JSON it takes a few times as much, and has to fit a frame."""


class News:
    """The newest of one session; what has to make way is counted. Each ``take`` needs a credit."""

    def __init__(self, credit: int) -> None:
        self._lock = threading.Lock()
        self._receipts: deque[bytes] = deque()
        self._notices: deque[tuple[int, bytes]] = deque()
        self._presences: deque[tuple[int, bytes]] = deque()
        self._notices_size = 0
        self._credit = credit
        self._missed_receipts = self._missed_notices = self._missed_presences = 0

    def put_receipt(self, data: bytes) -> None:
        with self._lock:
            if len(self._receipts) == RECEIPTS_KEPT:
                self._receipts.popleft()
                self._missed_receipts += 1
            self._receipts.append(data)

    def put_notice(self, code: int, data: bytes) -> None:
        with self._lock:
            self._notices.append((code, data))
            self._notices_size += len(data)
            while len(self._notices) > NOTICES_KEPT or self._notices_size > NOTICES_BYTES:
                self._notices_size -= len(self._notices.popleft()[1])
                self._missed_notices += 1

    def put_presence(self, code: int, data: bytes) -> None:
        with self._lock:
            if len(self._presences) == PRESENCES_KEPT:
                self._presences.popleft()
                self._missed_presences += 1
            self._presences.append((code, data))

    def grant(self, count: int) -> None:
        """Let ``count`` more be taken."""
        with self._lock:
            self._credit += count

    def take_receipts(self) -> tuple[list[bytes], int]:
        """Return a batch of the oldest receipts, with the number of those missed before them."""
        with self._lock:
            if not self._receipts or not self._pay():
                return [], 0
            missed, self._missed_receipts = self._missed_receipts, 0
            batch, size = [self._receipts.popleft()], 0
            while self._receipts and len(batch) < RECEIPTS_AT_ONCE and (size := size + len(batch[-1])) < BYTES_AT_ONCE:
                batch.append(self._receipts.popleft())
            return batch, missed

    def take_notice(self) -> tuple[int, bytes, int] | None:
        """Return the oldest notice, with the number of those missed before it."""
        with self._lock:
            if not self._notices or not self._pay():
                return None
            missed, self._missed_notices = self._missed_notices, 0
            code, data = self._notices.popleft()
            self._notices_size -= len(data)
            return code, data, missed

    def take_presence(self) -> tuple[int, bytes, int] | None:
        """Return the oldest presence, with the number of those missed before it."""
        with self._lock:
            if not self._presences or not self._pay():
                return None
            missed, self._missed_presences = self._missed_presences, 0
            return (*self._presences.popleft(), missed)

    def _pay(self) -> bool:
        if self._credit == 0:
            return False
        self._credit -= 1
        return True
