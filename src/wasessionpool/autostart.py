"""Starts a session by itself: when the pool opens, and later where something stood in its way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import anyio

from .backends import Backends
from .errors import ClientOutdated, PoolClosed, SessionLocked, WhatsAppPoolError
from .links import LinkEnded
from .models import DisconnectReason, Status
from .standing import Standing

LONGEST_WAIT = 30.0
"""Seconds, at most, between two looks whether another pool has let go of a session: it may be about to end."""


class Start(Protocol):
    """Own the session and keep it alive from now on, with ``if_wanted`` unless its last owner was told to stop it.

    Returns whether it was.
    """

    async def __call__(self, *, if_wanted: bool = False) -> bool: ...


class Autostart:
    """Starts one session where ``running()`` says that nothing runs it, and tells what stands in the way.

    Files that cannot be used are tried again each ``revive_interval``. A session that another pool runs is taken over
    once that lets go, unless it was told to stop it. ``tell`` hears of an end that no link came to.
    """

    def __init__(
        self,
        standing: Standing,
        backends: Backends,
        changing: anyio.Lock,
        *,
        running: Callable[[], bool],
        start: Start,
        tell: Callable[[LinkEnded], None],
    ) -> None:
        self._standing = standing
        self._backends = backends
        self._changing = changing
        self._running = running
        self._start = start
        self._tell = tell
        self._refusals = 0
        """How often in a row the session was another pool's."""

    @property
    def due(self) -> bool:
        """Whether nothing runs the session, and it is going to be started by itself."""
        standing = self._standing
        return not self._running() and (standing.status is Status.CONNECTING or standing.next_retry_at is not None)

    async def after(self, pause: float) -> None:
        """Start after so many seconds, unless somebody asked otherwise until then."""
        planned = self._standing.next_retry_at
        await self._backends.clock.sleep(pause)
        async with self._changing:
            # A later failure has an attempt of its own.
            if self.due and self._standing.next_retry_at == planned:
                with suppress(WhatsAppPoolError):
                    await self.start(if_wanted=self._refusals > 0)

    async def start(self, *, if_wanted: bool = False) -> None:
        """Start at once; what stands in the way is told, and raised, and tried again.

        With ``if_wanted`` another pool had the session: it is left alone where that was told to stop it, and nothing
        new is said while that has it still.
        """
        standing = self._standing
        if not if_wanted:
            self._refusals = 0
            standing.begin()
        try:
            wanted = await self._start(if_wanted=if_wanted)
        except PoolClosed:
            raise
        except SessionLocked as error:
            standing.locked(error.holder)
            self._refusals += 1
            self._later(min(self._backends.backoff.delay(self._refusals), LONGEST_WAIT))
            raise
        except ClientOutdated as error:
            self._tell(LinkEnded(reason=DisconnectReason.OUTDATED, detail=error.message))
            raise
        except WhatsAppPoolError as error:
            self.fail(error.message)
            raise
        if not wanted:
            standing.disconnected()

    def fail(self, detail: str) -> None:
        """Say that the session cannot run, whatever its links do; it is started again after ``revive_interval``."""
        self._tell(LinkEnded(reason=DisconnectReason.STORAGE, detail=detail))
        if self._backends.settings.revive_interval is not None:
            self._later(self._backends.settings.revive_interval)

    def _later(self, pause: float) -> None:
        self._standing.retry_in(pause)
        self._backends.tasks.start_soon(self.after, pause)
