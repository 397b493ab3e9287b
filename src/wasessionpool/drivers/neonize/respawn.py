"""How soon a worker may be spawned after others died at their start."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...backoff import Backoff

EARLY = 10.0
"""Seconds within which a worker's death is one at its start."""

FORGIVEN = 60.0
"""Seconds after the last such death, for the next to be the first again."""


class Respawn:
    """Delays that double with each worker that dies at its start, so that they are not spawned in a hot loop."""

    def __init__(self, backoff: Backoff, clock: Callable[[], float] = time.monotonic) -> None:
        self._backoff = backoff
        self._clock = clock
        self._deaths = 0
        self._last_death = float("-inf")

    def delay(self) -> float:
        """Return the seconds to wait before the next spawn, at least 0."""
        if not self._deaths:
            return 0.0
        return max(0.0, self._last_death + self._backoff.delay(self._deaths) - self._clock())

    def died(self, began: float) -> None:
        """Note the death of a worker that was spawned at ``began``."""
        now = self._clock()
        # Those that were spawned together and died together died once.
        if now - began < EARLY and began >= self._last_death:
            self._deaths = 1 if now - self._last_death >= FORGIVEN else self._deaths + 1
            self._last_death = now
