"""Sliding windows in memory, by the ``limits`` library: one a session, one a session and recipient."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Self

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from ..errors import RateLimitExceeded
from ..models import SessionKey

CLEAR_OF_THE_EDGE = 0.001
"""Seconds; ``limits`` still counts a message that is exactly one window old."""


class WindowLimiter:
    """At most ``limit`` messages a session, and ``recipient_limit`` a session and recipient, in any ``window`` seconds.

    ``window`` is whole seconds, the resolution of ``limits``. A reservation that is neither committed nor released
    occupies its place.
    """

    def __init__(self, *, limit: int = 30, recipient_limit: int = 30, window: float = 60.0) -> None:
        self._limits = (
            RateLimitItemPerSecond(limit, int(window)),
            RateLimitItemPerSecond(recipient_limit, int(window)),
        )
        self._storage = MemoryStorage()
        self._windows = MovingWindowRateLimiter(self._storage)
        self._reserved: Counter[tuple[str, ...]] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._storage.timer.cancel()
        self._storage.timer.join(timeout=1)

    async def acquire(self, key: SessionKey, recipient: str) -> WindowReservation:
        session = (key.company_id, key.device)
        places = tuple(zip(self._limits, (session, (*session, recipient)), strict=True))
        waits = [wait for limit, place in places if (wait := self._wait(limit, place)) is not None]
        if waits:
            raise RateLimitExceeded(f"session {key} may send again in {max(waits):.1f} s", retry_after=max(waits))
        self._reserved.update(place for _, place in places)
        return WindowReservation(self, places)

    def _wait(self, limit: RateLimitItem, place: tuple[str, ...]) -> float | None:
        stats = self._windows.get_window_stats(limit, *place)
        if stats.remaining > self._reserved[place]:
            return None
        return max(0.0, stats.reset_time - time.time()) + CLEAR_OF_THE_EDGE

    def _settle(self, places: tuple[tuple[RateLimitItem, tuple[str, ...]], ...], *, used: bool) -> None:
        for limit, place in places:
            self._reserved[place] -= 1
            if not self._reserved[place]:
                del self._reserved[place]
            if used:
                self._windows.hit(limit, *place)


class WindowReservation:
    """A place in both windows."""

    def __init__(self, limiter: WindowLimiter, places: tuple[tuple[RateLimitItem, tuple[str, ...]], ...]) -> None:
        self._limiter = limiter
        self._places = places
        self._settled = False

    async def commit(self) -> None:
        self._settle(used=True)

    async def release(self) -> None:
        self._settle(used=False)

    def _settle(self, *, used: bool) -> None:
        if not self._settled:
            self._settled = True
            self._limiter._settle(self._places, used=used)
