"""Ownership on one host, by a file lock that the operating system drops with the process."""

from __future__ import annotations

import json
import logging
import os
import platform
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
PATIENCE = 0.2
"""Seconds to try for a lock: who asks for its holder has it for a moment."""


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
        """Return who holds the session, or ``None`` where nobody does; raises ``StorageError``.

        There is no way to ask for a lock but to take it, for a moment, which ``own`` sits out.
        """
        path = self._file(key)
        if not path.exists():
            return None
        lock = FileLock(path, timeout=0, thread_local=False, mode=0o600)
        try:
            with lock:
                return None
        except Timeout:
            return _describe(_read(path))
        except OSError as error:
            raise StorageError(f"cannot ask who holds {path}: {error.strerror}") from error

    def _file(self, key: SessionKey) -> Path:
        return self.path / key.directory / LOCK

    def _acquire(self, key: SessionKey) -> tuple[FileLock, int]:
        path = self._file(key)
        private_directory(path.parent)
        lock = FileLock(path, timeout=PATIENCE, thread_local=False, mode=0o600)
        try:
            lock.acquire(poll_interval=PATIENCE / 10)
            fence = int(_read(path).get("fence", 0)) + 1
            path.write_text(json.dumps({"pid": os.getpid(), "host": platform.node(), "fence": fence}))
        except Timeout:
            holder = _describe(_read(path))
            raise SessionLocked(f"session {key} is run by {holder}", holder=holder) from None
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


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', 'this host')}"
