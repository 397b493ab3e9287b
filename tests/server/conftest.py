"""The loopback WhatsApp, and a client of it that is plain neonize."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from wasessionpool.testing import WhatsAppServer

RAW_CLIENT = Path(__file__).with_name("raw_client.py")


class RawClient:
    """A process with plain neonize in it."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._sending = anyio.Lock()
        self._numbers = itertools.count()
        self._replies: dict[int, dict[str, Any]] = {}
        self._changed = anyio.Event()
        self._taken: dict[str, int] = {}

    async def call(self, command: str, *arguments: Any, timeout: float = 20.0) -> Any:
        """Run a command in the client; a failure there is a RuntimeError here."""
        number = next(self._numbers)
        request = json.dumps({"id": number, "command": command, "arguments": arguments}) + "\n"
        assert self._process.stdin is not None
        async with self._sending:
            await self._process.stdin.send(request.encode())
        await self._wait(lambda: number in self._replies, timeout, f"no reply to {command}")
        reply = self._replies.pop(number)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["result"]

    async def next(self, event: str, timeout: float = 20.0) -> dict[str, Any]:
        """Return the next event of a kind that was not returned yet."""
        position = self._taken.get(event, 0)
        await self._wait(lambda: len(self.of(event)) > position, timeout, f"no {event}")
        self._taken[event] = position + 1
        return self.of(event)[position]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    async def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        with anyio.move_on_after(timeout):
            while not condition():
                await self._changed.wait()
            return
        raise TimeoutError(f"{what} within {timeout} s; events so far: {[e['event'] for e in self.events]}")

    async def read(self) -> None:
        assert self._process.stdout is not None
        rest = ""
        async for text in TextReceiveStream(self._process.stdout):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                message = json.loads(line)
                if "event" in message:
                    self.events.append(message)
                else:
                    self._replies[message["reply"]] = message
            self._changed.set()
            self._changed = anyio.Event()


@asynccontextmanager
async def start_raw_client(environment: Mapping[str, str], database: Path, name: str) -> AsyncIterator[RawClient]:
    """Start the process, and end it for sure."""
    command = [sys.executable, str(RAW_CLIENT), str(database), name]
    process = await anyio.open_process(command, env={**os.environ, **environment}, stderr=None)
    try:
        async with anyio.create_task_group() as tasks:
            client = RawClient(process)
            tasks.start_soon(client.read)
            yield client
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            await process.aclose()


StartClient = Callable[..., AbstractAsyncContextManager[RawClient]]


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppServer]:
    async with WhatsAppServer() as server:
        yield server


@pytest.fixture
def start_client(whatsapp: WhatsAppServer, tmp_path: Path) -> StartClient:
    """Start a client, on this server unless another is given; the same name is the same device again."""

    def start(name: str = "Raw", server: WhatsAppServer = whatsapp) -> AbstractAsyncContextManager[RawClient]:
        return start_raw_client(server.environment, tmp_path / f"{name}.db", name)

    return start
