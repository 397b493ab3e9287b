"""A disk, which may hang: what is asked of it blocks no event loop, and is waited for so long and no longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio

from .errors import StorageError
from .threads import DaemonThreads

PATIENCE = 30.0
"""Seconds; a disk that is well answers within milliseconds, and a share that fails over within some."""

_threads = DaemonThreads(40, name="wasessionpool-disk")

T = TypeVar("T")


async def on_disk(place: Path, function: Callable[[], T], *, keep: bool = False) -> T:
    """Call ``function`` in a thread, once what was asked of ``place`` before has ended, and return what it returns.

    So what a caller left behind, who was cancelled or out of patience, is over before the next begins. What has not
    begun by then never does, unless it is to be kept. Raises what ``function`` raises, and ``StorageError``.
    """
    with anyio.move_on_after(PATIENCE):
        try:
            return await _threads.run(function, lane=place, keep=keep)
        except RuntimeError as error:
            raise StorageError(f"{place} cannot be used: {error}") from error
    raise StorageError(f"{place} cannot be used: the disk did not answer within {PATIENCE:g} s")
