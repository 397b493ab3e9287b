"""What follows the end of a session's link, and when."""

from __future__ import annotations

import logging

import anyio

from .backends import Backends
from .events import ReconnectFailedEvent, ReconnectingEvent
from .links import LinkEnded
from .models import DisconnectReason, Status
from .standing import Standing
from .state import ENDED_BY, REVIVABLE, Signal

logger = logging.getLogger(__name__)


def is_final(reason: DisconnectReason) -> bool:
    """Say whether no link follows by itself one that ended so."""
    follows = ENDED_BY[reason] in (Signal.LOST, Signal.RESTRICTED, Signal.SLEEP)
    return not follows and reason not in REVIVABLE


class Retries:
    """Counts the attempts of one session, and waits between them.

    One that gave up tries again each ``revive_interval``, and as soon as another session of the pool has come back
    since its last attempt: that shows that WhatsApp can be reached. What fails nevertheless waits a little longer each
    time, so that a sibling that comes and goes does not make it try without an end.
    """

    def __init__(self, standing: Standing, backends: Backends) -> None:
        self._standing = standing
        self._backends = backends
        self._gave_up = False
        self._revivals = 0
        self._comebacks = 0

    def begin(self) -> None:
        """An attempt begins; who gets through from now on shows that another is worth while."""
        self._comebacks = self._backends.comebacks.count

    def restart(self) -> None:
        """Count from the beginning."""
        self._standing.attempt, self._gave_up, self._revivals = 0, False, 0

    def plan(self, end: LinkEnded) -> float | None:
        """Decide, and tell, how long to wait before the next link; ``None``: there is none."""
        pause = self._pause(end)
        if pause is not None:
            self._standing.retry_in(pause)
        return pause

    def _pause(self, end: LinkEnded) -> float | None:
        settings, standing = self._backends.settings, self._standing
        if standing.last_link_held is not None:
            # What counts is who gets through after this one did, and that it is gone is news again.
            self.begin()
            self._gave_up = False
        signal = ENDED_BY[end.reason]
        if signal is Signal.RESTRICTED:
            until = standing.record.restricted_until
            return None if until is None else max(0.0, (until - self._backends.clock.now()).total_seconds())
        if signal is Signal.SLEEP:
            return settings.idle_wake_interval
        if is_final(end.reason):
            return None
        if end.reason in REVIVABLE:
            return settings.revive_interval
        if standing.last_link_held is not None and standing.last_link_held >= settings.reconnect_reset_after:
            self.restart()
        if standing.attempt >= settings.max_reconnect_attempts:
            return self._give_up(end)
        standing.attempt += 1
        at_once = end.reason is DisconnectReason.PUMP_DEAD and standing.attempt == 1
        delay = 0.0 if at_once else self._backends.backoff.delay(standing.attempt)
        self._announce(standing.attempt, delay, end.reason)
        return delay

    async def rest(self, pause: float, wake: anyio.Event) -> None:
        """Wait for ``pause`` seconds, for ``wake``, or for what makes another attempt worth while."""
        standing, clock, comebacks = self._standing, self._backends.clock, self._backends.comebacks
        with clock.move_on_after(pause):
            if standing.status is not Status.FAILED or standing.reason in REVIVABLE:
                await wake.wait()
                return
            if self._revivals:
                with clock.move_on_after(self._backends.backoff.delay(self._revivals)):
                    await wake.wait()
            with comebacks.wake(wake, beyond=self._comebacks):
                await wake.wait()

    def resume(self) -> None:
        """The wait is over, and nobody asked for its end."""
        standing = self._standing
        gave_up, reason = standing.status is Status.FAILED, standing.reason
        standing.apply(Signal.START if standing.status is Status.SLEEPING else Signal.RETRY, reason)
        if gave_up:
            self._revivals += 1
            self._announce(0, 0.0, reason)

    def _give_up(self, end: LinkEnded) -> float | None:
        attempts = self._standing.attempt
        self._standing.apply(Signal.FAILED, end.reason)
        if not self._gave_up:
            self._gave_up = True
            logger.error("session %s: %d attempts to reconnect failed (%s)", self._key, attempts, end.reason)
            self._standing.emit(ReconnectFailedEvent, attempts=attempts, reason=end.reason)
        return self._backends.settings.revive_interval

    def _announce(self, attempt: int, delay: float, reason: DisconnectReason | None) -> None:
        logger.info("Reconnecting session %s: attempt %d in %.1f s (%s)", self._key, attempt, delay, reason)
        self._standing.emit(ReconnectingEvent, attempt=attempt, delay=delay)

    @property
    def _key(self) -> object:
        return self._standing.record.key
