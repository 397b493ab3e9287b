"""The application's end of a worker's socket pair."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

import anyio
import anyio.lowlevel

CHUNK = 64 * 1024
WAITING = 1_000
"""Frames that may wait for a worker to read."""


class FrameSocket:
    """Sends frames without waiting; what the system has no room for waits until ``drain`` gets rid of it.

    A frame that leaves at once costs no turn of the event loop.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._waiting: deque[bytes] = deque()
        self._changed = anyio.Event()

    def send(self, frame: bytes) -> None:
        """Send a frame, or keep it; raises ``WouldBlock`` where too many wait. A worker that is gone gets none."""
        if not self._waiting:
            frame = _rest(self._socket, frame)
            if not frame:
                return
        if len(self._waiting) == WAITING:
            raise anyio.WouldBlock
        self._waiting.append(frame)
        self._changed.set()

    async def drain(self) -> None:
        """Send what waits, whenever there is room, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            while self._waiting:
                await anyio.wait_writable(self._socket)
                if rest := _rest(self._socket, self._waiting[0]):
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()

    async def receive(self, take: Callable[[bytes], None]) -> None:
        """Pass on what the worker sends, until its end is gone; raises what ``take`` raises.

        On asyncio it is passed on within the loop's own callback: to wake a task for each frame, and to watch the
        socket anew with two system calls, took a fifth of the CPU that the application uses for a send.
        """
        loop = anyio.lowlevel.current_token().native_token
        if isinstance(loop, asyncio.AbstractEventLoop):
            await self._receive_on(loop, take)
        else:
            await anyio.wait_readable(self._socket)
            while self._receive_once(take):
                await anyio.wait_readable(self._socket)

    async def _receive_on(self, loop: asyncio.AbstractEventLoop, take: Callable[[bytes], None]) -> None:
        end: asyncio.Future[None] = loop.create_future()

        def on_readable() -> None:
            try:
                if self._receive_once(take) or end.done():
                    return
                end.set_result(None)
            except Exception as error:  # noqa: BLE001 - it is raised where the end is waited for
                if not end.done():
                    end.set_exception(error)
            loop.remove_reader(self._socket)

        loop.add_reader(self._socket, on_readable)
        try:
            await end
        finally:
            loop.remove_reader(self._socket)

    def _receive_once(self, take: Callable[[bytes], None]) -> bool:
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if data:
            take(data)
        return bool(data)

    def close(self) -> None:
        self._waiting.clear()
        self._socket.close()


def _rest(end: socket.socket, frame: bytes) -> bytes:
    """Return what of the frame there was no room for. The end of the other side is for the receiver to see."""
    try:
        return frame[end.send(frame) :]
    except BlockingIOError:
        return frame
    except OSError:
        return b""
