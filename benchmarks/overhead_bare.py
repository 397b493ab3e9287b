"""An application on asyncio, and plain calls of neonize's library in another process, with but a socket between.

For `overhead.py`: no driver in a process of its own can be faster than this. JSON lists in, a JSON reply each.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

RAW = Path(__file__).with_name("overhead_raw.py")
CHUNK = 64 * 1024


class Sessions:
    """One session in a process of its own, which is told what to send over a socket."""

    def __init__(self) -> None:
        self._end, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, str(RAW)]
            self._raw = Popen(command, stdin=PIPE, stdout=PIPE, text=True, pass_fds=[theirs.fileno()])
            self._theirs: int | None = theirs.fileno()

    def processes(self) -> list[int]:
        """Return the ids of both processes."""
        return [os.getpid(), self._raw.pid]

    def open(self, database: str) -> str:
        """Open the connection, and return once it is live."""
        self._tell("open", database)
        assert self._raw.stdout is not None
        found: str = json.loads(self._raw.stdout.readline())
        return found

    def serial(self, contacts: list[str], count: int) -> list[float]:
        """Send one message after another; return what each took, in seconds."""
        if self._theirs is not None:
            self._tell("serve", self._theirs)
            self._theirs = None
        return asyncio.run(self._send(contacts, count))

    async def _send(self, contacts: list[str], count: int) -> list[float]:
        loop, answer, taken = asyncio.get_running_loop(), None, []

        def on_readable() -> None:
            assert answer is not None
            answer.set_result(json.loads(self._end.recv(CHUNK)))

        self._end.setblocking(False)
        loop.add_reader(self._end, on_readable)
        for number in range(count):
            begun = time.perf_counter()
            answer = loop.create_future()
            self._end.send(json.dumps([contacts[number % len(contacts)], f"message number {number}"]).encode())
            await answer
            taken.append(time.perf_counter() - begun)
        loop.remove_reader(self._end)
        return taken

    def _tell(self, *command: Any) -> None:
        assert self._raw.stdin is not None
        self._raw.stdin.write(json.dumps(command) + "\n")
        self._raw.stdin.flush()

    def close(self) -> None:
        """End the other process, which ends by itself once it is told nothing any more."""
        assert self._raw.stdin is not None
        self._end.close()
        self._raw.stdin.close()
        self._raw.wait(15)


def main() -> None:
    sessions = Sessions()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(sessions, command)(*arguments)), flush=True)
    sessions.close()


if __name__ == "__main__":
    main()
