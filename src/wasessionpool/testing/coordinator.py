"""Ownership within one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..abc import Ownership
from ..errors import SessionLocked
from ..models import SessionKey


class FakeCoordinator:
    """A ``Coordinator`` for pools of one event loop that share it; ``owned`` can be told that it is lost."""

    def __init__(self) -> None:
        self.owned: dict[SessionKey, Ownership] = {}
        self._fences: Counter[SessionKey] = Counter()

    @asynccontextmanager
    async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
        """Own the session; raises ``SessionLocked`` where it is owned already."""
        if key in self.owned:
            raise SessionLocked(f"session {key} is run by another pool", holder="another pool")
        self._fences[key] += 1
        ownership = self.owned[key] = Ownership(self._fences[key])
        try:
            yield ownership
        finally:
            del self.owned[key]
