"""Sessions remembered in a directory tree, one directory a company."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from ..disk import on_disk
from ..errors import InvalidCompanyId, StorageError
from ..files import RECORD as RECORD
from ..files import private_directory, write_private
from ..models import DeviceLocation, DisconnectReason, Frozen, SessionKey, SessionRecord

logger = logging.getLogger(__name__)

KEYS = "auth_info"
INBOX = "inbox"
LOG = "debug.log"
DAMAGED = f"{RECORD}.damaged"
TEMPORARY = f".{RECORD}.*"
"""What a write that was interrupted leaves behind."""
OWN = (KEYS, DAMAGED, TEMPORARY, f"{INBOX}*", f"{LOG}*", RECORD)
"""What belongs to one session in its directory, in the order of deletion: one that is cut off is found again by its
record. Further devices do not."""
NEWEST = 1
"""The version of a record that this library writes."""
LOST = "what it said is lost (metadata, proxy), its keys were not touched: start it again with create_session"


class _Page(Frozen):
    """What ``session.json`` holds."""

    fence: int
    record: SessionRecord


class _Damaged(Exception):
    """``session.json`` is not what a pool writes, whatever version it has."""


class DirectoryStore:
    """The default ``SessionStore``: ``<path>/<company>/session.json`` beside the keys in ``auth_info/device.db``.

    A damaged ``session.json`` costs what it said, never the keys: the session is known as ``stopped``, and linked where
    there are keys; it is not started by itself, since its proxy is forgotten too. The owner's next write puts the
    damaged file aside as ``session.json.damaged``. To read changes nothing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()

    async def __aenter__(self) -> Self:
        await on_disk(self.path, self._prepare)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    async def get(self, key: SessionKey) -> SessionRecord | None:
        return await on_disk(self._directory(key), partial(self._load, key))

    async def put(self, record: SessionRecord, fence: int) -> None:
        await on_disk(self._directory(record.key), partial(self._write, record, fence))

    async def delete(self, key: SessionKey) -> None:
        directory = self._directory(key)
        await on_disk(directory, partial(_remove, directory, OWN))

    async def records(self) -> AsyncIterator[SessionRecord]:
        found = []
        for key in await on_disk(self.path, lambda: list(self.known())):
            try:
                record = await self.get(key)
            except (StorageError, InvalidCompanyId) as error:
                logger.error("session %s is left out: %s", key, error)
                continue
            if record is not None:
                found.append(record)
        for record in found:
            if (namesake := _namesake(record, found)) is not None:
                logger.error("session %s is left out: it differs only in case from %s", record.key, namesake)
            else:
                yield record

    @asynccontextmanager
    async def device(self, key: SessionKey) -> AsyncIterator[DeviceLocation]:
        directory = self._directory(key)
        await on_disk(directory, partial(_make_room, directory))
        yield DeviceLocation(directory / KEYS / "device.db", directory / INBOX, directory / LOG)

    def known(self) -> Iterator[SessionKey]:
        """Return every session that has a record, in order, readable or not; blocks for as long as the disk does."""
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
            except OSError as error:
                logger.error("%s is left out: %s", directory, error.strerror)

    def fault(self, key: SessionKey) -> str | None:
        """Say what is wrong with the session's record, and what to do; blocks for as long as the disk does."""
        try:
            self._read(key)
        except _Damaged:
            return f"{self._directory(key) / RECORD} is damaged; {LOST}"
        except (StorageError, InvalidCompanyId) as error:
            return error.message
        return None

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

    def _load(self, key: SessionKey) -> SessionRecord | None:
        try:
            page = self._read(key)
        except _Damaged:
            path = self._directory(key) / RECORD
            logger.warning("session %s: %s is damaged; %s", key, path, LOST)
            return self._recover(key, path)
        return page.record if page else None

    def _read(self, key: SessionKey) -> _Page | None:
        path = self._directory(key) / RECORD
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self._refuse_namesake(key)
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        try:
            page = _Page.model_validate_json(content)
        except ValidationError:
            if _version(content) > NEWEST:
                raise StorageError(f"{path} was written by a newer version of this library: upgrade it") from None
            raise _Damaged from None
        if page.record.key != key:
            raise StorageError(f"{path} belongs to session {page.record.key}; it was moved here by hand")
        return page

    def _recover(self, key: SessionKey, path: Path) -> SessionRecord:
        try:
            written = path.stat().st_mtime
            database = path.parent / KEYS / "device.db"
            linked = database.is_file() and database.stat().st_size > 0
        except OSError as error:
            raise StorageError(f"cannot read {path.parent}: {error.strerror}") from error
        return SessionRecord(
            company_id=key.company_id,
            device=key.device,
            desired="stopped",
            disconnect_reason=DisconnectReason.STORAGE,
            linked=linked,
            created_at=datetime.fromtimestamp(written, UTC),
        )

    def _refuse_namesake(self, key: SessionKey) -> None:
        directory = self._directory(key)
        for place in (directory,) if directory.parent == self.path else (self.path / key.company_id, directory):
            for other in place.parent.iterdir() if place.parent.is_dir() else ():
                if other.name != place.name and other.name.casefold() == place.name.casefold():
                    raise InvalidCompanyId(f"{key} differs only in case from what is in {other}")

    def _write(self, record: SessionRecord, fence: int) -> None:
        path = self._directory(record.key) / RECORD
        try:
            page = self._read(record.key)
        except _Damaged:
            page = None
            aside = path.with_name(DAMAGED)
            write_private(aside, path.read_bytes())
            logger.error("session %s: its damaged record was put aside as %s", record.key, aside)
        if page is not None and page.fence > fence:
            raise StorageError(f"session {record.key} has a newer owner (fence {page.fence}, ours is {fence})")
        private_directory(path.parent)
        content = _Page(fence=fence, record=record).model_dump_json(indent=2)
        write_private(path, content.encode() + b"\n")


def _make_room(directory: Path) -> None:
    private_directory(directory / KEYS)
    _remove(directory, [TEMPORARY])


def _remove(directory: Path, patterns: Iterable[str]) -> None:
    try:
        for path in [path for pattern in patterns for path in directory.glob(pattern)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot delete {error.filename}: {error.strerror}") from error


def _version(content: bytes) -> int:
    """Return the version that a record says it has; 0 where it says none."""
    try:
        version = json.loads(content)["record"]["version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return 0
    return version if isinstance(version, int) else 0


def _namesake(record: SessionRecord, others: Iterable[SessionRecord]) -> SessionKey | None:
    """Return a session that goes before this one, and whose ids differ from its own only in case."""

    def rank(one: SessionRecord) -> tuple[bool, datetime, SessionKey]:
        return not one.linked, one.created_at, one.key

    for other in others:
        company, device = (
            mine != its and mine.casefold() == its.casefold()
            for mine, its in ((record.company_id, other.company_id), (record.device, other.device))
        )
        if (company or (device and record.company_id == other.company_id)) and rank(other) < rank(record):
            return other.key
    return None
