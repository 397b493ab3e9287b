"""The application as the outside sees it: a process that is told what to do, killed, and started again."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

ROOT = Path(__file__).parents[2]
LONGEST_LINE = 1 << 20


class Gone(Exception):
    """The application has ended, so there is no answer."""


class RemoteApplication:
    """One process. ``heard`` is called with each change of a status that it tells."""

    def __init__(self, process: anyio.abc.Process, heard: Callable[[dict[str, Any]], None]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self.leaving = False
        self._commands = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)
        self._heard = heard
        self._numbers = itertools.count()
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = anyio.Event()

    @property
    def pid(self) -> int:
        return self.process.pid

    async def listen(self) -> None:
        """Take what it says until it ends."""
        try:
            while True:
                line = json.loads(await self._lines.receive_until(b"\n", LONGEST_LINE))
                if "answer" in line:
                    self._answers[line["answer"]] = line
                elif "ready" in line:
                    for company_id, (status, reason) in line["statuses"].items():
                        self._heard({"company_id": company_id, "status": status, "reason": reason})
                    self.ready.set()
                else:
                    self._heard(line)
                self._notify()
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        await self.process.wait()
        self.ended.set()
        self.ready.set()
        self._notify()

    async def do(self, what: str, company_id: str = "", timeout: float = 60.0) -> dict[str, Any]:
        """Give a command and return the answer. Raises Gone, and TimeoutError."""
        if self.leaving:
            raise Gone(what)
        number = next(self._numbers)
        command = json.dumps({"number": number, "do": what, "company_id": company_id}).encode() + b"\n"
        try:
            await self._commands.send(command)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise Gone(what) from None
        with anyio.move_on_after(timeout):
            while number not in self._answers:
                if self.ended.is_set():
                    raise Gone(what)
                await self._changed.wait()
            return self._answers.pop(number)
        raise TimeoutError(f"the application did not answer {what!r} within {timeout:g} s")

    async def kill(self) -> None:
        self.leaving = True
        self.process.send_signal(signal.SIGKILL)
        await self.ended.wait()

    async def leave(self, timeout: float) -> int | None:
        """Let it leave its pool, and return its exit code; None where it takes longer, and is killed."""
        self.leaving = True
        await self._commands.aclose()
        with anyio.move_on_after(timeout):
            await self.ended.wait()
            return self.process.returncode
        await self.kill()
        return None

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


async def spawn(options: dict[str, Any], errors: Path, heard: Callable[[dict[str, Any]], None]) -> RemoteApplication:
    """Start the application; what it logs goes to a file."""
    command = [sys.executable, "-m", "tests.chaos.application", json.dumps(options)]
    with errors.open("ab") as log:
        process = await anyio.open_process(command, cwd=ROOT, stderr=log)
    return RemoteApplication(process, heard)
