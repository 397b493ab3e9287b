"""Small things kept in memory, for tests and throw-away pools."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from .keys import check_key, check_prefix


class MemoryShelf:
    """A ``Shelf`` that is empty at its start and leaves nothing behind; ``now`` returns the aware time."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._entries: dict[str, tuple[bytes, float]] = {}

    async def get(self, key: str) -> bytes | None:
        check_key(key)
        return self._live(key)

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        check_key(key)
        if if_absent and self._live(key) is not None:
            return False
        self._entries[key] = bytes(value), math.inf if ttl is None else self._now().timestamp() + ttl
        return True

    async def delete(self, key: str) -> bool:
        check_key(key)
        there = self._live(key) is not None
        self._entries.pop(key, None)
        return there

    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        check_prefix(prefix)
        for key in sorted(key for key in self._entries if key.startswith(prefix)):
            if (value := self._live(key)) is not None:
                yield key, value

    def _live(self, key: str) -> bytes | None:
        value, expires_at = self._entries.get(key, (None, 0.0))
        if value is not None and expires_at <= self._now().timestamp():
            del self._entries[key]
            return None
        return value
