"""Brings what a session's inbox holds to the subscribers, in order, and acknowledges what they are done with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from .abc import Inbox
from .bus import Bus
from .errors import StorageError
from .links import InboxItem
from .received import Received
from .standing import Standing
from .waiting import first

BATCH = 64

RETRY = 5.0
"""Seconds until an inbox that could not be used is tried again."""

WELCOME = 60.0
"""Seconds of a session's run within which nothing is trimmed: who subscribes only then gets all that waited."""


class Inbound:
    """Outlives the links and runs of one session, so that what a handler still works on is not handed over twice.

    A message is acknowledged once every durable handler is done with it; where there is none, once a subscriber has
    it. One that nobody wants stays for who may come: all of them for ``WELCOME``, then the newest ``keep``.
    """

    def __init__(self, standing: Standing, bus: Bus, received: Received, *, keep: int) -> None:
        self._key = standing.record.key
        self._counts = standing.counts
        self._bus = bus
        self._received = received
        self._keep = keep
        self._in_flight: set[int] = set()
        self._done: list[int] = []
        self._generation = 0
        self._accounted = 0
        self._reading = False
        self._changed = anyio.Event()

    @property
    def in_flight(self) -> int:
        """How many messages were handed over and are not acknowledged yet."""
        return len(self._in_flight)

    async def run(self, inbox: Inbox, report: Callable[[StorageError], None]) -> None:
        """Hand over what comes, until cancelled; ``report`` hears of an inbox that cannot be read."""
        position, passed_over, subscriptions = 0, False, self._bus.subscriptions
        clock = self._bus.clock
        trims_from = clock.monotonic() + WELCOME
        while True:
            self._reading = True
            pause: tuple[Callable[[], Awaitable[object]], ...] = ()
            try:
                items = await inbox.read(position, BATCH)
                for item in items:
                    if passed_over and subscriptions != self._bus.subscriptions:
                        break
                    passed_over |= not await self._hand_over(item)
                    position = item.number
                if not items:
                    pause = inbox.changed, partial(self._bus.subscribed, subscriptions)
                    if passed_over and (early := trims_from - clock.monotonic()) > 0:
                        pause = *pause, partial(clock.sleep, early)
                    elif passed_over and subscriptions == self._bus.subscriptions:
                        expired = await inbox.trim(self._keep)
                        self._counts.messages_expired += expired
            except StorageError as error:
                report(error)
                pause = (partial(clock.sleep, RETRY),)
            if pause:
                self._reading = False
                self._notify()
                await first(*pause)
            if subscriptions != self._bus.subscriptions:
                subscriptions = self._bus.subscriptions
                if passed_over:
                    # From the first again, so that who came gets everything in order.
                    position, passed_over = 0, False

    async def acknowledge(self, inbox: Inbox, report: Callable[[StorageError], None]) -> None:
        """Tell the inbox what is done with, until cancelled, and then what is left of it."""
        try:
            while True:
                if await self._acknowledge(inbox, report):
                    await self._changed.wait()
                else:
                    await self._bus.clock.sleep(RETRY)
        finally:
            with anyio.CancelScope(shield=True):
                await self._acknowledge(inbox, report)

    async def landed(self) -> None:
        """Wait until no handler works on a message that has to be acknowledged."""
        while self._in_flight:
            await self._changed.wait()

    async def settled(self) -> None:
        """Wait until everything was handed over and is done with."""
        while self._reading or self._in_flight:
            await self._changed.wait()

    def forget(self) -> None:
        """The inbox was erased: its numbers mean nothing any more, and a new one will give them again."""
        self._generation += 1
        self._accounted = 0
        self._in_flight.clear()
        self._done.clear()

    async def _hand_over(self, item: InboxItem) -> bool:
        """Return whether the item is no matter of who subscribes later."""
        number, kind = item.number, item.event_type
        if number > self._accounted:
            self._accounted = number
            self._received.account(item)
        if number in self._in_flight or number in self._done:
            return True
        finished = partial(self._finished, number, self._generation)
        self._in_flight.add(number)
        try:
            if await self._bus.deliver(kind, self._key, partial(self._received.event, item), finished):
                return True
        except BaseException:
            self._in_flight.discard(number)
            raise
        # A reaction that nobody asked for is no news for who comes later.
        finished(kind != "message")
        return kind != "message"

    def _finished(self, number: int, generation: int, acknowledged: bool) -> None:
        if generation != self._generation:
            return
        self._in_flight.discard(number)
        if acknowledged:
            self._done.append(number)
        self._notify()

    async def _acknowledge(self, inbox: Inbox, report: Callable[[StorageError], None]) -> bool:
        """Return whether the inbox was told of everything."""
        while self._done:
            numbers = tuple(self._done)
            try:
                await inbox.acknowledge(numbers)
            except StorageError as error:
                report(error)
                return False
            del self._done[: len(numbers)]
        return True

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
