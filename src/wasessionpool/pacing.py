"""A human's pace: when a session may send its next message, and why not before. Pure: no I/O, no clock."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from random import Random
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator

from .errors import ConfigurationError
from .messages import OutgoingMessage, Text, to_message
from .models import Frozen

DAY = 86400.0
AT_ONCE = 5e-6
"""Seconds that are no time: what adding up and taking apart of times may cost."""

AHEAD = 300.0
"""Seconds that a message under way may lie ahead; its typing takes a minute at most."""


class Why(StrEnum):
    """What a message waits for."""

    NOTHING = "nothing"
    GAP = "gap"
    RECONNECTED = "reconnected"
    DAILY = "daily"
    STRANGERS = "strangers"
    WARM_UP = "warm_up"


@dataclass(slots=True, eq=False)
class Sent:
    """A message that is ``gone``, or will go, at a time in seconds; ``number`` rises by one with each.

    It equals itself alone.
    """

    at: float
    stranger: bool
    number: int
    gone: Annotated[bool, Field(exclude=True)] = True


@dataclass(frozen=True, slots=True)
class Age:
    """Since when a session exists, and is connected; seconds."""

    created_at: float
    connected_at: float | None = None


@dataclass(frozen=True)
class Planned:
    """A message to simulate: asked for ``after`` seconds, to a ``stranger`` or not."""

    message: str | OutgoingMessage = field(repr=False)
    after: float = 0.0
    stranger: bool = False


@dataclass(frozen=True)
class Paced:
    """When a simulated message would go, what it waits for until its typing begins, and when that is."""

    begins_at: datetime
    goes_at: datetime
    why: Why


@dataclass
class Trail:
    """What a session sent, oldest first: all of the last day, and the last message whenever that was."""

    seed: str
    sent: list[Sent] = field(default_factory=list)

    @property
    def last(self) -> Sent | None:
        return self.sent[-1] if self.sent else None

    @property
    def next_number(self) -> int:
        return max((sent.number for sent in self.sent), default=-1) + 1

    def add(self, at: float, *, stranger: bool, gone: bool = True) -> Sent:
        sent = Sent(at, stranger, self.next_number, gone)
        self.sent.append(sent)
        return sent

    def follow(self, earlier: Trail) -> None:
        """Take in what was sent before all that is here."""
        first = earlier.next_number
        for sent in self.sent:
            sent.number += first
        self.sent[:0] = earlier.sent
        self.sort()

    def sort(self) -> None:
        self.sent.sort(key=lambda sent: sent.at)

    def forget_old(self, now: float) -> None:
        """Forget what is older than a day; what is too far ahead, since the clock was set back, counts as sent now."""
        if self.last is not None and self.last.at > now:
            for sent in self.sent:
                if sent.at > now + (0 if sent.gone else AHEAD):
                    sent.at = now
            self.sort()
        old = bisect_right(self.sent, now - DAY, key=lambda sent: sent.at)
        del self.sent[: min(old, len(self.sent) - 1)]


class PacingPolicy(Frozen):
    """How a session sends like a human: off unless ``PoolSettings(pacing=PacingPolicy())`` says so; it is per session.

    ``min_gap`` seconds lie between a message and the typing of the next, and up to a share ``gap_jitter`` more. A text
    is typed with ``typing_speed`` characters a second, at most ``typing_max`` seconds; 0: it is not shown. In any 24 h
    go out at most ``daily_max`` messages, of them ``strangers_max`` to recipients never written to and never heard
    from; ``None``: any number. A session begins with the share ``warm_up_share`` of both, which grows daily, to the
    whole in ``warm_up_days``. A link that came up has ``reconnect_slowdown`` times the gap, which falls to one within
    ``reconnect_ramp`` seconds.

    Values that are not allowed raise ``ConfigurationError``.
    """

    min_gap: float = Field(default=3.0, ge=0, le=3600)
    gap_jitter: float = Field(default=0.5, ge=0, le=10)
    typing_speed: float = Field(default=12.0, ge=0, allow_inf_nan=False)
    typing_max: float = Field(default=15.0, ge=0, le=60)
    daily_max: int | None = Field(default=1000, ge=1)
    strangers_max: int | None = Field(default=30, ge=1)
    warm_up_days: int = Field(default=14, ge=0, le=365)
    warm_up_share: float = Field(default=0.1, gt=0, le=1)
    reconnect_ramp: float = Field(default=60.0, ge=0, le=86400)
    reconnect_slowdown: float = Field(default=3.0, ge=1, le=100)

    @model_validator(mode="wrap")
    @classmethod
    def _name_what_is_wrong(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            where = "WHATSAPP_PACING" if "pacing" in (info.context or {}) else "pacing"
            wrong = (
                f"{': '.join([where, *map(str, each['loc'])])}={each['input']!r}: {each['msg']}"
                for each in error.errors()
            )
            raise ConfigurationError("; ".join(wrong)) from None

    def typing(self, message: OutgoingMessage) -> float:
        """Return the seconds that a human types this message."""
        if not self.typing_speed or not isinstance(message, Text):
            return 0.0
        return min(self.typing_max, len(message.text) / self.typing_speed)

    def earliest(self, trail: Trail, age: Age, now: float, *, stranger: bool) -> tuple[float, Why]:
        """Return from when on, at ``now`` or later, a message may begin, and what it waits for until then."""
        at, why = now, Why.NOTHING
        for rule in (self._after_gap(trail, age), self._after_day(trail, age, now, stranger=stranger)):
            if rule[0] > at + AT_ONCE:
                at, why = rule
        return at, why

    def simulate(
        self,
        messages: Iterable[str | OutgoingMessage | Planned],
        *,
        start: datetime | None = None,
        created_at: datetime | None = None,
        connected_at: datetime | None = None,
        session: str = "",
    ) -> list[Paced]:
        """Say when each of these messages would go if it was sent with ``wait=True``, and why not before.

        The session has sent nothing yet, was created at ``created_at`` (``None``: long ago), and connected at
        ``connected_at`` (``None``: long ago). Its name decides what is left to chance. Of the limits of
        ``rate_limit_max`` it knows nothing, nor of the time that WhatsApp takes.
        """
        planned = [each if isinstance(each, Planned) else Planned(each) for each in messages]
        begin = (start or datetime.now(UTC)).timestamp()
        age = Age(
            created_at.timestamp() if created_at else begin - (self.warm_up_days + 1) * DAY,
            connected_at.timestamp() if connected_at else None,
        )
        trail, told = Trail(session), dict[int, Paced]()
        order = sorted(range(len(planned)), key=lambda index: planned[index].after)
        lines = [deque(index for index in order if planned[index].stranger is stranger) for stranger in (False, True)]
        while fronts := [line[0] for line in lines if line]:
            offers = {
                index: self.earliest(trail, age, begin + planned[index].after, stranger=planned[index].stranger)
                for index in fronts
            }
            first = min(at for at, _ in offers.values()) + AT_ONCE
            # Of those that may go then, the one that came first: strangers who have to wait hold up nobody else.
            index = min((each for each in fronts if offers[each][0] <= first), key=order.index)
            at, why = offers[index]
            goes = at + self.typing(to_message(planned[index].message))
            trail.forget_old(at)
            trail.add(goes, stranger=planned[index].stranger)
            told[index] = Paced(datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(goes, UTC), why)
            lines[planned[index].stranger].popleft()
        return [told[index] for index in range(len(planned))]

    def _after_gap(self, trail: Trail, age: Age) -> tuple[float, Why]:
        last, number = (trail.last.at, trail.last.number) if trail.last else (-math.inf, -1)
        chance = Random(f"{trail.seed}/{number}").random()  # noqa: S311 - nobody gains by guessing it
        gap = self.min_gap * (1 + self.gap_jitter * chance)
        up, ramp, slowdown = age.connected_at, self.reconnect_ramp, self.reconnect_slowdown
        if up is None or not ramp or slowdown == 1:
            return last + gap, Why.GAP
        last = max(last, up)
        # At a time t of the ramp the gap is gap * (slowdown - (slowdown - 1) * (t - up) / ramp); t - last has to be it.
        at = up + (last - up + gap * slowdown) / (1 + gap * (slowdown - 1) / ramp)
        return (at, Why.RECONNECTED) if at < up + ramp else (last + gap, Why.GAP)

    def _after_day(self, trail: Trail, age: Age, now: float, *, stranger: bool) -> tuple[float, Why]:
        offers = [(now, Why.NOTHING)]
        if self.daily_max is not None:
            offers.append(self._budget(self.daily_max, trail.sent, age, now, Why.DAILY))
        if self.strangers_max is not None and stranger:
            sent = [each for each in trail.sent if each.stranger]
            offers.append(self._budget(self.strangers_max, sent, age, now, Why.STRANGERS))
        return max(offers, key=lambda offer: offer[0])

    def _budget(self, most: int, sent: Sequence[Sent], age: Age, now: float, why: Why) -> tuple[float, Why]:
        at, waits_for = now, why
        while True:
            grown = self._grown(most, at - age.created_at)
            over = len(sent) - bisect_right(sent, at - DAY + AT_ONCE, key=lambda each: each.at) - grown
            if over < 0:
                return at, waits_for
            frees, grows = sent[len(sent) - grown].at + DAY, self._next_day(age, at)
            at, waits_for = (min(frees, grows), Why.WARM_UP) if grown < most else (frees, why)

    def _grown(self, most: int, age: float) -> int:
        """Return what a session of this age has of a budget."""
        day = math.floor(max(0.0, age + AT_ONCE) / DAY)
        if day >= self.warm_up_days:
            return most
        return max(1, math.floor(most * (self.warm_up_share + (1 - self.warm_up_share) * day / self.warm_up_days)))

    def _next_day(self, age: Age, at: float) -> float:
        return age.created_at + (math.floor(max(0.0, at - age.created_at + AT_ONCE) / DAY) + 1) * DAY
