"""The server's end of one client link: an HTTP CONNECT proxy, TLS, and a WebSocket."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from wasessionpool.testing.whatsapp.errors import ProtocolError

MAX_MESSAGE = 32 * 1024 * 1024
MAX_UNSENT = 64 * 1024 * 1024
_LINGER = 1.0
_BINARY = {Opcode.BINARY, Opcode.CONT}


async def accept_tunnel(stream: SocketStream) -> str:
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


async def refuse_tunnel(stream: SocketStream, status: int) -> None:
    """Answer whatever a client asks with an HTTP error."""
    parser = h11.Connection(h11.SERVER)
    response = h11.Response(status_code=status, headers=[("Content-Length", "0"), ("Connection", "close")])
    await stream.receive()
    await stream.send(parser.send(response) or b"")


def reset_on_close(stream: SocketStream) -> None:
    """Make the closing of a TCP connection a reset instead of an orderly end."""
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, not Django's
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class WebSocket:
    """A WebSocket over TLS over an accepted TCP connection. One task may receive while `write` runs in another."""

    def __init__(self, tcp: SocketStream, tls: TLSStream, protocol: ServerProtocol) -> None:
        self._tcp = tcp
        self._tls = tls
        self._protocol = protocol
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._wake = anyio.Event()
        self._ending = False
        self._patience = 0.0
        self.pace: Callable[[], float] = float

    @classmethod
    async def accept(cls, tcp: SocketStream, context: ssl.SSLContext) -> WebSocket:
        """Do the TLS handshake and the upgrade. Raises ProtocolError and anyio's and ssl's errors."""
        tls = await TLSStream.wrap(tcp, server_side=True, ssl_context=context, standard_compatible=False)
        websocket = cls(tcp, tls, ServerProtocol(max_size=MAX_MESSAGE))
        protocol = websocket._protocol
        requests: list[Request] = []
        while not requests:
            protocol.receive_data(await tls.receive())
            requests = [event for event in protocol.events_received() if isinstance(event, Request)]
            if protocol.handshake_exc is not None:
                raise ProtocolError(f"not a WebSocket request: {protocol.handshake_exc}")
        protocol.send_response(protocol.accept(requests[0]))
        await tls.send(b"".join(protocol.data_to_send()))
        if protocol.state is not State.OPEN:
            raise ProtocolError("not a WebSocket upgrade")
        return websocket

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
                return data
            try:
                self._protocol.receive_data(await self._take())
            except ssl.SSLError:
                raise anyio.BrokenResourceError from None
            self._collect()
            if self._protocol.state is not State.OPEN:
                raise anyio.EndOfStream

    async def _take(self) -> bytes:
        bytes_per_second = self.pace()
        if not bytes_per_second:
            return await self._tls.receive()
        data = await self._tls.receive(max(int(bytes_per_second), 1))
        await anyio.sleep(len(data) / bytes_per_second)
        return data

    def send(self, data: bytes) -> None:
        """Queue one binary message. Raises anyio.BrokenResourceError when the client does not read what it gets."""
        if self._ending or self._protocol.state is not State.OPEN:
            return
        try:
            self._protocol.send_binary(data)
        except WebSocketException:
            raise anyio.BrokenResourceError from None
        self._collect()
        if self._unsent_size > MAX_UNSENT:
            raise anyio.BrokenResourceError

    def end(self, patience: float) -> None:
        """Let `write` send what is queued, and end the stream unless the client does so within `patience` seconds."""
        self._ending = True
        self._patience = patience
        self._wake.set()

    async def flush(self) -> None:
        """Send what is queued."""
        while self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            self._unsent_size = 0
            await self._tls.send(data)

    async def write(self) -> None:
        """Send what is queued, as it comes, until `end`; then part, and return a moment after the end of the stream."""
        while True:
            await self.flush()
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
        self._wake.set()
