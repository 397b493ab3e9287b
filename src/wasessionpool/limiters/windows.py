"""Sliding windows in memory, by the ``limits`` library: one a company, one a company and recipient."""

from __future__ import annotations

from collections.abc import Mapping

from limits.storage.memory import Entry

from ..errors import RateLimitExceeded
from ..models import SessionKey
from .budgets import Budgets
from .memory import Windows


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
        self._windows = Windows()

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
        return WindowReservation(self._windows, taken)

    def note(self, company_id: str, recipient: str) -> WindowReservation:
        """Count a message that something else let through, whatever the limit."""
        taken = [(name, self._windows.note(name, int(self.budgets.window))) for name in names_of(company_id, recipient)]
        return WindowReservation(self._windows, taken)


class WindowReservation:
    """A place in both windows."""

    def __init__(self, windows: Windows, taken: list[tuple[str, Entry]]) -> None:
        self._windows = windows
        self._taken = taken

    async def commit(self) -> None:
        self._taken = []

    async def release(self) -> None:
        taken, self._taken = self._taken, []
        self._windows.give_back(taken)


def names_of(company_id: str, recipient: str) -> tuple[str, str]:
    """Name the windows of a company and of its recipient; no company's id has a slash in it."""
    return company_id, f"{company_id}/{recipient}"


def exceeded(company_id: str, wait: float) -> RateLimitExceeded:
    """Say when a company may send again."""
    return RateLimitExceeded(f"company {company_id} may send again in {wait:.1f} s", retry_after=wait)
