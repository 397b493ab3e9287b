"""The right of one process to open a device's database."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

POLL = 0.05


class Lease:
    """An exclusive lock on a directory, which the system ends with the process at the latest."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, directory: Path, timeout: float, stopping: threading.Event) -> Lease | None:
        """Wait up to ``timeout`` seconds, for a killed application's last worker to be gone; ``None``: still held.

        The wait ends when ``stopping`` is set, too.
        """
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline or stopping.wait(POLL):
                    os.close(descriptor)
                    return None
            else:
                return cls(descriptor)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
