"""Ordered, bounded, isolated delivery of events to every subscriber."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .abc import Clock
from .backoff import Backoff
from .clock import SystemClock
from .errors import ConfigurationError
from .events import EVENT_TYPES, ErrorEvent, Event
from .models import MAIN_DEVICE, SessionKey
from .threads import DaemonThreads
from .waiting import first

logger = logging.getLogger(__name__)

CAPACITY = 1000
"""Events that may wait for one subscriber: of one session for a handler, in all for a stream."""

INBOUND_ROOM = 100
"""Messages that a subscriber is handed before it takes one, unless another is quicker; more wait in the inbox."""

RESERVED = 100
"""The part of a queue that is kept from messages, so that they crowd out no state."""

HANDLER_THREADS = 16
"""Sessions for which one plain handler can be at work at once; one that blocks holds up no other handler."""

DURABLE_ATTEMPTS = 10
DURABLE_BACKOFF = Backoff(5.0, 300.0, 0.0)

Handler = Callable[[Any], Awaitable[Any] | Any]
H = TypeVar("H", bound=Handler)
Report = Callable[[SessionKey, str, str], None]
Finished = Callable[[bool], None]
"""Called once with whether a durable consumer is done with a message; else it has to come again."""


Lane = deque[tuple[Event, Finished | None]]
"""What waits for one handler of one session's events."""


class Filter:
    """Which events a subscriber wants; nothing given means all."""

    def __init__(self, types: Iterable[str], company_id: str | None, device: str | None) -> None:
        if unknown := [each for each in types if not isinstance(each, str) or each not in EVENT_TYPES]:
            named = ", ".join(each if isinstance(each, str) else type(each).__name__ for each in unknown)
            raise ConfigurationError(
                f"no such event: {named}; there are {', '.join(sorted(EVENT_TYPES))}, as in on('message')"
            )
        # Raises where no session could have these ids.
        SessionKey("any" if company_id is None else company_id, MAIN_DEVICE if device is None else device)
        self.types = frozenset(types)
        self.company_id = company_id
        self.device = device

    def __call__(self, event: Event) -> bool:
        return self.wants(event.type, event.key)

    def wants(self, kind: str, key: SessionKey) -> bool:
        return (
            (not self.types or kind in self.types)
            and self.company_id in (None, key.company_id)
            and self.device in (None, key.device)
        )


class Subscriber(Protocol):
    wants: Filter
    durable: bool
    dropped: int

    def room(self, key: SessionKey) -> int:
        """Return how many more events of a session fit."""
        ...

    def offer(self, event: Event, finished: Finished | None = None) -> None:
        """Take the event, for which there is room."""
        ...


