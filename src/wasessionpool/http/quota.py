"""How many requests a key may make, whatever they are; what may be sent is another limit."""

from __future__ import annotations

from ..limiters.memory import Windows
from .errors import HttpError

MINUTE = 60


class Quota:
    """At most ``limit`` requests a key in any minute, in this process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._windows = Windows()

    def spend(self, name: str) -> None:
        """Count a request; raises ``HttpError`` 429, which says when to come again."""
        if self._windows.take(name, self._limit, MINUTE) is None:
            wait = self._windows.wait(name, self._limit, MINUTE)
            raise HttpError(429, "too_many_requests", "Too many requests", retry_after=wait)
