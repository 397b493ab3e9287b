"""How many requests a key may make, whatever they are; what may be sent is another limit."""

from __future__ import annotations

import time

from limits import RateLimitItemPerMinute
from limits.strategies import FixedWindowRateLimiter

from ..limiters.memory import Windows
from .errors import HttpError

AHEAD = 1.0
"""Seconds that the end of a window may be further away than it is long; more, and the clock was set back."""


class Quota:
    """At most ``limit`` requests a key in the minute that begins with one, in this process."""

    def __init__(self, limit: int) -> None:
        self._limit = RateLimitItemPerMinute(limit)
        self._windows = FixedWindowRateLimiter(Windows())

    def spend(self, name: str) -> None:
        """Count a request; raises ``HttpError`` 429, which says when to come again."""
        if self._wait(name) > self._limit.get_expiry() + AHEAD:
            self._windows.clear(self._limit, name)
        if self._windows.hit(self._limit, name):
            return
        raise HttpError(429, "too_many_requests", "Too many requests", retry_after=max(0.0, self._wait(name)))

    def _wait(self, name: str) -> float:
        """Return the seconds until the window of a key ends."""
        return self._windows.get_window_stats(self._limit, name).reset_time - time.time()
