"""What is wrong with an SQLite file, found without changing it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

BUSY = 8.0
"""Seconds to wait for another process's commit, which takes milliseconds."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def fault_of(path: Path) -> str | None:
    """Say what is wrong with a file, where there is one; blocks as long as the disk does.

    Never for a file that a library other than Python's SQLite has open in this process.
    """
    if not path.exists():
        return None
    uri = f"{path.absolute().as_uri()}?mode=ro"
    if not path.with_name(f"{path.name}-wal").exists():
        # Nobody has it open; else SQLite would make that file, and leave it behind.
        uri += "&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY)) as connection:
            found: str = connection.execute("pragma quick_check(1)").fetchone()[0]
            return None if found == "ok" else f"{path} is damaged: {found}"
    except sqlite3.Error as error:
        return f"{path} {'is damaged' if is_damage(error) else 'cannot be read'}: {error}"


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether the file itself is what is wrong."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE
