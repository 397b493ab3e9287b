"""Sessions remembered in memory, for tests and throw-away pools; the devices' keys lie in a temporary directory."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import StorageError
from ..files import private_directory
from ..models import DeviceLocation, SessionKey, SessionRecord


class MemoryStore:
    """A ``SessionStore`` that is empty at its start and leaves nothing behind."""

    def __init__(self) -> None:
        self._records: dict[SessionKey, tuple[int, SessionRecord]] = {}
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    async def __aenter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="wasessionpool-")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    async def get(self, key: SessionKey) -> SessionRecord | None:
        return self._records[key][1] if key in self._records else None

    async def put(self, record: SessionRecord, fence: int) -> None:
        last = self._records.get(record.key)
        if last is not None and last[0] > fence:
            raise StorageError(f"session {record.key} has a newer owner (fence {last[0]}, ours is {fence})")
        self._records[record.key] = fence, record

    async def delete(self, key: SessionKey) -> None:
        self._records.pop(key, None)
        if self._temporary is not None:
            _empty(Path(self._temporary.name) / key.directory)

    async def records(self) -> AsyncIterator[SessionRecord]:
        for _, record in list(self._records.values()):
            yield record

    @asynccontextmanager
    async def device(self, key: SessionKey) -> AsyncIterator[DeviceLocation]:
        if self._temporary is None:
            raise StorageError("the store is not open: enter it with `async with` first")
        directory = private_directory(Path(self._temporary.name) / key.directory)
        yield DeviceLocation(directory / "device.db", directory / "inbox")


def _empty(directory: Path) -> None:
    """Remove the files; the directories in it belong to other devices."""
    for path in directory.glob("*"):
        if path.is_file():
            path.unlink()
