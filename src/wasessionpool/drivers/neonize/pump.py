"""The thread that does what Go's callbacks only note down."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

ROOM = 10_000
"""Pieces of work that may wait; a callback that has one more waits itself."""

PAUSE = 0.05


class Pump:
    """Does urgent work first, in order; then, of each source in turn, a little of what it has in store.

    What may wait a moment is collected meanwhile, so that it wakes nobody each time: to wake a thread costs more than
    its work. ``fault`` hears of work that failed.
    """

    def __init__(self, fault: Callable[[Exception], None]) -> None:
        self._fault = fault
        self._changed = threading.Condition()
        self._urgent: deque[Callable[[], None]] = deque()
        self._sources: dict[Callable[[], bool], None] = {}
        self._later: dict[Callable[[], bool], float] = {}
        self._due = math.inf
        threading.Thread(target=self._run, name="pump", daemon=True).start()

    def put(self, work: Callable[[], None]) -> None:
        """Do ``work`` soon."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._urgent) < ROOM)
            self._urgent.append(work)
            self._changed.notify_all()

    def draw(self, source: Callable[[], bool]) -> None:
        """Call ``source`` until it says that it has no more; a source that is drawn from already stays in its turn."""
        with self._changed:
            if source not in self._sources:
                self._sources[source] = None
                self._changed.notify_all()

    def draw_later(self, source: Callable[[], bool], delay: float = PAUSE) -> None:
        """Draw from ``source`` within ``delay`` seconds, at most ``PAUSE`` earlier."""
        with self._changed:
            due = self._later[source] = min(time.monotonic() + delay, self._later.get(source, math.inf))
            if due < self._due:
                self._due = due
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._wait_is_over():
                    self._changed.wait(None if self._due == math.inf else self._due - time.monotonic())
                if self._urgent:
                    work = self._urgent.popleft()
                    self._changed.notify_all()
                else:
                    source = next(iter(self._sources))
                    del self._sources[source]
                    work = self._drawing(source)
            try:
                work()
            except Exception as error:  # noqa: BLE001 - one session's fault must not silence the others
                self._fault(error)

    def _wait_is_over(self) -> bool:
        """Let in what has waited its moment, and say whether there is anything to do."""
        if (now := time.monotonic()) >= self._due:
            # However much the others have in store: it takes its turn among them.
            self._sources.update((source, None) for source, due in self._later.items() if due <= now + PAUSE)
            self._later = {source: due for source, due in self._later.items() if due > now + PAUSE}
            self._due = min(self._later.values(), default=math.inf)
        return bool(self._urgent or self._sources)

    def _drawing(self, source: Callable[[], bool]) -> Callable[[], None]:
        def work() -> None:
            if source():
                self.draw(source)

        return work
