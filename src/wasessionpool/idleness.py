"""When a session has been idle for so long that its link may sleep."""

from __future__ import annotations

from collections.abc import Callable

from .abc import Clock
from .settings import PoolSettings
from .standing import Standing

QUIET = 30.0
"""Seconds without a message after which a session that woke to collect what waits has collected it."""

AGAIN = 1.0
"""Seconds until one that is busy, or waits for an answer from WhatsApp, is looked at again."""


class Idleness:
    """Messages and sends keep a session awake for ``session_timeout``; presence and receipts do not.

    ``collecting``: it woke by itself, and nothing has been sent since. ``busy``: a send is not over yet.
    """

    def __init__(self, standing: Standing, settings: PoolSettings, clock: Clock, busy: Callable[[], bool]) -> None:
        self.collecting = False
        self._standing = standing
        self._timeout = settings.session_timeout
        self._clock = clock
        self._busy = busy

    async def lasted(self) -> None:
        """Wait until the session has been connected and idle for long enough; for ever where it never sleeps."""
        while True:
            since = self._standing.quiet_since
            if since is None or self._timeout is None:
                await self._standing.change()
                continue
            patience = min(QUIET, self._timeout) if self.collecting else self._timeout
            left = since + patience - self._clock.monotonic()
            if self._busy() or self._standing.pulse.unanswered_for >= 0:
                left = max(left, AGAIN)
            if left <= 0:
                return
            await self._clock.sleep(left)
