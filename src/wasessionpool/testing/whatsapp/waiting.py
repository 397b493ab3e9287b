"""Waits with a deadline and a reason."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")

MAILBOX_SIZE = 100_000


class Changes:
    """Wakes those who wait until some state is as they want it."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def notify(self) -> None:
        """Let every waiter look at the state again."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait_until(self, condition: Callable[[], bool], timeout: float, reason: Callable[[], str]) -> None:
        """Wait until `condition` holds. Raises TimeoutError with `reason` after `timeout` seconds."""
        with anyio.move_on_after(timeout):
            while not condition():
                self._event = self._event or anyio.Event()
                await self._event.wait()
            return
        raise TimeoutError(reason())


class Mailbox(Generic[T]):
    """What arrived, in order; kept for looking back, and handed out one by one.

    The oldest fall out beyond `size`; `dropped` counts those.
    """

    def __init__(self, size: int = MAILBOX_SIZE) -> None:
        self.dropped = 0
        self._items: deque[T] = deque(maxlen=size)
        self._next = 0
        self._changes = Changes()

    def put(self, item: T) -> None:
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
            self._next = max(self._next - 1, 0)
        self._items.append(item)
        self._changes.notify()

    @property
    def all(self) -> tuple[T, ...]:
        return tuple(self._items)

    async def next(self, timeout: float, reason: Callable[[], str]) -> T:
        """Return the oldest item not yet handed out. Raises TimeoutError with `reason`."""
        await self._changes.wait_until(lambda: self._next < len(self._items), timeout, reason)
        item = self._items[self._next]
        self._next += 1
        return item

    async def wait_until(self, condition: Callable[[], bool], timeout: float, reason: Callable[[], str]) -> None:
        await self._changes.wait_until(condition, timeout, reason)
