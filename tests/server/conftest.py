"""The loopback WhatsApp, and a client of it that is plain neonize."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.curve import KeyPair
from wasessionpool.testing.whatsapp.noise import HandshakeState
from wasessionpool.testing.whatsapp.state import load, save
from wasessionpool.testing.whatsapp.whatsapp_pb2 import HandshakeMessage

RAW_CLIENT = Path(__file__).with_name("raw_client.py")
RAW_SESSIONS = Path(__file__).with_name("raw_sessions.py")


class Initiator:
    """The client's half of a Noise handshake."""

    def __init__(self) -> None:
        self.static, self.ephemeral = KeyPair.generate(), KeyPair.generate()
        self.state = HandshakeState()
        self.server_static = b""

    def hello(self) -> bytes:
        self.state.mix_hash(self.ephemeral.public)
        hello = HandshakeMessage.ClientHello(ephemeral=self.ephemeral.public)
        return HandshakeMessage(client_hello=hello).SerializeToString()

    def finish(self, answer: bytes, payload: bytes) -> tuple[bytes, bytes]:
        """Return the last message, and the certificate that the server showed."""
        hello = HandshakeMessage.FromString(answer).server_hello
        self.state.mix_hash(hello.ephemeral)
        self.state.mix_key(self.ephemeral.agree(hello.ephemeral))
        self.server_static = self.state.decrypt(hello.static)
        self.state.mix_key(self.ephemeral.agree(self.server_static))
        certificate = self.state.decrypt(hello.payload)
        static = self.state.encrypt(self.static.public)
        self.state.mix_key(self.static.agree(hello.ephemeral))
        last = HandshakeMessage.ClientFinish(static=static, payload=self.state.encrypt(payload))
        return HandshakeMessage(client_finish=last).SerializeToString(), certificate


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
        await self.wait(lambda: number in self._replies, timeout, f"no reply to {command}")
        reply = self._replies.pop(number)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["result"]

    async def next(self, event: str, timeout: float = 20.0) -> dict[str, Any]:
        """Return the next event of a kind that was not returned yet."""
        position = self._taken.get(event, 0)
        await self.wait(lambda: len(self.of(event)) > position, timeout, f"no {event}")
        self._taken[event] = position + 1
        return self.of(event)[position]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    async def wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
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
            self._notify()
        code = await self._process.wait()
        self.events.append({"event": f"the process dies of {signal.Signals(-code).name}" if code < 0 else "exit"})
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@asynccontextmanager
async def start_raw_client(environment: Mapping[str, str], script: Path, *arguments: str) -> AsyncIterator[RawClient]:
    """Start the process, and end it for sure."""
    command = [sys.executable, str(script), *arguments]
    process = await anyio.open_process(command, env={**os.environ, **environment}, stderr=None)
    try:
        async with anyio.create_task_group() as tasks:
            client = RawClient(process)
            tasks.start_soon(client.read)
            yield client
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await process.aclose()


StartClient = Callable[..., AbstractAsyncContextManager[RawClient]]


@pytest.fixture
async def whatsapp(tmp_path: Path) -> AsyncIterator[WhatsAppServer]:
    """A server; whatever a test has done with it can be saved and loaded."""
    async with WhatsAppServer() as server:
        yield server
        saved, again = tmp_path / "saved.json", tmp_path / "again.json"
        server.save(saved)
        save(again, *load(saved))
        assert again.read_bytes() == saved.read_bytes()


@pytest.fixture
def pair(whatsapp: WhatsAppServer) -> Callable[..., Awaitable[None]]:
    """Link a client that shows a QR, and wait until it is connected."""

    async def pair(client: RawClient, number: str = "79686484488") -> None:
        await whatsapp.phone(number).scan((await client.next("QR"))["text"])
        await client.next("Connected")

    return pair


@pytest.fixture
def start_client(whatsapp: WhatsAppServer, tmp_path: Path) -> StartClient:
    """Start a client, on this server unless another is given; the same name is the same device again."""

    def start(name: str = "Raw", server: WhatsAppServer = whatsapp) -> AbstractAsyncContextManager[RawClient]:
        return start_raw_client(server.environment, RAW_CLIENT, str(tmp_path / f"{name}.db"), name)

    return start


@pytest.fixture(scope="session")
def spawn_sessions() -> Callable[[Mapping[str, str]], AbstractAsyncContextManager[RawClient]]:
    """Start a process for many clients, each of which has to be started in it."""
    return lambda environment: start_raw_client(environment, RAW_SESSIONS)


@pytest.fixture(scope="session")
def initiator() -> type[Initiator]:
    """What makes the client's half of a handshake."""
    return Initiator
