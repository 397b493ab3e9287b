"""``logs``: what a session's own log says."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

from anyio.to_thread import run_sync

from ..models import SessionKey
from ..stores.directory import LOG
from .ending import printable
from .output import Output
from .records import find

LINE = re.compile(r"(\S+Z) ([A-Z]+) (.*)", re.DOTALL)


async def show_logs(key: SessionKey, path: Path, lines: int, output: Output) -> None:
    """Print the last ``lines`` of the log, the newest last; raises ``SessionNotFound``."""
    await find(key, path)
    found = await run_sync(_last, path / key.directory, lines)
    if not found:
        output.line(f"session {key} has no {LOG} yet: it is written while a pool runs the session")
    for line in found:
        output.line(printable(line))
        if match := LINE.fullmatch(line):
            output.json({"time": match[1], "level": match[2], "text": match[3]})
        else:
            output.json({"time": None, "level": None, "text": line})


def _last(directory: Path, lines: int) -> deque[str]:
    found: deque[str] = deque(maxlen=lines)
    for file in sorted(directory.glob(f"{LOG}*"), reverse=True):
        with file.open(encoding="utf-8", errors="replace") as content:
            found.extend(line.rstrip("\n") for line in content)
    return found
