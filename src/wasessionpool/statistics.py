"""What each session did, hour by hour, on the shelf for 90 days."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Self

import anyio
from pydantic import Field, TypeAdapter, ValidationError

from .abc import Clock, Shelf
from .counts import Counts, Sums
from .errors import ConfigurationError
from .kept import forget, place
from .models import HourlyStatistics, SessionKey
from .standing import Standing

logger = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between two writes, which is what a killed pool may lose."""
IDLE = 600.0
"""Seconds of the same for a session that does nothing but be connected."""
KEPT = 90 * 24 * 3600.0
"""Seconds that a day is kept after its last change."""
LIMIT = 10_000
"""Hours of sessions that may wait for a shelf that fails; older ones are dropped and counted."""
AT_CLOSE = 5.0
"""Seconds that the last write may take, when the pool closes."""
HOUR = timedelta(hours=1)
PREFIX = "statistics/"


@dataclass(slots=True)
class Figures(Sums):
    """What is kept of an hour."""

    messages_sent: int = 0
    messages_received: int = 0
    sends_failed: Counter[str] = field(default_factory=Counter)
    delivered: int = 0
    read: int = 0
    reconnects: int = 0
    connected_seconds: float = 0.0

    @classmethod
    def of(cls, counts: Counts) -> Self:
        return cls(
            messages_sent=counts.messages_sent,
            messages_received=counts.messages_received,
            sends_failed=counts.sends_failed,
            delivered=counts.receipts["delivered"],
            read=counts.receipts["read"],
            reconnects=counts.reconnects.total(),
            connected_seconds=counts.connected_seconds,
        )

    @property
    def can_wait(self) -> bool:
        """Whether they say only that the session was connected, and not for long."""
        return self.connected_seconds < IDLE and self == Figures(connected_seconds=self.connected_seconds)


_DAY = TypeAdapter(dict[Annotated[int, Field(ge=0, le=23)], Figures])


