"""The server's end of one client link: an HTTP CONNECT proxy, TLS, and a WebSocket."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import anyio
import h11
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from wasessionpool.testing.whatsapp.errors import ProtocolError
from wasessionpool.testing.whatsapp.tcp import TcpStream
from wasessionpool.testing.whatsapp.tls import Tls

MAX_MESSAGE = 32 * 1024 * 1024
MAX_UNSENT = 64 * 1024 * 1024
_LINGER = 1.0
_BINARY = {Opcode.BINARY, Opcode.CONT}


async def accept_tunnel(stream: TcpStream) -> str:
    """Answer a client's CONNECT and return the host it asks for. Raises ProtocolError for any other request."""
    parser = h11.Connection(h11.SERVER)
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            raise ProtocolError(f"not an HTTP request: {error}") from None
        if event is h11.NEED_DATA:
            parser.receive_data(await stream.receive())
        elif isinstance(event, h11.Request):
            break
        else:
            raise ProtocolError("a connection without a request")
    if event.method != b"CONNECT":
        raise ProtocolError("a request that is not CONNECT")
    if parser.trailing_data[0]:
        raise ProtocolError("a client that speaks before its CONNECT is answered")
    await stream.send(parser.send(h11.Response(status_code=200, headers=[])) or b"")
    return event.target.rpartition(b":")[0].decode("ascii", "replace")


async def refuse_tunnel(stream: TcpStream, status: int) -> None:
    """Answer whatever a client asks with an HTTP error."""
    parser = h11.Connection(h11.SERVER)
    response = h11.Response(status_code=status, headers=[("Content-Length", "0"), ("Connection", "close")])
    await stream.receive()
    await stream.send(parser.send(response) or b"")


class WebSocket:
    """A WebSocket over TLS over an accepted TCP connection. One task may receive while `write` runs in another.

    What is sent between two calls of `receive` leaves together; at any other time it leaves at once.
    """

    def __init__(self, tcp: TcpStream, context: ssl.SSLContext) -> None:
        self._tcp = tcp
        self._tls = Tls(context)
        self._protocol = ServerProtocol(max_size=MAX_MESSAGE)
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._backlog = b""
        self._held = True
        self._broken = False
        self._wake = anyio.Event()
        self._ending = False
        self._patience = 0.0
        self.pace: Callable[[], float] = float

    async def accept(self) -> None:
        """Do the TLS handshake and the upgrade. Raises ProtocolError and anyio's and ssl's errors."""
        protocol = self._protocol
        requests: list[Request] = []
        while not requests:
            await self._take()
            requests = [event for event in protocol.events_received() if isinstance(event, Request)]
            if protocol.handshake_exc is not None:
                raise ProtocolError(f"not a WebSocket request: {protocol.handshake_exc}")
        protocol.send_response(protocol.accept(requests[0]))
        self._collect()
        self._flush()
        if protocol.state is not State.OPEN:
            raise ProtocolError("not a WebSocket upgrade")

    @property
    def is_whole(self) -> bool:
        """Whether the client has not begun to close the connection, as far as anybody can know here."""
        return self._protocol.state is State.OPEN and self._tcp.is_whole

    async def receive(self) -> bytes:
        """Return the bytes of the messages that come next, at least one byte.

        Raises anyio.EndOfStream when the client has ended the connection, anyio.BrokenResourceError when it broke.
        """
        while True:
            data = b"".join(
                event.data
                for event in self._protocol.events_received()
                if isinstance(event, Frame) and event.opcode in _BINARY
            )
            if data:
                self._held = True
                return data
            try:
                await self._take()
            except ssl.SSLError:
                raise anyio.BrokenResourceError from None
            if self._protocol.state is not State.OPEN:
                raise anyio.EndOfStream

    async def _take(self) -> None:
        self._held = False
        self._flush()
        bytes_per_second = self.pace()
        if not bytes_per_second:
            data = await self._tcp.receive()
        else:
            data = await self._tcp.receive(max(int(bytes_per_second), 1))
            await anyio.sleep(len(data) / bytes_per_second)
        opened = self._tls.receive(data)
        if opened:
            self._protocol.receive_data(opened)
            self._collect()
        elif self._tls.ended:
            raise anyio.EndOfStream

    def send(self, data: bytes) -> None:
        """Send one binary message. Raises anyio.BrokenResourceError when the client does not read what it gets."""
        if self._ending or self._protocol.state is not State.OPEN:
            return
        try:
            self._protocol.send_binary(data)
        except WebSocketException:
            raise anyio.BrokenResourceError from None
        self._collect()
        if self._unsent_size > MAX_UNSENT:
            raise anyio.BrokenResourceError
        if not self._held:
            self._flush()

    def end(self, patience: float) -> None:
        """Let `write` send what is queued, and end the stream unless the client does so within `patience` seconds."""
        self._ending = True
        self._patience = patience
        self._wake.set()

    async def write(self) -> None:
        """Send what the socket does not take at once, until `end`; then part, and return a moment after that.

        Raises anyio.BrokenResourceError when the connection broke.
        """
        while True:
            self._flush()
            while self._backlog:
                await self._tcp.send(self._backlog)
                self._backlog = b""
                self._flush()
            if self._broken:
                raise anyio.BrokenResourceError
            if self._ending:
                break
            await self._wake.wait()
            self._wake = anyio.Event()
        await anyio.sleep(self._patience)
        await self._tcp.send_eof()
        await anyio.sleep(_LINGER)

    def _collect(self) -> None:
        for chunk in self._protocol.data_to_send():
            self._unsent.append(chunk)
            self._unsent_size += len(chunk)

    def _flush(self) -> None:
        """Send what is queued, unless something goes before it, and leave to `write` what the socket does not take."""
        if self._backlog:
            return
        if self._unsent:
            self._tls.send(b"".join(self._unsent))
            self._unsent.clear()
            self._unsent_size = 0
        data = self._tls.data_to_send()
        if not data:
            return
        try:
            sent = self._tcp.send_now(data)
        except anyio.BrokenResourceError:
            self._broken = True
            self._wake.set()
            return
        if sent < len(data):
            self._backlog = data[sent:]
            self._wake.set()
