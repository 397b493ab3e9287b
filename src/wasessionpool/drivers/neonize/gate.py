"""Keeps starts and stops of sessions apart from everything else that enters Go."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SETTLE = 0.25
"""Seconds after which a start has written Go's maps: opening the database takes 5–15 ms on a local disk."""

YOUNG = 0.05
"""Seconds within which a call has read Go's maps: it does so first of all."""


class Window:
    """A time in which nothing else enters Go: until ``close``, at most until the limit it was opened with."""

    def __init__(self, gate: Gate, deadline: float) -> None:
        self._gate = gate
        self.deadline = deadline

    def close(self) -> None:
        self._gate._close(self)


class Gate:
    """Admits either one start or stop, or any number of calls, in the order of their coming.

    neonize keeps its clients in Go maps without a lock: ``Neonize`` and ``Stop`` write them, every call reads them
    once as it begins, and Go ends the process when it sees both at once. A call that hangs afterwards is harmless,
    so only calls younger than ``young`` seconds hold up a window.
    """

    def __init__(self, *, young: float = YOUNG, clock: Callable[[], float] = time.monotonic) -> None:
        self._young = young
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._window: Window | None = None
        self._calls: dict[object, float] = {}

    def open_window(self, limit: float) -> Window:
        """Wait for the turn, then keep all others out for at most ``limit`` seconds."""
        with self._changed:
            self._wait_for_turn(self._until_quiet)
            self._window = Window(self, self._clock() + limit)
            return self._window

    @contextmanager
    def window(self, limit: float) -> Iterator[None]:
        """Keep all others out meanwhile, but no longer than ``limit`` seconds."""
        window = self.open_window(limit)
        try:
            yield
        finally:
            window.close()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait until no window is open, then be inside Go for as long as it takes."""
        token = object()
        with self._changed:
            self._wait_for_turn(self._until_closed)
            self._calls[token] = self._clock()
        try:
            yield
        finally:
            with self._changed:
                del self._calls[token]
                self._changed.notify_all()

    def _wait_for_turn(self, remaining: Callable[[], float]) -> None:
        ticket = object()
        self._queue.append(ticket)
        while True:
            wait = remaining() if self._queue[0] is ticket else None
            if wait is not None and wait <= 0:
                break
            self._changed.wait(wait)
        self._queue.popleft()
        self._changed.notify_all()

    def _until_closed(self) -> float:
        return 0.0 if self._window is None else self._window.deadline - self._clock()

    def _until_quiet(self) -> float:
        youngest = max(self._calls.values(), default=float("-inf"))
        return max(self._until_closed(), youngest + self._young - self._clock())

    def _close(self, window: Window) -> None:
        with self._changed:
            if self._window is window:
                self._window = None
                self._changed.notify_all()