class Statistics:
    """Takes what the sessions have counted to the hour in which it was, and brings that to the shelf.

    A session's day is one entry there, so that a quarter of a year is 90 reads; it is read, added to and written back,
    which needs no lock between processes, since a session has one owner at a time.
    """

    def __init__(self, shelf: Shelf, clock: Clock, standings: Callable[[], Iterable[Standing]]) -> None:
        self.dropped = 0
        self._shelf = shelf
        self._clock = clock
        self._standings = standings
        self._hour = _hour_of(clock.now())
        self._told: dict[SessionKey, tuple[Counts, Counts]] = {}
        """What a session counts in, and what it had counted when it was asked last."""
        self._waiting: dict[tuple[SessionKey, datetime], Figures] = {}
        self._failing = False
        self._using = anyio.Lock(fast_acquire=True)

    async def run(self) -> None:
        """Write once a minute and at the end of each hour, until cancelled, and then what is left."""
        try:
            while True:
                await self._clock.sleep(min(INTERVAL, 3600 - self._clock.now().timestamp() % 3600))
                self._collect()
                await self._write()
        finally:
            self._collect()
            with anyio.move_on_after(AT_CLOSE, shield=True):
                await self._write(everything=True)
            if self._waiting:
                logger.error("the statistics of %d hours of sessions are lost", len(self._waiting))

    async def get(
        self, company_id: str | None, since: datetime | None, until: datetime | None
    ) -> list[HourlyStatistics]:
        """Return the hours of one company, or of all, as ``WhatsAppSessionPool.get_statistics`` says."""
        prefix = PREFIX if company_id is None else f"{PREFIX}{SessionKey(company_id).company_id}/"
        first = _hour_of(_aware(since)) if since is not None else datetime.min.replace(tzinfo=UTC)
        end = _aware(until) if until is not None else datetime.max.replace(tzinfo=UTC)
        found: defaultdict[tuple[datetime, SessionKey], Figures] = defaultdict(Figures)
        self._collect()
        async with self._using:
            async for name, value in self._shelf.scan(prefix):
                key, day = _key_and_day(name)
                if first.date() <= day <= end.date():
                    found.update({(_hour(day, number), key): each for number, each in _read(name, value).items()})
            for (key, hour), figures in self._waiting.items():
                if company_id in (None, key.company_id):
                    found[hour, key] += figures
        return [
            _statistics(key, hour, figures)
            for (hour, key), figures in sorted(found.items(), key=lambda each: each[0])
            if first <= hour < end
        ]

    async def forget(self, key: SessionKey) -> None:
        """Forget all that a session did, which does nothing more; raises ``StorageError``."""
        async with self._using:
            await forget(self._shelf, key, "statistics")
            self._told.pop(key, None)
            self._waiting = {entry: figures for entry, figures in self._waiting.items() if entry[0] != key}

    def _collect(self) -> None:
        """Take what was counted since the last time to the hour of that time."""
        hour, self._hour = self._hour, _hour_of(self._clock.now())
        for standing in self._standings():
            key, counts = standing.record.key, standing.counted()
            counting, told = self._told.get(key, (counts, Counts()))
            if counting is not counts:
                # The session was deleted, and is another one by that name now.
                told = Counts()
            figures = Figures.of(counts - told)
            if figures != Figures():
                self._told[key] = counts, counts + Counts()
                self._wait((key, hour), figures)

    def _wait(self, entry: tuple[SessionKey, datetime], figures: Figures) -> None:
        self._waiting[entry] = self._waiting.get(entry, Figures()) + figures
        if len(self._waiting) > LIMIT:
            del self._waiting[min(self._waiting, key=lambda each: each[1])]
            self.dropped += 1

    async def _write(self, *, everything: bool = False) -> None:
        days = defaultdict(list)
        for (key, hour), figures in self._waiting.items():
            if everything or hour < self._hour or not figures.can_wait:
                days[key, hour.date()].append(hour)
        for (key, day), hours in days.items():
            try:
                async with self._using:
                    await self._add(key, day, hours)
            except Exception as error:  # noqa: BLE001 - whatever a shelf does, it must not end the sessions
                if not self._failing:
                    logger.warning("statistics cannot be kept, and wait in memory: %s", error)
                self._failing = True
                return
            if self._failing:
                logger.info("statistics can be kept again")
            self._failing = False

    async def _add(self, key: SessionKey, day: date, hours: Iterable[datetime]) -> None:
        # What was forgotten before our turn came is not there any more.
        new = {hour: self._waiting.pop((key, hour)) for hour in hours if (key, hour) in self._waiting}
        if not new:
            return
        name = place("statistics", key) + day.isoformat()
        try:
            kept = _read(name, await self._shelf.get(name) or b"{}")
            for hour, figures in new.items():
                kept[hour.hour] = kept.get(hour.hour, Figures()) + figures
            await self._shelf.put(name, _DAY.dump_json(kept, exclude_defaults=True), ttl=KEPT)
        except BaseException:
            for hour, figures in new.items():
                self._wait((key, hour), figures)
            raise


def _statistics(key: SessionKey, hour: datetime, figures: Figures) -> HourlyStatistics:
    return HourlyStatistics(
        company_id=key.company_id,
        device=key.device,
        hour=hour,
        messages_sent=figures.messages_sent,
        messages_received=figures.messages_received,
        sends_failed=dict(figures.sends_failed),
        delivered=figures.delivered,
        read=figures.read,
        reconnects=figures.reconnects,
        connected_seconds=round(figures.connected_seconds, 3),
    )


def _read(name: str, value: bytes) -> dict[int, Figures]:
    try:
        return _DAY.validate_json(value)
    except ValidationError:
        logger.warning("%s on the shelf is damaged: that day's statistics begin anew", name)
        return {}


def _key_and_day(name: str) -> tuple[SessionKey, date]:
    company_id, device, day = name.removeprefix(PREFIX).split("/")
    return SessionKey(company_id, device), date.fromisoformat(day)


def _hour(day: date, number: int) -> datetime:
    return datetime(day.year, day.month, day.day, number, tzinfo=UTC)


def _hour_of(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _aware(time: datetime) -> datetime:
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise ConfigurationError(f"{ascii(time)[:64]} is no time with a timezone: since and until are aware datetimes")
    return time.astimezone(UTC)
