"""Time that a test owns."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import anyio

_ROUNDS = 20
"""Rounds of the loop within which tasks mostly come to rest: anyio sleeps a tenth of a second where they did not."""


class FakeClock:
    """A ``Clock`` that stands still until ``advance`` is awaited."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._order = count()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []

    def now(self) -> datetime:
        """Return the aware UTC time, which begins at ``start``."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds that were let pass."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until ``seconds`` were let pass."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        rung = anyio.Event()
        self._alarm(seconds, rung.set)
        await rung.wait()

    def move_on_after(self, seconds: float | None) -> anyio.CancelScope:
        """Return a scope that is cancelled once ``seconds`` were let pass; ``None``: never."""
        scope = anyio.CancelScope()
        if seconds is not None:
            self._alarm(seconds, scope.cancel)
        return scope

    async def advance(self, seconds: float = 0.0) -> None:
        """Let ``seconds`` pass: everything due happens in order, each time until all tasks wait again."""
        end = self._elapsed + seconds
        await _all_wait()
        while self._alarms and self._alarms[0][0] <= end:
            self._elapsed, _, ring = heapq.heappop(self._alarms)
            ring()
            await _all_wait()
        self._elapsed = end

    def _alarm(self, seconds: float, ring: Callable[[], None]) -> None:
        heapq.heappush(self._alarms, (self._elapsed + max(0.0, seconds), next(self._order), ring))


async def _all_wait() -> None:
    """Return once all tasks wait."""
    for _ in range(_ROUNDS):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
