"""Backends as the core sees them: whatever is behind a seam, an answer is waited for so long and no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from .abc import Clock, SessionStore, Shelf
from .errors import StorageError
from .models import DeviceLocation, SessionKey, SessionRecord

PATIENCE = 60.0
"""Seconds; longer than the backends' own, whose errors say more."""
SHELF_PATIENCE = 10.0
"""Seconds; a send may wait for the shelf, which answers within milliseconds where it is well."""

T = TypeVar("T")


class PatientStore:
    """A ``SessionStore`` that raises ``StorageError`` where the one behind it does not answer in time."""

    def __init__(self, store: SessionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, key: SessionKey) -> SessionRecord | None:
        return await self._within(self._store.get(key))

    async def put(self, record: SessionRecord, fence: int) -> None:
        await self._within(self._store.put(record, fence))

    async def delete(self, key: SessionKey) -> None:
        await self._within(self._store.delete(key))

    def records(self) -> AsyncIterator[SessionRecord]:
        # How long that takes depends on how many there are; who opens a pool waits for it.
        return self._store.records()

    def device(self, key: SessionKey) -> AbstractAsyncContextManager[DeviceLocation]:
        # It may hold tasks of its own, around which no scope of ours could end.
        return self._store.device(key)

    async def _within(self, answer: Awaitable[T]) -> T:
        return await _within(self._clock, PATIENCE, "store", answer)


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
        return await _within(self._clock, SHELF_PATIENCE, "shelf", answer)


async def _within(clock: Clock, patience: float, what: str, answer: Awaitable[T]) -> T:
    with clock.move_on_after(patience):
        return await answer
    raise StorageError(f"the {what} did not answer within {patience:g} s")
