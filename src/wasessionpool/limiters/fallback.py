"""Limits on Redis, and in memory while Redis is gone; asyncio only."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Self

import anyio

from ..errors import ConfigurationError, StorageError
from ..models import SessionKey
from .redis import Place, RedisLimiter, new_place
from .windows import WindowLimiter, WindowReservation

logger = logging.getLogger(__name__)

PROBE_EVERY = 1.0
"""Seconds between two questions whether Redis is back."""


class FallbackLimiter:
    """Asks ``shared``; where that cannot be asked, memory decides at once, by this ``share`` of every budget.

    While Redis is gone, a process sends no more than its share in any window, and what it sent by Redis before counts.
    Before Redis is asked again, it is told what the process sent in the last window, also where it has forgotten it.
    So no process exceeds a budget by itself, whatever becomes of Redis; several do so together, by the sum of their
    shares at most, until a window after Redis is back.

    ``degraded`` says whether memory decides now, ``fallbacks`` how often it came to that.
    """

    def __init__(self, shared: RedisLimiter, *, share: float = 0.5) -> None:
        self.degraded = False
        self.fallbacks = 0
        self._shared = shared
        self._memory = WindowLimiter(**asdict(shared.budgets.part(share)))
        self._sent: defaultdict[str, dict[str, Place]] = defaultdict(dict)
        self._untold: dict[str, Place] = {}
        """What Redis has to learn before it is asked again."""
        self._owed: dict[str, Place] = {}
        """What Redis has to free before."""
        self._fell = anyio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._shared)
            try:
                await self._shared.check()
            except StorageError as error:
                self._fall_back(error)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._come_back, name="probing of Redis")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def acquire(self, key: SessionKey, recipient: str) -> FallbackReservation:
        self._forget_old(key.company_id)
        if not self.degraded:
            place = new_place(key.company_id, recipient)
            try:
                place = await self._take(place)
            except StorageError as error:
                # It may have been taken, but is not used.
                self._owed[place.id] = place
                self._fall_back(error)
            else:
                return self._reservation(place, self._memory.note(key.company_id, recipient))
        in_memory = await self._memory.acquire(key, recipient)
        return self._reservation(new_place(key.company_id, recipient), in_memory)

    async def _take(self, place: Place) -> Place:
        ours, taken = await self._shared.take(place)
        if taken <= self._ought_to_know(place):
            # It was emptied, and nobody noticed that it was gone.
            await self._shared.give_back(ours)
            for known in list(self._sent[place.company_id].values()):
                await self._shared.remember(known)
            ours, _ = await self._shared.take(place)
        return ours

    def _ought_to_know(self, place: Place) -> int:
        """Return how many places of this process Redis must have counted when it was asked for this one."""
        oldest = time.monotonic() - self._shared.budgets.window
        known = self._sent[place.company_id].values()
        return sum(each.asked_at > oldest and each.taken_at <= place.asked_at for each in known)

    def _reservation(self, place: Place, in_memory: WindowReservation) -> FallbackReservation:
        self._sent[place.company_id][place.id] = place
        if self.degraded:
            self._untold[place.id] = place
        return FallbackReservation(self, place, in_memory)

    async def _release(self, place: Place, in_memory: WindowReservation) -> None:
        await in_memory.release()
        self._sent[place.company_id].pop(place.id, None)
        if not self.degraded:
            try:
                await self._shared.give_back(place)
            except StorageError as error:
                self._fall_back(error)
            else:
                return
        self._untold.pop(place.id, None)
        self._owed[place.id] = place

    def _forget_old(self, company_id: str) -> None:
        oldest = time.monotonic() - self._shared.budgets.window
        for places in (self._sent[company_id], self._untold, self._owed):
            while places and (first := next(iter(places.values()))).taken_at < oldest:
                del places[first.id]

    def _fall_back(self, error: StorageError) -> None:
        if self.degraded:
            return
        self.degraded = True
        self.fallbacks += 1
        sent = [place for places in self._sent.values() for place in places.values()]
        self._untold = {place.id: place for place in sorted(sent, key=lambda place: place.taken_at)}
        self._fell.set()
        logger.warning("%s: limits are kept in memory, to a share of each, until it is back", error.message)

    async def _come_back(self) -> None:
        failing = False
        while True:
            await self._fell.wait()
            await anyio.sleep(PROBE_EVERY)
            try:
                await self._shared.check()
                await self._tell()
            except (StorageError, ConfigurationError):
                continue
            except Exception:
                # It must not end the sessions, and may be the same each time.
                if not failing:
                    logger.exception("it cannot be told whether Redis is back; it is asked again")
                failing = True
                continue
            failing = False
            # Nothing may come between what was told last and this.
            self.degraded, self._fell = False, anyio.Event()
            logger.warning("Redis is back: limits are shared again")

    async def _tell(self) -> None:
        while self._untold or self._owed:
            for places, tell in ((self._untold, self._shared.remember), (self._owed, self._shared.give_back)):
                while places:
                    place = next(iter(places.values()))
                    await tell(place)
                    places.pop(place.id, None)


class FallbackReservation:
    """A place on Redis and in memory, or in memory alone."""

    def __init__(self, limiter: FallbackLimiter, place: Place, in_memory: WindowReservation) -> None:
        self._limiter = limiter
        self._place: Place | None = place
        self._in_memory = in_memory

    async def commit(self) -> None:
        self._place = None

    async def release(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            await self._limiter._release(place, self._in_memory)
