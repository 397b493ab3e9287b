"""Tells the sessions that gave up when another one of the pool gets through to WhatsApp."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Comebacks:
    """Counts the links that came up, and wakes at each who waits for one."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: set[anyio.Event] = set()

    def note(self) -> None:
        """A session has a live link."""
        self.count += 1
        for event in self._waiting:
            event.set()

    @contextmanager
    def wake(self, event: anyio.Event, beyond: int) -> Iterator[None]:
        """Set ``event`` once there were more than ``beyond``, as long as the context lasts."""
        if self.count > beyond:
            event.set()
        self._waiting.add(event)
        try:
            yield
        finally:
            self._waiting.remove(event)
