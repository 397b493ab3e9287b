"""Sliding windows in memory, by the ``limits`` library: one a company, one a company and recipient."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Timer

from limits.storage import MemoryStorage
from limits.storage.memory import Entry

from ..errors import RateLimitExceeded
from ..models import SessionKey
from .budgets import Budgets

CLEAR_OF_THE_EDGE = 0.001
"""Seconds; ``limits`` still counts a message that is exactly one window old."""

SWEEP_EVERY = 1000
"""Messages after which windows that have run empty are forgotten: ``limits`` would keep their names for ever."""


class WindowLimiter:
    """At most ``limit`` messages a company, and ``recipient_limit`` a company and recipient, in any ``window`` seconds.

    ``window`` is whole seconds, the resolution of ``limits``; ``overrides`` gives companies another limit. A message
    counts from when its place was acquired, so that ``retry_after`` holds whatever becomes of those under way.
    """

    def __init__(
        self,
        *,
        limit: int = 30,
        recipient_limit: int = 30,
        window: float = 60.0,
        overrides: Mapping[str, int] | None = None,
    ) -> None:
        self.budgets = Budgets(limit, recipient_limit, window, overrides or {})
        self._windows = _Windows()
        self._until_sweep = SWEEP_EVERY

    async def acquire(self, key: SessionKey, recipient: str) -> WindowReservation:
        window = int(self.budgets.window)
        names, limits = names_of(key.company_id, recipient), self.budgets.of(key.company_id)
        taken: list[tuple[str, Entry]] = []
        for name, limit in zip(names, limits, strict=True):
            entry = self._windows.take(name, limit, window)
            if entry is None:
                self._windows.give_back(taken)
                wait = max(self._windows.wait(*each, window) for each in zip(names, limits, strict=True))
                raise exceeded(key.company_id, wait)
            taken.append((name, entry))
        self._sweep()
        return WindowReservation(self._windows, taken)

    def note(self, company_id: str, recipient: str) -> WindowReservation:
        """Count a message that something else let through, whatever the limit."""
        self._sweep()
        taken = [(name, self._windows.note(name, int(self.budgets.window))) for name in names_of(company_id, recipient)]
        return WindowReservation(self._windows, taken)

    def _sweep(self) -> None:
        self._until_sweep -= 1
        if not self._until_sweep:
            self._until_sweep = SWEEP_EVERY
            self._windows.sweep()


class WindowReservation:
    """A place in both windows."""

    def __init__(self, windows: _Windows, taken: list[tuple[str, Entry]]) -> None:
        self._windows = windows
        self._taken = taken

    async def commit(self) -> None:
        self._taken = []

    async def release(self) -> None:
        taken, self._taken = self._taken, []
        self._windows.give_back(taken)


class _NoTimer(Timer):
    """Stands for the thread that ``limits`` would start for every message, to sweep all windows: we do it ourselves."""

    def is_alive(self) -> bool:
        return True


class _Windows(MemoryStorage):
    """The windows of ``limits``, in which a place can be given back, and without its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.timer.cancel()
        self.timer.join()
        self.timer = _NoTimer(0, self.sweep)

    def take(self, name: str, limit: int, window: int) -> Entry | None:
        self._forget_old(self.events.get(name, []))
        return self.events[name][0] if self.acquire_entry(name, limit, window) else None

    def note(self, name: str, window: int) -> Entry:
        entry = Entry(window)
        entries = self.events.setdefault(name, [])
        self._forget_old(entries)
        entries.insert(0, entry)
        return entry

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
        for name, entries in list(self.events.items()):
            self._forget_old(entries)
            if not entries:
                self.clear(name)

    def _forget_old(self, entries: list[Entry]) -> None:
        now = time.time()
        while entries and entries[-1].expiry < now:
            entries.pop()


def names_of(company_id: str, recipient: str) -> tuple[str, str]:
    """Name the windows of a company and of its recipient; no company's id has a slash in it."""
    return company_id, f"{company_id}/{recipient}"


def exceeded(company_id: str, wait: float) -> RateLimitExceeded:
    """Say when a company may send again."""
    return RateLimitExceeded(f"company {company_id} may send again in {wait:.1f} s", retry_after=wait)
