"""Ownership on one host, by a file lock that the operating system drops with the process."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from filelock import FileLock, Timeout

from ..abc import Ownership
from ..disk import on_disk
from ..errors import SessionLocked, StorageError
from ..files import RECORD, private_directory
from ..models import SessionKey

logger = logging.getLogger(__name__)

LOCK = "session.lock"
PATIENCE = 5.0
"""Seconds to try for a lock that no owner has: who asks for its holder shares it, for a moment or a busy machine's."""
AGAIN = 0.01
"""Seconds between these tries."""


class LocalCoordinator:
    """Owns a session by locking ``<path>/<company>/session.lock``, which says who holds it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()

    @asynccontextmanager
    async def own(self, key: SessionKey) -> AsyncIterator[Ownership]:
        path = self._file(key)
        lock = FileLock(path, timeout=0, thread_local=False, mode=0o600)
        try:
            yield Ownership(await on_disk(path.parent, partial(self._acquire, key, lock)))
        finally:
            # Kept, since a lock that comes after its caller has left would be nobody's.
            with anyio.CancelScope(shield=True), suppress(StorageError):
                await on_disk(path.parent, partial(self._release, path, lock), keep=True)

    def holder(self, key: SessionKey) -> str | None:
        """Return who holds the session, or ``None`` where nobody does; raises ``StorageError``."""
        path = self._file(key)
        try:
            return _describe(_read(path)) if _is_owned(path) else None
        except OSError as error:
            raise StorageError(f"cannot ask who holds {path}: {error.strerror}") from error

    def _file(self, key: SessionKey) -> Path:
        return self.path / key.directory / LOCK

    def _acquire(self, key: SessionKey, lock: FileLock) -> int:
        path, until = self._file(key), time.monotonic() + PATIENCE
        try:
            while not _try(lock, path, until):
                if _is_owned(path) or time.monotonic() >= until:
                    holder = _describe(_read(path))
                    raise SessionLocked(f"session {key} is run by {holder}", holder=holder)
                time.sleep(AGAIN)
            fence = max(_fence(path), _fence(path.with_name(RECORD))) + 1
            _overwrite(path, json.dumps({"pid": os.getpid(), "host": platform.node(), "fence": fence}).encode())
        except OSError as error:
            raise StorageError(f"cannot lock {path}: {error.strerror}") from error
        return fence

    def _release(self, path: Path, lock: FileLock) -> None:
        if not lock.is_locked:
            return
        try:
            if {entry.name for entry in path.parent.iterdir()} <= {LOCK, "devices"}:
                path.unlink()
                for directory in [path.parent, *path.parent.parents]:
                    if directory == self.path:
                        break
                    directory.rmdir()
        except OSError as error:
            logger.debug("%s stays: %s", path, error.strerror)
        finally:
            lock.release()


def _try(lock: FileLock, path: Path, until: float) -> bool:
    """Return whether the lock was taken; an owner that leaves removes empty directories, between any two steps of ours.

    Raises ``StorageError`` and ``OSError``.
    """
    try:
        private_directory(path.parent)
        lock.acquire()
    except Timeout:
        return False
    except (StorageError, FileNotFoundError) as error:
        if time.monotonic() < until and isinstance(error.__cause__ or error, FileNotFoundError):
            return False
        raise
    return True


def _is_owned(path: Path) -> bool:
    """Ask for an exclusive lock by sharing it: there is no way to ask but to take it, and so those who ask may be many.

    Raises ``OSError``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _fence(path: Path) -> int:
    """Return the fence that a lock or a record says it has; 0 where it says none."""
    try:
        return int(_read(path).get("fence", 0))
    except (ValueError, TypeError, OverflowError):
        return 0


def _overwrite(path: Path, content: bytes) -> None:
    """Write where the file lies, since the lock is on it; spaces, not a truncation, hide the rest of what was there.

    Raises ``OSError``.
    """
    with path.open("r+b") as file:
        file.write(content.ljust(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())


def _describe(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', 'this host')}"
