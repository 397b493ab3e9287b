"""Places in the limits for one session's sends; those that wait for one get it in the order in which they came."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from .abc import Connection, Reservation
from .addresses import Address
from .backends import Backends
from .errors import RateLimitExceeded
from .messages import OutgoingMessage
from .models import SessionKey
from .pace import Pace, TooEarly
from .pacing import Sent
from .standing import Standing

CLEAR_OF_THE_EDGE = 0.001
"""Seconds; the times of computers are rounded."""


class _Waiter:
    """A send that waits. ``due``: when it asks again; ``held``: by a rule for strangers: only they wait behind."""

    def __init__(self, *, stranger: bool) -> None:
        self.stranger = stranger
        self.due = -math.inf
        self.held = False


class Places:
    """The limits of one session's sends: those of the pool's limiter, and its pace where that is configured.

    ``check`` raises where nothing can be sent any more; who waits asks it each time it wakes.
    """

    def __init__(self, key: SessionKey, standing: Standing, backends: Backends, check: Callable[[], object]) -> None:
        policy = backends.settings.pacing
        self._pace = Pace(policy, key, standing, backends) if policy else None
        self._key = key
        self._backends = backends
        self._check = check
        self._waiters: list[_Waiter] = []
        self._moved = anyio.Event()
        self._freed = anyio.Event()

    async def reserve(self, to: Address, content: OutgoingMessage, *, stranger: bool, until: float) -> Place:
        """Get a place; wait for it ``until`` that monotonic time, where it is not past.

        Raises ``RateLimitExceeded``, at once where there is none before ``until``.
        """
        clock = self._backends.clock
        # The caller's own deadline, a moment later, would end the waiting without saying what for.
        until -= CLEAR_OF_THE_EDGE
        if self._pace is not None:
            await self._pace.read()
        while (first := self._first()) is not None and first.due <= clock.monotonic():
            # Its turn has come this moment: who came later does not take it.
            await self._moved.wait()
            self._check()
        if until <= clock.monotonic():
            place = await self._take(to, content, stranger=stranger)
        else:
            waiter = _Waiter(stranger=stranger)
            self._waiters.append(waiter)
            try:
                place = await self._wait(waiter, to, content, stranger=stranger, until=until)
            finally:
                self._waiters.remove(waiter)
                self._move()
        if isinstance(place, Place):
            return place
        raise await self._refusal(place, to)

    async def forget(self) -> None:
        """Forget what was sent; raises ``StorageError``."""
        if self._pace is not None:
            await self._pace.forget()

    def wake(self) -> None:
        """Let those that wait look again, whatever for."""
        self._move()
        self.free()

    def free(self) -> None:
        """Let those that wait ask again: a place was given back."""
        self._freed.set()
        self._freed = anyio.Event()

    async def _wait(
        self, waiter: _Waiter, to: Address, content: OutgoingMessage, *, stranger: bool, until: float
    ) -> Place | RateLimitExceeded | TooEarly:
        clock = self._backends.clock
        while True:
            first = self._first(waiter)
            if first is not None and first.due < until and clock.monotonic() < until:
                with clock.move_on_after(None if until == math.inf else until - clock.monotonic()):
                    await self._moved.wait()
                self._check()
                continue
            place = await self._take(to, content, stranger=stranger)
            if isinstance(place, Place):
                return place
            waiter.due = clock.monotonic() + place.retry_after
            if waiter.due > until:
                return place
            waiter.held = isinstance(place, TooEarly) and place.held
            self._move()
            with clock.move_on_after(place.retry_after):
                await self._freed.wait()
            self._check()

    def _first(self, behind: _Waiter | None = None) -> _Waiter | None:
        """Return the one that is served next, if it is ahead of ``behind``."""
        now, held = self._backends.clock.monotonic(), False
        for waiter in self._waiters:
            if waiter is behind:
                return None
            held = held or (waiter.held and waiter.due > now + CLEAR_OF_THE_EDGE)
            if not (held and waiter.stranger) or (behind is not None and behind.stranger):
                return waiter
        return None

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    async def _take(
        self, to: Address, content: OutgoingMessage, *, stranger: bool
    ) -> Place | RateLimitExceeded | TooEarly:
        sent = self._pace.take(content, stranger=stranger) if self._pace is not None else None
        if isinstance(sent, TooEarly):
            return sent
        try:
            return Place(self, await self._backends.limiter.acquire(self._key, str(to)), self._pace, sent)
        except BaseException as error:
            if self._pace is not None and sent is not None:
                self._pace.give_back(sent)
            if isinstance(error, RateLimitExceeded):
                return error
            raise

    async def _refusal(self, refused: RateLimitExceeded | TooEarly, to: Address) -> RateLimitExceeded:
        """Return the error for the caller: a send made after its ``retry_after`` has to pass the other limit, too."""
        if isinstance(refused, RateLimitExceeded):
            return refused
        wait = refused.retry_after + CLEAR_OF_THE_EDGE
        try:
            await (await self._backends.limiter.acquire(self._key, str(to))).release()
        except RateLimitExceeded as error:
            if error.retry_after > wait:
                return error
        because = refused.why.replace("_", " ")
        return RateLimitExceeded(f"session {self._key} may send again in {wait:.1f} s ({because})", retry_after=wait)


class Place:
    """A place in all limits."""

    def __init__(self, places: Places, reservation: Reservation, pace: Pace | None, sent: Sent | None) -> None:
        self._places = places
        self._reservation = reservation
        self._pace = pace
        self._sent = sent

    async def compose(self, to: Address, content: OutgoingMessage, connection: Connection) -> None:
        """Take a human's time before the message goes, where there is a pace."""
        if self._pace is not None and self._sent is not None:
            await self._pace.compose(self._sent, to, content, connection)

    async def commit(self) -> None:
        await self._reservation.commit()

    async def release(self) -> None:
        if self._pace is not None and self._sent is not None:
            self._pace.give_back(self._sent)
        try:
            await self._reservation.release()
        finally:
            self._places.free()
