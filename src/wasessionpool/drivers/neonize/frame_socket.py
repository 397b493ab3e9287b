"""The application's end of a worker's socket pair."""

from __future__ import annotations

import socket
from collections import deque

import anyio

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

    async def receive(self) -> bytes:
        """Wait for bytes of the worker's; none are its end."""
        while True:
            await anyio.wait_readable(self._socket)
            try:
                return self._socket.recv(CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                return b""

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
