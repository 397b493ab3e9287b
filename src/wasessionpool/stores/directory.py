"""Sessions remembered in a directory tree, one directory a company."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio.to_thread import run_sync
from pydantic import ValidationError

from ..errors import InvalidCompanyId, StorageError
from ..files import private_directory, write_private
from ..models import DeviceLocation, Frozen, SessionKey, SessionRecord

logger = logging.getLogger(__name__)

RECORD = "session.json"
KEYS = "auth_info"
INBOX = "inbox"
OWN = (KEYS, RECORD, INBOX, f"{INBOX}-wal", f"{INBOX}-shm", f"{INBOX}.damaged", "debug.log")


class _Page(Frozen):
    """What ``session.json`` holds."""

    fence: int
    record: SessionRecord


class DirectoryStore:
    """The default ``SessionStore``: ``<path>/<company>/session.json`` beside the keys in ``auth_info/device.db``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()

    async def __aenter__(self) -> Self:
        await run_sync(self._prepare)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    async def get(self, key: SessionKey) -> SessionRecord | None:
        page = await run_sync(self._read, key)
        return page.record if page else None

    async def put(self, record: SessionRecord, fence: int) -> None:
        await run_sync(self._write, record, fence)

    async def delete(self, key: SessionKey) -> None:
        await run_sync(self._delete, key)

    async def records(self) -> AsyncIterator[SessionRecord]:
        for key in await run_sync(lambda: list(self._keys())):
            try:
                record = await self.get(key)
            except StorageError as error:
                logger.error("session %s is left out: %s", key, error)
                continue
            if record is not None:
                yield record

    @asynccontextmanager
    async def device(self, key: SessionKey) -> AsyncIterator[DeviceLocation]:
        keys = await run_sync(private_directory, self._directory(key) / KEYS)
        yield DeviceLocation(keys / "device.db", keys.parent / INBOX)

    def _directory(self, key: SessionKey) -> Path:
        return self.path / key.directory

    def _prepare(self) -> None:
        private_directory(self.path)
        mode = self.path.stat().st_mode & 0o777
        if mode & 0o007:
            raise StorageError(f"{self.path} is open to every user ({mode:03o}); mend it with: chmod 700 {self.path}")
        if mode & 0o070:
            logger.warning("%s is open to its group (%03o); better: chmod 700 %s", self.path, mode, self.path)
        private_directory(self.path / ".pool")

    def _keys(self) -> Iterator[SessionKey]:
        for directory in sorted(self.path.iterdir()):
            try:
                if (directory / RECORD).is_file():
                    yield SessionKey(directory.name)
                devices = directory / "devices"
                for device in sorted(devices.iterdir()) if devices.is_dir() else ():
                    if (device / RECORD).is_file():
                        yield SessionKey(directory.name, device.name)
            except InvalidCompanyId:
                logger.warning("%s is not a session's directory; it is left alone", directory)

    def _read(self, key: SessionKey) -> _Page | None:
        path = self._directory(key) / RECORD
        try:
            page = _Page.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        except ValidationError as error:
            raise StorageError(f"{path} is damaged ({error.error_count()} errors); its keys were not touched") from None
        if page.record.key != key:
            raise StorageError(f"{path} belongs to session {page.record.key}; it was moved here by hand")
        return page

    def _write(self, record: SessionRecord, fence: int) -> None:
        page = self._read(record.key)
        if page is not None and page.fence > fence:
            raise StorageError(f"session {record.key} has a newer owner (fence {page.fence}, ours is {fence})")
        directory = private_directory(self._directory(record.key))
        content = _Page(fence=fence, record=record).model_dump_json(indent=2)
        write_private(directory / RECORD, content.encode() + b"\n")

    def _delete(self, key: SessionKey) -> None:
        directory = self._directory(key)
        try:
            for path in (directory / name for name in OWN):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot delete {error.filename}: {error.strerror}") from error
