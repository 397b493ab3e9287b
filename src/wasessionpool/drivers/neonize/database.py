"""What a device's database says, read from outside the workers.

Two SQLite libraries must not open one file in one process: the closing of one drops the locks of the other. Workers
read and write it by Go's; so only the application, where Go is never loaded, may look into it by Python's.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ...errors import StorageError


def uri_path(database: Path) -> str:
    """Return the absolute path as it stands in an SQLite URI, where ``?``, ``#`` and ``%`` have meanings."""
    return quote(os.fsencode(database.absolute()))


def forget_unlinked(database: Path) -> None:
    """Remove the file of a device that is not linked, so that nothing of an earlier account reaches the next.

    Raises ``StorageError``.
    """
    try:
        for suffix in ("", "-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"the old device database cannot be removed: {error.strerror}") from error


def is_linked(database: Path) -> bool:
    """Return whether the file holds a device's keys; one that is missing or empty does not.

    Raises ``StorageError`` for a file that cannot be read.
    """
    try:
        if not database.exists():
            return False
        with closing(sqlite3.connect(f"file:{uri_path(database)}?mode=ro", uri=True)) as connection:
            return connection.execute("select jid from whatsmeow_device limit 1").fetchone() is not None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return False
        raise StorageError(f"the device database cannot be read: {error}") from error
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"the device database cannot be read: {error}") from error
