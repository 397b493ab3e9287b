"""How fast a pool starts links, whatever asks for them."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from .abc import Clock
from .errors import ClientOutdated


class StartLimiter:
    """At most ``rate`` starts a second and ``concurrency`` at a time, first come, first served.

    None once WhatsApp has refused the version of the client, which is the same for all.
    """

    def __init__(self, rate: float, concurrency: int, clock: Clock) -> None:
        self._interval = 1 / rate
        self._slots = anyio.Semaphore(concurrency)
        self._clock = clock
        self._next = clock.monotonic()
        self._closed = False

    def close(self) -> bool:
        """Allow no start any more; returns whether any was allowed until now."""
        closed, self._closed = self._closed, True
        return not closed

    def check(self) -> None:
        """Raise ``ClientOutdated`` where no start is allowed any more."""
        if self._closed:
            raise ClientOutdated("WhatsApp refuses this version of the client: upgrade neonize and open the pool anew")

    async def turn(self) -> Callable[[], None]:
        """Wait for a turn; call what is returned once the start is over, twice does no harm. Raises as ``check``."""
        await self._slots.acquire()
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._slots.release()

        now = self._clock.monotonic()
        wait = max(0.0, self._next - now)
        self._next = now + wait + self._interval
        try:
            await self._clock.sleep(wait)
            self.check()
        except BaseException:
            release()
            raise
        return release
