"""``prune``: what nobody needs any more, found first, and removed where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from ..coordinators.local import LocalCoordinator
from ..drivers.neonize.database import is_linked
from ..errors import SessionLocked, SessionNotFound, StorageError
from ..kept import forget
from ..models import SessionKey, SessionRecord, Status
from ..shelves.directory import DirectoryShelf
from ..stores.directory import INBOX, RECORD, TEMPORARY, DirectoryStore
from .output import Output
from .records import find, keys_of, store_at

DAY = 86400.0


@dataclass(frozen=True)
class Stale:
    """A session, or (where ``files`` are named) files of one, that can go."""

    key: SessionKey
    because: str
    files: tuple[Path, ...] = ()


class Prune:
    """Finds what can go: sessions not linked and files left over, untouched for ``days``, or the session ``named``."""

    def __init__(self, store: DirectoryStore, *, days: float, named: SessionKey | None) -> None:
        self.store = store
        self._before = time.time() - days * DAY
        self._named = named

    async def find(self) -> list[Stale]:
        keys = await run_sync(lambda: [self._named] if self._named else list(self.store.known()))
        return [stale for key in keys for stale in await self.look(key)]

    async def look(self, key: SessionKey) -> list[Stale]:
        """Return what can go of one session; nothing of one whose record cannot be read."""
        try:
            record = await self.store.get(key)
        except StorageError:
            return []
        return [] if record is None else await run_sync(lambda: list(self._stale(record)))

    async def remove(self, stale: Stale) -> bool:
        """Remove it, where it still is what it was; raises ``SessionLocked`` where a process runs the session."""
        async with LocalCoordinator(self.store.path).own(stale.key):
            if stale not in await self.look(stale.key):
                return False
            if not stale.files:
                async with DirectoryShelf(self.store.path) as shelf:
                    await forget(shelf, stale.key)
                await self.store.delete(stale.key)
            for file in stale.files:
                file.unlink(missing_ok=True)
        return True

    def _stale(self, record: SessionRecord) -> Iterator[Stale]:
        directory = self.store.path / record.key.directory
        linked = record.linked or _has_keys(record, self.store.path)
        if record.key == self._named:
            listed = f"; the phone {record.phone_number or ''} goes on listing it".replace("  ", " ")
            yield Stale(record.key, f"named{listed if linked else ''}")
        elif not linked and self._old(directory / RECORD):
            yield Stale(record.key, "logged out" if record.status is Status.LOGGED_OUT else "never linked")
        else:
            left = [file for file in (*directory.glob(TEMPORARY), *directory.glob("*.damaged")) if self._old(file)]
            if left:
                yield Stale(record.key, "left over", tuple(sorted(left)))
            received = [file for file in directory.glob(f"{INBOX}*") if file not in left]
            if received and not linked and all(map(self._old, received)):
                yield Stale(record.key, "inbox of no linked device", tuple(sorted(received)))

    def _old(self, path: Path) -> bool:
        return path.stat().st_mtime <= self._before


async def prune(
    path: Path, named: SessionKey | None, *, older_than: float, remove: bool, command: str, output: Output
) -> None:
    """Show what can go, and remove it where that is asked for."""
    store = store_at(path)
    if named is not None:
        await find(named, path)
    if store is None:
        raise SessionNotFound(f"there is no session path {path}")
    pruning = Prune(store, days=older_than, named=named)
    rows = []
    for stale in await pruning.find():
        outcome = "would go"
        if remove:
            outcome = await _remove(pruning, stale)
        elif (holder := await run_sync(LocalCoordinator(path).holder, stale.key)) is not None:
            outcome = f"kept: {holder} runs it"
        what = ", ".join(file.name for file in stale.files) or "session"
        rows.append((str(stale.key), what, stale.because, outcome))
        output.json(
            {
                "company_id": stale.key.company_id,
                "device": stale.key.device,
                "files": [str(file) for file in stale.files],
                "because": stale.because,
                "removed": outcome == "removed",
                "outcome": outcome,
            }
        )
    if not rows:
        output.line("there is nothing to remove")
        return
    output.table(("SESSION", "WHAT", "BECAUSE", "OUTCOME"), rows)
    if not remove:
        output.line(f"nothing was removed; to do it: {command} --yes")


async def _remove(pruning: Prune, stale: Stale) -> str:
    try:
        return "removed" if await pruning.remove(stale) else "kept: it has changed"
    except SessionLocked as error:
        return f"kept: {error.holder} runs it"


def _has_keys(record: SessionRecord, path: Path) -> bool:
    """Say whether there are a device's keys, whatever the record says; those that cannot be read count too."""
    try:
        return is_linked(keys_of(record, path))
    except StorageError:
        return True
