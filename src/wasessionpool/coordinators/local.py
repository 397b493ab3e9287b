"""Ownership on one host, by a file lock that the operating system drops with the process."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync
from filelock import FileLock, Timeout

from ..abc import Ownership
from ..errors import SessionLocked, StorageError
from ..files import private_directory
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
        lock, fence = await run_sync(self._acquire, key)
        try:
            yield Ownership(fence)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(self._release, key, lock)

    def holder(self, key: SessionKey) -> str | None:
        """Return who holds the session, or ``None`` where nobody does; raises ``StorageError``."""
        path = self._file(key)
        try:
            return _describe(_read(path)) if _is_owned(path) else None
        except OSError as error:
            raise StorageError(f"cannot ask who holds {path}: {error.strerror}") from error

    def _file(self, key: SessionKey) -> Path:
        return self.path / key.directory / LOCK

    def _acquire(self, key: SessionKey) -> tuple[FileLock, int]:
        path = self._file(key)
        private_directory(path.parent)
        lock, until = FileLock(path, timeout=0, thread_local=False, mode=0o600), time.monotonic() + PATIENCE
        try:
            while not _try(lock):
                if _is_owned(path) or time.monotonic() >= until:
                    holder = _describe(_read(path))
                    raise SessionLocked(f"session {key} is run by {holder}", holder=holder)
                time.sleep(AGAIN)
            fence = int(_read(path).get("fence", 0)) + 1
            path.write_text(json.dumps({"pid": os.getpid(), "host": platform.node(), "fence": fence}))
        except OSError as error:
            lock.release()
            raise StorageError(f"cannot lock {path}: {error.strerror}") from error
        return lock, fence

    def _release(self, key: SessionKey, lock: FileLock) -> None:
        path = self._file(key)
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


def _try(lock: FileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
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
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', 'this host')}"
