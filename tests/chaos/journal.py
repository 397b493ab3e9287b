"""What an application did, on disk before it goes on: a JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """A file that is only appended to; what `write` has written outlives the process, whatever ends it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **entry: Any) -> None:
        os.write(self._descriptor, json.dumps(entry).encode() + b"\n")
        os.fdatasync(self._descriptor)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Return the entries; one that was cut short by a kill was never written."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)
