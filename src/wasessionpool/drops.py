"""Whether a line broke alone or with many others."""

from __future__ import annotations

import math
from collections.abc import Callable

from .abc import Clock
from .models import SessionKey

WINDOW = 1.0
"""Seconds within which lines break together."""

LEAST, SHARE = 10, 0.2
"""How many sessions, and what share of the pool, have to be hit for it to be more than chance."""


class Drops:
    """The lines of a pool of ``size()`` sessions that broke within the last second."""

    def __init__(self, clock: Clock, size: Callable[[], int]) -> None:
        self._clock = clock
        self._size = size
        self._broke: dict[SessionKey, float] = {}
        self._many_at = -math.inf

    def note(self, key: SessionKey) -> None:
        """A session's line broke just now."""
        now = self._clock.monotonic()
        self._broke[key] = now
        self._broke = {other: at for other, at in self._broke.items() if now - at <= WINDOW}
        if len(self._broke) >= max(LEAST, SHARE * self._size()):
            self._many_at = now

    def many_since(self, at: float) -> bool:
        """Say, a ``WINDOW`` after a line broke at the monotonic time ``at``, whether it was one of many."""
        return self._many_at >= at
