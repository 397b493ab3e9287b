"""Ordered, bounded, isolated delivery of events to every subscriber."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .errors import ConfigurationError
from .events import EVENT_TYPES, ErrorEvent, Event
from .models import SessionKey
from .threads import DaemonThreads

logger = logging.getLogger(__name__)

CAPACITY = 1000
"""Events that may wait for one subscriber: of one session for a handler, in all for a stream."""
HANDLER_THREADS = 16

Handler = Callable[[Any], Awaitable[Any] | Any]
H = TypeVar("H", bound=Handler)
Report = Callable[[SessionKey, str, str], None]


class Filter:
    """Which events a subscriber wants; nothing given means all."""

    def __init__(self, types: Iterable[str], company_id: str | None, device: str | None) -> None:
        self.types = frozenset(types)
        self.company_id = company_id
        self.device = device
        if unknown := self.types - EVENT_TYPES:
            raise ConfigurationError(
                f"no such event: {', '.join(sorted(unknown))}; there are {', '.join(sorted(EVENT_TYPES))}"
            )

    def __call__(self, event: Event) -> bool:
        return (
            (not self.types or event.type in self.types)
            and self.company_id in (None, event.company_id)
            and self.device in (None, event.device)
        )


class Subscriber(Protocol):
    wants: Filter
    dropped: int

    def offer(self, event: Event) -> bool:
        """Take the event without waiting, or return ``False``."""
        ...


class Bus:
    """Hands each event to every subscriber that wants it, without ever waiting for one."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._subscribers: list[Subscriber] = []
        self._tasks: TaskGroup | None = None
        self._threads = DaemonThreads(HANDLER_THREADS, name="wasessionpool-handler")
        self._report: Report = lambda *_: None

    def open(self, tasks: TaskGroup, report: Report) -> None:
        """Start to deliver in ``tasks``; a handler's failure goes to ``report`` (session, code, detail)."""
        self._tasks, self._report = tasks, report

    async def drain(self) -> None:
        """Wait until handlers have finished what they were given; the caller sets the deadline."""
        for subscriber in list(self._subscribers):
            if isinstance(subscriber, _HandlerSubscriber):
                await subscriber.drained()

    def close(self) -> None:
        """Take no more events, and end every stream."""
        self._tasks = None
        for subscriber in self._subscribers:
            if isinstance(subscriber, _StreamSubscriber):
                subscriber.end()

    def publish(self, event: Event) -> None:
        for subscriber in self._subscribers:
            if subscriber.wants(event) and not subscriber.offer(event):
                self.dropped += 1
                subscriber.dropped += 1
                if subscriber.dropped & (subscriber.dropped - 1) == 0:
                    logger.warning("a subscriber fell behind; %d events dropped for it so far", subscriber.dropped)

    def add_handler(self, handler: Handler, wants: Filter) -> None:
        self._subscribers.append(_HandlerSubscriber(self, handler, wants))

    def remove_handler(self, handler: Handler) -> None:
        """Deliver nothing more to ``handler``; one that is not there is no error."""
        self._subscribers = [
            subscriber
            for subscriber in self._subscribers
            if not (isinstance(subscriber, _HandlerSubscriber) and subscriber.handler == handler)
        ]

    @asynccontextmanager
    async def stream(self, wants: Filter) -> AsyncIterator[AsyncIterator[Event]]:
        subscriber = _StreamSubscriber(wants, self._capacity)
        self._subscribers.append(subscriber)
        try:
            yield subscriber.events
        finally:
            self._subscribers.remove(subscriber)
            subscriber.end()
            subscriber.events.close()


class _StreamSubscriber:
    """An application's ``async for``."""

    def __init__(self, wants: Filter, capacity: int) -> None:
        self.wants = wants
        self.dropped = 0
        self._send: MemoryObjectSendStream[Event]
        self.events: MemoryObjectReceiveStream[Event]
        self._send, self.events = anyio.create_memory_object_stream[Event](capacity)

    def offer(self, event: Event) -> bool:
        try:
            self._send.send_nowait(event)
        except anyio.WouldBlock:
            return False
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return True
        return True

    def end(self) -> None:
        self._send.close()


class _HandlerSubscriber:
    """An application's function: one queue and one running call a session, so that order is kept and none waits."""

    def __init__(self, bus: Bus, handler: Handler, wants: Filter) -> None:
        self.wants = wants
        self.dropped = 0
        self.handler = handler
        self._bus = bus
        self._lanes: dict[SessionKey, deque[Event]] = {}
        self._idle = anyio.Event()

    def offer(self, event: Event) -> bool:
        if self._bus._tasks is None:
            return False
        lane = self._lanes.get(event.key)
        if lane is None:
            lane = self._lanes[event.key] = deque()
            self._bus._tasks.start_soon(self._deliver, event.key, lane)
        if len(lane) >= self._bus._capacity:
            return False
        lane.append(event)
        return True

    async def drained(self) -> None:
        while self._lanes:
            self._idle = anyio.Event()
            await self._idle.wait()

    async def _deliver(self, key: SessionKey, lane: deque[Event]) -> None:
        try:
            while lane:
                await self._call(lane.popleft())
        finally:
            del self._lanes[key]
            if not self._lanes:
                self._idle.set()

    async def _call(self, event: Event) -> None:
        try:
            if inspect.iscoroutinefunction(self.handler) or inspect.iscoroutinefunction(
                getattr(self.handler, "__call__", None)  # noqa: B004 - asks whether calling it is async
            ):
                await self.handler(event)
            else:
                await self._bus._threads.run(lambda: self.handler(event))
        except Exception as error:  # noqa: BLE001 - a handler must not end its session
            name = getattr(self.handler, "__qualname__", type(self.handler).__name__)
            # Not the exception's own words: an application's error may quote the message that it is about.
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} at {place.filename}:{place.lineno}"
            logger.error("session %s: handler %s failed on a %s event: %s", event.key, name, event.type, what)
            if not isinstance(event, ErrorEvent):
                self._bus._report(event.key, "handler_failed", f"handler {name}: {type(error).__name__}")