class Bus:
    """Hands each event to every subscriber that wants it. ``publish`` never waits; ``deliver`` waits for room."""

    def __init__(self, *, capacity: int = CAPACITY, clock: Clock | None = None) -> None:
        self.dropped = 0
        self.subscriptions = 0
        self._capacity = capacity
        self.clock = clock or SystemClock()
        self._subscribers: list[Subscriber] = []
        self._tasks: TaskGroup | None = None
        self._report: Report = lambda *_: None
        self._progress = anyio.Event()
        self._draining = anyio.Event()
        self._closed = False

    def open(self, tasks: TaskGroup, report: Report) -> None:
        """Start to deliver in ``tasks``; a handler's failure goes to ``report`` (session, code, detail)."""
        self._tasks, self._report = tasks, report

    @property
    def draining(self) -> bool:
        """Whether the pool is closing."""
        return self._draining.is_set()

    def begin_draining(self) -> None:
        """From now on nothing is tried again: what a durable handler could not do comes after the next start."""
        self._draining.set()

    async def drain(self) -> None:
        """Wait until handlers have finished what they were given; the caller sets the deadline."""
        for subscriber in list(self._subscribers):
            if isinstance(subscriber, _HandlerSubscriber):
                await subscriber.drained()

    def close(self) -> None:
        """Take no more events, and end every stream."""
        self._tasks, self._closed = None, True
        for subscriber in self._subscribers:
            if isinstance(subscriber, _StreamSubscriber):
                subscriber.end()

    def publish(self, event: Event) -> None:
        """Offer the event to who wants it; where it does not fit, it is dropped and counted."""
        for subscriber in self._subscribers:
            if subscriber.wants(event):
                self._offer(subscriber, event)

    async def deliver(self, kind: str, key: SessionKey, make: Callable[[], Event], finished: Finished) -> bool:
        """Hand over what a session received, waiting until every durable consumer, or else anybody, has room for it.

        ``make`` makes the event once there is room. Returns ``False``, and neither makes nor finishes it, where nobody
        wants events of this ``kind``, or those who did left meanwhile.
        """
        while True:
            wanting = [subscriber for subscriber in self._subscribers if subscriber.wants.wants(kind, key)]
            if not wanting:
                return False
            durable = [subscriber for subscriber in wanting if subscriber.durable]
            room = [self._has_room(subscriber, key) for subscriber in durable or wanting]
            if all(room) if durable else any(room):
                break
            await self._progress.wait()
        event = make()
        unfinished, done_by_all = len(durable), True

        def settle(done: bool) -> None:
            nonlocal unfinished, done_by_all
            unfinished, done_by_all = unfinished - 1, done_by_all and done
            if not unfinished:
                finished(done_by_all)

        for subscriber in wanting:
            self._offer(subscriber, event, settle if subscriber.durable else None, reserved=RESERVED)
        if not durable:
            finished(True)
        return True

    def waiting_for_handlers(self) -> int:
        """Return how many events wait for a handler that is busy."""
        return sum(each.waiting() for each in self._subscribers if isinstance(each, _HandlerSubscriber))

    def waiting_for_streams(self) -> int:
        """Return how many events wait to be taken from a stream."""
        return sum(each.waiting() for each in self._subscribers if isinstance(each, _StreamSubscriber))

    async def subscribed(self, known: int) -> None:
        """Wait until there are other ``subscriptions`` than those ``known``."""
        while self.subscriptions == known:
            await self._progress.wait()

    def add_handler(self, handler: Handler, wants: Filter, *, durable: bool = False) -> None:
        if not callable(handler):
            raise ConfigurationError(f"a handler is a function of one argument, not {type(handler).__name__}")
        self._add(_HandlerSubscriber(self, handler, wants, durable=durable))

    def remove_handler(self, handler: Handler) -> None:
        """Deliver nothing more to ``handler``, however often it was added; one that is not there is no error.

        What waits for it is forgotten; a message that it should have made durable comes again after the next start.
        """
        for subscriber in self._subscribers[:]:
            if isinstance(subscriber, _HandlerSubscriber) and subscriber.handler == handler:
                self._subscribers.remove(subscriber)
                subscriber.removed = True
        self._progressed()

    @asynccontextmanager
    async def stream(self, wants: Filter) -> AsyncIterator[AsyncIterator[Event]]:
        subscriber = _StreamSubscriber(self, wants)
        self._add(subscriber)
        if self._closed:
            subscriber.end()
        try:
            yield subscriber
        finally:
            self._subscribers.remove(subscriber)
            subscriber.end()
            self._progressed()

    def _add(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)
        self.subscriptions += 1
        self._progressed()

    def _has_room(self, subscriber: Subscriber, key: SessionKey) -> bool:
        return subscriber.room(key) > max(0, self._capacity - INBOUND_ROOM)

    def _offer(
        self, subscriber: Subscriber, event: Event, finished: Finished | None = None, *, reserved: int = 0
    ) -> None:
        if subscriber.room(event.key) > min(reserved, self._capacity // 2):
            subscriber.offer(event, finished)
            return
        self.dropped += 1
        subscriber.dropped += 1
        if subscriber.dropped & (subscriber.dropped - 1) == 0:
            logger.warning("a subscriber fell behind; %d events dropped for it so far", subscriber.dropped)

    def _progressed(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()


class _StreamSubscriber:
    """An application's ``async for``; it ends once the bus is closed and everything was taken."""

    durable = False

    def __init__(self, bus: Bus, wants: Filter) -> None:
        self.wants = wants
        self.dropped = 0
        self._bus = bus
        self._events: deque[Event] = deque()
        self._ended = False
        self._changed = anyio.Event()

    def room(self, key: SessionKey) -> int:  # noqa: ARG002 - one queue for all sessions
        return self._bus._capacity - len(self._events)

    def offer(self, event: Event, finished: Finished | None = None) -> None:  # noqa: ARG002 - never durable
        self._events.append(event)
        self._notify()

    def waiting(self) -> int:
        return len(self._events)

    def end(self) -> None:
        self._ended = True
        self._notify()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        await anyio.lowlevel.checkpoint()
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            await self._changed.wait()
        self._bus._progressed()
        return self._events.popleft()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class _HandlerSubscriber:
    """An application's function: one queue and one running call a session, so that order is kept and none waits."""

    def __init__(self, bus: Bus, handler: Handler, wants: Filter, *, durable: bool) -> None:
        self.wants = wants
        self.durable = durable
        self.dropped = 0
        self.handler = handler
        self.removed = False
        self._bus = bus
        self._threads = DaemonThreads(HANDLER_THREADS, name="wasessionpool-handler")
        self._lanes: dict[SessionKey, Lane] = {}
        self._idle = anyio.Event()

    def room(self, key: SessionKey) -> int:
        if self._bus._tasks is None:
            return 0
        return self._bus._capacity - len(self._lanes.get(key, ()))

    def offer(self, event: Event, finished: Finished | None = None) -> None:
        lane = self._lanes.get(event.key)
        if lane is None and self._bus._tasks is not None:
            lane = self._lanes[event.key] = deque()
            self._bus._tasks.start_soon(self._work, event.key, lane)
        if lane is not None:
            lane.append((event, finished))

    def waiting(self) -> int:
        return sum(map(len, self._lanes.values()))

    async def drained(self) -> None:
        while self._lanes:
            self._idle = anyio.Event()
            await self._idle.wait()

    async def _work(self, key: SessionKey, lane: Lane) -> None:
        abandoned = False
        try:
            while lane:
                event, finished = lane.popleft()
                self._bus._progressed()
                if finished is None:
                    if not self.removed:
                        await self._call(event)
                else:
                    abandoned = abandoned or not await self._persist(event)
                    finished(not abandoned)
        finally:
            del self._lanes[key]
            if not self._lanes:
                self._idle.set()

    async def _persist(self, event: Event) -> bool:
        """Call the handler until it succeeds or is given up; ``False``: it is removed, or the bus drains, before."""
        for attempt in range(1, DURABLE_ATTEMPTS + 1):
            if self.removed:
                return False
            if await self._call(event):
                return True
            if self._bus._draining.is_set():
                return False
            if attempt < DURABLE_ATTEMPTS:
                delay = DURABLE_BACKOFF.delay(attempt)
                await first(self._bus._draining.wait, partial(self._bus.clock.sleep, delay))
                if self._bus._draining.is_set():
                    return False
        name = _name(self.handler)
        logger.error("session %s: handler %s gave up on a %s event", event.key, name, event.type)
        self._bus._report(event.key, "handler_gave_up", f"handler {name}: {DURABLE_ATTEMPTS} attempts failed")
        return True

    async def _call(self, event: Event) -> bool:
        in_loop = inspect.iscoroutinefunction(self.handler) or inspect.iscoroutinefunction(
            getattr(self.handler, "__call__", None)  # noqa: B004 - asks whether calling it is async
        )
        try:
            result = self.handler(event) if in_loop else await self._threads.run(lambda: self.handler(event))
            if inspect.isawaitable(result):
                await result
        except BaseException as error:  # a handler must end no session, whatever it awaited was cancelled or exits
            # Where it was the pool that cancelled it, it is cancelled here again.
            await anyio.lowlevel.checkpoint_if_cancelled()
            if in_loop and isinstance(error, KeyboardInterrupt):
                # Ctrl-C; in a thread the handler itself raised it.
                raise
            # Not the exception's own words: an application's error may quote the message that it is about.
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} at {place.filename}:{place.lineno}"
            name = _name(self.handler)
            logger.error("session %s: handler %s failed on a %s event: %s", event.key, name, event.type, what)
            if not isinstance(event, ErrorEvent):
                self._bus._report(event.key, "handler_failed", f"handler {name}: {type(error).__name__}")
            return False
        return True


def _name(handler: Handler) -> str:
    return getattr(handler, "__qualname__", type(handler).__name__)
