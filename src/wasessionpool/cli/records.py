"""What a session path says of its sessions, read without claiming anything."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

from ..coordinators.local import LocalCoordinator
from ..errors import SessionNotFound, StorageError
from ..models import MAIN_DEVICE, DisconnectReason, SessionKey, SessionRecord, SessionStatus, Status
from ..settings import PoolSettings
from ..stores.directory import KEYS, DirectoryStore

AT_REST = frozenset({Status.LOGGED_OUT, Status.FAILED})
"""What remains true of a session that nobody runs; any other status ended with its pool."""


def as_saved(record: SessionRecord, holder: str | None, now: datetime) -> SessionStatus:
    """Return a record as a status; a session that nobody runs was left by its pool, whatever was saved last."""
    status, reason = record.status, record.disconnect_reason
    if record.restricted_until is not None and record.restricted_until > now:
        status, reason = Status.RESTRICTED, DisconnectReason.TEMPORARILY_BANNED
    elif holder is None and status not in AT_REST:
        status = Status.DISCONNECTED
        reason = DisconnectReason.SHUTDOWN if record.desired == "running" else reason
    reach_out = record.restriction(now)
    return SessionStatus(
        company_id=record.company_id,
        device=record.device,
        status=status,
        disconnect_reason=reason,
        phone_number=record.phone_number,
        connected_at=record.connected_at,
        restriction="reach_out" if reach_out else None,
        restricted_until=record.restricted_until or (reach_out.until if reach_out else None),
    )


async def find(key: SessionKey, path: Path) -> SessionRecord:
    """Return what is remembered of a session; raises ``SessionNotFound``, and ``StorageError`` for damaged files."""
    store = store_at(path)
    record = await store.get(key) if store else None
    if record is None:
        where = f"the session path {path}" + ("" if store else ", which does not exist")
        raise SessionNotFound(f"there is no session {key} in {where}; to create it: {pair_command(key, path)}")
    return record


async def records_at(path: Path) -> list[SessionRecord] | None:
    """Return every readable record, or ``None`` where there is no session path; raises ``StorageError``."""
    store = store_at(path)
    return None if store is None else [record async for record in store.records()]


def store_at(path: Path) -> DirectoryStore | None:
    """Return the store to read from, or ``None`` where there is none; raises ``StorageError``."""
    if not path.exists():
        return None
    if not path.is_dir():
        raise StorageError(f"the session path {path} is not a directory")
    return DirectoryStore(path)


def holder_of(record: SessionRecord, path: Path) -> str | None:
    return LocalCoordinator(path).holder(record.key)


def keys_of(record: SessionRecord, path: Path) -> Path:
    return path / record.key.directory / KEYS / "device.db"


def label(record: SessionRecord, holder: str | None) -> str:
    """Say how a session stands, as far as one can know without asking the pool that runs it."""
    if holder is not None:
        return f"{record.status}, held by {holder}"
    if record.status in AT_REST:
        return f"stopped ({record.status}{f': {record.disconnect_reason}' if record.disconnect_reason else ''})"
    return (
        "stopped (its session.json was damaged)" if record.disconnect_reason is DisconnectReason.STORAGE else "stopped"
    )


def describe(record: SessionRecord, holder: str | None) -> dict[str, Any]:
    """Return the record for programs; a session that nobody holds is ``disconnected``, whatever was saved last."""
    status = record.status if holder is not None or record.status in AT_REST else Status.DISCONNECTED
    return {**record.model_dump(mode="json", exclude={"proxy"}), "status": status.value, "holder": holder}


def pair_command(key: SessionKey, path: Path) -> str:
    """Return the command that links a session."""
    return command_of("pair", key, path)


def command_of(name: str, key: SessionKey | None, path: Path) -> str:
    """Return a command line for a session of this path."""
    elsewhere = path != PoolSettings.from_env().session_path.absolute()
    return command_line(name, key, *(["--session-path", str(path)] if elsewhere else []))


def command_line(name: str, key: SessionKey | None, *options: str) -> str:
    """Return a command line, to be typed into a shell."""
    words = ["wasessionpool", name, *([key.company_id] if key else [])]
    if key is not None and key.device != MAIN_DEVICE:
        words += ["--device", key.device]
    return shlex.join([*words, *options])
