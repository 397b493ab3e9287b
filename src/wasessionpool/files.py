"""Private files: directories of 0700, files of 0600, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import StorageError

RECORD = "session.json"
"""What a session's directory remembers of it, and the fence of who wrote that."""


def private_directory(path: Path) -> Path:
    """Create ``path`` and what is missing above it, for the owner only; raises ``StorageError``."""
    try:
        for directory in [*reversed(path.parents), path]:
            if not directory.is_dir():
                directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create the directory {path}: {error.strerror}") from error
    return path


def write_private(path: Path, content: bytes) -> None:
    """Replace the file ``path`` so that a crash leaves the old or the new content; raises ``StorageError``."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
