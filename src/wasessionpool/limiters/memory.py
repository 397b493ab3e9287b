"""The windows that ``limits`` counts in memory, each under a name, swept without a thread of its own."""

from __future__ import annotations

import time
from threading import Timer

from limits.storage import MemoryStorage
from limits.storage.memory import Entry

CLEAR_OF_THE_EDGE = 0.001
"""Seconds; ``limits`` still counts what is exactly one window old."""

SWEEP_EVERY = 1000
"""Places after which windows that have run empty are forgotten: ``limits`` would keep their names for ever."""


class _NoTimer(Timer):
    """Stands for the thread that ``limits`` would start for every message, to sweep all windows: we do it ourselves."""

    def is_alive(self) -> bool:
        return True


class Windows(MemoryStorage):
    """The windows of ``limits``, in which a place can be given back, and without its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.timer.cancel()
        self.timer.join()
        self.timer = _NoTimer(0, self.sweep)
        self._until_sweep = SWEEP_EVERY

    def take(self, name: str, limit: int, window: int) -> Entry | None:
        """Take a place among ``limit`` in any ``window`` seconds; ``None`` where there is none."""
        self._count()
        self._forget_old(self.events.get(name, []))
        return self.events[name][0] if self.acquire_entry(name, limit, window) else None

    def note(self, name: str, window: int) -> Entry:
        """Take a place, whether there is one or not."""
        self._count()
        entry = Entry(window)
        entries = self.events.setdefault(name, [])
        self._forget_old(entries)
        entries.insert(0, entry)
        return entry

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count in a fixed window, for a strategy of ``limits``."""
        self._count()
        return super().incr(key, expiry, amount)

    def give_back(self, taken: list[tuple[str, Entry]]) -> None:
        for name, entry in taken:
            self.events[name] = [each for each in self.events.get(name, []) if each is not entry]

    def wait(self, name: str, limit: int, window: int) -> float:
        """Return the seconds until one more fits, 0 where it does now."""
        now, entries = time.time(), self.events.get(name, [])
        for entry in entries:
            # The computer's clock was set back: nobody has to wait for longer than a window.
            entry.atime = min(entry.atime, now)
        wait = entries[limit - 1].atime + window - now if len(entries) >= limit else -1.0
        return wait + CLEAR_OF_THE_EDGE if wait >= 0 else 0.0

    def sweep(self) -> None:
        """Forget the windows that have run empty."""
        for name, entries in list(self.events.items()):
            self._forget_old(entries)
            if not entries:
                self.clear(name)
        now = time.time()
        for name, expires in list(self.expirations.items()):
            if expires <= now:
                self.clear(name)

    def _count(self) -> None:
        self._until_sweep -= 1
        if not self._until_sweep:
            self._until_sweep = SWEEP_EVERY
            self.sweep()

    def _forget_old(self, entries: list[Entry]) -> None:
        now = time.time()
        while entries and entries[-1].expiry < now:
            entries.pop()
