"""The signs of life of a session's link: when they came, and what they prove."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from .abc import Clock

KEEP_ALIVE_CYCLE = 40.0
"""Seconds after which whatsmeow has told of an unanswered keep-alive: it sends one every 20 to 30 s and waits 10 s for
the answer, of which it says nothing. So a link that it does not complain of lived that long ago."""


class Pulse:
    """What one link after another showed; ages are in seconds."""

    def __init__(self, clock: Clock) -> None:
        self.failures = 0
        """Probes that failed in a row."""
        self._clock = clock
        self._asked: dict[object, float] = {}
        self._dead_since = 0.0
        self.begin()

    def begin(self) -> None:
        """A link is up."""
        self.failures = 0
        self._up_at = self._clock.monotonic()
        self._inbound_at = self._ack_at = self._answer_at = self._kept_alive_at = -math.inf
        self._complained = False

    def inbound(self, at: datetime | None = None) -> None:
        """Something came; at the latest now, and not before WhatsApp had it, ``at`` a time of its clock."""
        self._inbound_at = max(self._inbound_at, self._monotonic(at))

    def acknowledged(self) -> None:
        """WhatsApp acknowledged a send."""
        self._ack_at = self._clock.monotonic()

    def answered(self) -> None:
        """WhatsApp answered a probe or a keep-alive."""
        self.failures, self._complained = 0, False
        self._answer_at = self._clock.monotonic()

    def keep_alive_missed(self, answered_at: datetime | None) -> None:
        """WhatsApp did not answer a keep-alive; the last that it answered was then, as far as that is known."""
        if answered_at is not None:
            self._kept_alive_at, self._complained = self._monotonic(answered_at), True

    def failed(self, asked_at: float) -> None:
        """A probe that was sent at this monotonic time failed."""
        if not self.failures:
            believed = -math.inf if self._complained else asked_at - KEEP_ALIVE_CYCLE
            self._dead_since = max(self._last, believed)
        self.failures += 1

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A question to WhatsApp is open meanwhile."""
        question = object()
        self._asked[question] = self._clock.monotonic()
        try:
            yield
        finally:
            del self._asked[question]

    @property
    def unanswered_for(self) -> float:
        """How long the oldest open question has been open; -1 where there is none."""
        return self._clock.monotonic() - next(iter(self._asked.values())) if self._asked else -1.0

    @property
    def silent_for(self) -> float:
        """How long ago the last sign of life was."""
        return self._clock.monotonic() - self._last

    @property
    def dead_for(self) -> float:
        """How long ago the last proof of life was, for a link that does not answer."""
        return self._clock.monotonic() - self._dead_since

    @property
    def inbound_age(self) -> float | None:
        """How long ago something came over this link."""
        return self._age(self._inbound_at)

    @property
    def ack_age(self) -> float | None:
        """How long ago a send was acknowledged over this link."""
        return self._age(self._ack_at)

    @property
    def _last(self) -> float:
        return max(self._up_at, self._inbound_at, self._ack_at, self._answer_at, self._kept_alive_at)

    def _age(self, at: float) -> float | None:
        return None if at == -math.inf else self._clock.monotonic() - at

    def _monotonic(self, at: datetime | None) -> float:
        ago = 0.0 if at is None else (self._clock.now() - at).total_seconds()
        return self._clock.monotonic() - max(0.0, ago)
