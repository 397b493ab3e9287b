"""Watches the links of all sessions of a pool, and probes those that give reason for doubt."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from .abc import Clock, Connection
from .errors import WhatsAppPoolError
from .links import LinkEnded
from .models import DisconnectReason
from .settings import PoolSettings
from .standing import Standing

logger = logging.getLogger(__name__)

PROBE_TIMEOUT = 10.0
"""Seconds within which WhatsApp has to answer, and at most between the probes of a link that did not."""

LOOK = PROBE_TIMEOUT / 2
"""Seconds between looks at most: so a question that stays open is doubted, and the doubt settled, before its deadline
of ``send_timeout`` gives up the link."""

LONG_SILENCE = 20
"""Intervals without any sign of life after which a link is probed for no other reason: most are just idle."""

SPREAD = 0.25
"""The share of that time, more or less, that is left to chance, so that links are not probed all at once."""


@dataclass(eq=False, slots=True)
class Watch:
    """A live link under watch; ``give_up`` ends it, ``patience`` is how many seconds it may show no sign of life."""

    standing: Standing
    connection: Connection
    give_up: Callable[[LinkEnded], None]
    patience: float

    @property
    def in_doubt(self) -> bool:
        pulse = self.standing.pulse
        return pulse.unanswered_for >= PROBE_TIMEOUT or pulse.silent_for >= self.patience


class Health:
    """One task for all links. What it does with an idle, healthy one is to compare a few numbers.

    A link is doubted that missed a keep-alive, that leaves a question open, whose worker is silent, or that has shown
    no sign of life for long. Then it is probed until it answers, or is given up after ``health_failures``.
    """

    def __init__(self, settings: PoolSettings, clock: Clock, *, random: Callable[[], float] = random.random) -> None:
        self._interval = settings.health_check_interval
        self._failures = settings.health_failures
        self._clock = clock
        self._random = random
        self._watched: set[Watch] = set()
        self._doubted: set[Watch] = set()
        self._probed: set[Watch] = set()
        self._wake = anyio.Event()

    def watch(self, standing: Standing, connection: Connection, give_up: Callable[[LinkEnded], None]) -> Watch:
        """Watch a link that came up, until ``forget``."""
        patience = self._interval * LONG_SILENCE * (1 + SPREAD * (2 * self._random() - 1))
        watch = Watch(standing, connection, give_up, patience)
        if not self._watched:
            self._wake.set()
        self._watched.add(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """A link is down; what it is being asked counts no more."""
        self._watched.discard(watch)

    def doubt(self, watch: Watch) -> None:
        """Probe a link now."""
        self._doubted.add(watch)
        self._wake.set()

    async def run(self) -> None:
        """Watch, until cancelled."""
        async with anyio.create_task_group() as probes:
            due = self._clock.monotonic()
            while True:
                # Where there is nothing to watch there is nothing to wake up for.
                with self._clock.move_on_after(due - self._clock.monotonic() if self._watched else None):
                    await self._wake.wait()
                self._wake = anyio.Event()
                if self._clock.monotonic() >= due:
                    self._doubted.update(watch for watch in self._watched if watch.in_doubt)
                    due = self._clock.monotonic() + min(self._interval, LOOK)
                for watch in self._doubted - self._probed:
                    self._probed.add(watch)
                    probes.start_soon(self._examine, watch, name=f"health of {watch.standing.record.key}")
                self._doubted.clear()

    async def _examine(self, watch: Watch) -> None:
        """Probe until there is an answer, or nothing left to ask."""
        standing, clock = watch.standing, self._clock
        try:
            while watch in self._watched:
                asked_at = clock.monotonic()
                error = await self._probe(watch.connection)
                if watch not in self._watched:
                    return
                if error is None:
                    standing.trust()
                    return
                standing.doubt(asked_at, error)
                if standing.pulse.failures >= self._failures:
                    watch.give_up(LinkEnded(reason=DisconnectReason.KEEPALIVE, detail=f"it did not answer: {error}"))
                    return
                await clock.sleep(min(self._interval, PROBE_TIMEOUT))
        finally:
            self._probed.discard(watch)

    async def _probe(self, connection: Connection) -> str | None:
        """Return what went wrong."""
        try:
            with self._clock.move_on_after(PROBE_TIMEOUT):
                await connection.probe()
                return None
        except WhatsAppPoolError as error:
            return error.message
        except Exception as error:
            # One driver's fault must not end the watch over the others.
            logger.exception("the driver failed in a probe")
            return f"the driver failed with {type(error).__name__}"
        return f"no answer within {PROBE_TIMEOUT:g} s"
