"""A real worker process at whose socket a test sits itself, to say what the driver never would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
from anyio.abc import Process, UNIXSocketStream

from wasessionpool.drivers.neonize.wire import (
    REPORTS,
    Answer,
    Command,
    FrameDecoder,
    Happened,
    Hello,
    Perform,
    Report,
    Request,
    encode,
)

WORKER = "wasessionpool.drivers.neonize.worker"
VITALS_INTERVAL = "60"
ReportT = TypeVar("ReportT", bound=Report)


class RawWorker:
    """What the worker reports, each handed out once to who asks for its kind."""

    def __init__(self, process: Process, stream: UNIXSocketStream) -> None:
        self.process = process
        self._stream = stream
        self._decoder = FrameDecoder[Report](REPORTS)
        self._heard: list[Report] = []
        self._calls = 0

    @property
    def unclaimed(self) -> tuple[Report, ...]:
        """What it reported so far that nobody asked for."""
        return tuple(self._heard)

    async def say(self, frame: Command | bytes) -> None:
        """Send a command, or any bytes as a frame's body."""
        await self._stream.send(len(frame).to_bytes(4) + frame if isinstance(frame, bytes) else encode(frame))

    async def hear(
        self, kind: type[ReportT], wanted: Callable[[ReportT], bool] = lambda _: True, timeout: float = 20
    ) -> ReportT:
        with anyio.move_on_after(timeout):
            while True:
                for report in self._heard:
                    if isinstance(report, kind) and wanted(report):
                        self._heard.remove(report)
                        return report
                self._heard += self._decoder.feed(await self._stream.receive())
        raise AssertionError(f"no {kind.__name__} within {timeout} s; there were {self._heard}")

    async def event(self, session: str, kind: type[Any]) -> Any:
        """Return what ``session`` says next of a kind."""
        report = await self.hear(Happened, lambda r: r.session == session and isinstance(r.event, kind))
        return report.event

    async def ask(self, session: str, request: Request) -> Answer:
        self._calls += 1
        number = self._calls
        await self.say(Perform(call=number, session=session, request=request))
        return await self.hear(Answer, lambda answer: answer.call == number)

    async def output(self) -> str:
        """Return what the process printed; to be asked for when it has ended."""
        assert self.process.stdout is not None
        return b"".join([data async for data in self.process.stdout]).decode(errors="replace")


@asynccontextmanager
async def raw_worker(environment: Mapping[str, str], module: str = WORKER) -> AsyncIterator[RawWorker]:
    """Start a worker as the driver does; ends the process for sure."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await anyio.open_process(
            [sys.executable, "-m", module, VITALS_INTERVAL, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(environment),
            pass_fds=(theirs.fileno(),),
        )
    try:
        async with await UNIXSocketStream.from_socket(ours) as stream:
            yield RawWorker(process, stream)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            await process.aclose()


@asynccontextmanager
async def ready_worker(environment: Mapping[str, str], module: str = WORKER) -> AsyncIterator[RawWorker]:
    """Start a worker, and wait until it has loaded neonize."""
    async with raw_worker(environment, module) as worker:
        await worker.hear(Hello)
        yield worker
