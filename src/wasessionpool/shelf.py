"""The pool's shelf, as the core sees it: whatever is behind it, an answer is waited for so long and no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from .abc import Clock, Shelf
from .errors import StorageError

PATIENCE = 10.0
"""Seconds; a shelf that is well answers within milliseconds."""

T = TypeVar("T")


class PatientShelf:
    """A ``Shelf`` that raises ``StorageError`` where the one behind it does not answer in time."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock

    async def get(self, key: str) -> bytes | None:
        return await self._within(self._shelf.get(key))

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        return await self._within(self._shelf.put(key, value, if_absent=if_absent, ttl=ttl))

    async def delete(self, key: str) -> bool:
        return await self._within(self._shelf.delete(key))

    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        entries = aiter(self._shelf.scan(prefix))
        while (entry := await self._within(anext(entries, None))) is not None:
            yield entry

    async def _within(self, answer: Awaitable[T]) -> T:
        with self._clock.move_on_after(PATIENCE):
            return await answer
        raise StorageError(f"the shelf did not answer within {PATIENCE:g} s")
