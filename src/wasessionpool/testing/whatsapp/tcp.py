"""TCP connections on bare sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

import anyio
from anyio.abc import ByteStream

_CHUNK = 65536
_ESTABLISHED = b"\x01"


class TcpStream(ByteStream):
    """An accepted TCP connection that can also send without waiting.

    anyio's own stream yields to the event loop twice for each send, and on asyncio it has the kernel watch the socket
    anew for each receive. What `receive` has taken is lost when it is cancelled at that moment.
    """

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        self._max_bytes = _CHUNK
        self._received: asyncio.Future[bytes] | None = None
        self._watching: asyncio.AbstractEventLoop | None = None

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        self._max_bytes = max_bytes
        data: bytes | None = None
        try:
            loop = _asyncio_loop()
            while data is None:
                if loop is None:
                    await anyio.wait_readable(self._socket)
                    data = self._take()
                else:
                    data = await self._receive_on(loop)
        except OSError as error:
            raise anyio.BrokenResourceError from error
        if not data:
            raise anyio.EndOfStream
        return data

    def _take(self) -> bytes | None:
        try:
            return self._socket.recv(self._max_bytes)
        except BlockingIOError:
            return None

    async def _receive_on(self, loop: asyncio.AbstractEventLoop) -> bytes:
        self._received = loop.create_future()
        if self._watching is None:
            loop.add_reader(self._socket, self._readable)
            self._watching = loop
        return await self._received

    def _readable(self) -> None:
        received = self._received
        if received is None or received.done():
            self._stop_watching()
            return
        try:
            data = self._take()
        except OSError as error:
            received.set_exception(error)
        else:
            if data is not None:
                received.set_result(data)

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.remove_reader(self._socket)
            self._watching = None

    async def send(self, item: bytes) -> None:
        rest = memoryview(item)
        while True:
            rest = rest[self.send_now(rest) :]
            if not rest:
                return
            await anyio.wait_writable(self._socket)

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what the socket takes at once, and return how many bytes that is. Raises anyio.BrokenResourceError."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise anyio.BrokenResourceError from error

    @property
    def is_whole(self) -> bool:
        """Whether neither end has closed it, by what the kernel knows: it may be ahead of what was received."""
        try:
            if sys.platform == "linux":
                return self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _ESTABLISHED
            return self._socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    async def send_eof(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise anyio.BrokenResourceError from error

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        self._stop_watching()
        self._socket.close()

    def reset_on_close(self) -> None:
        """Make the closing a reset instead of an orderly end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _asyncio_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
