"""The application's end of a worker's socket pair, with a plain socket for the worker."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import anyio
import pytest
from anyio import to_thread

from wasessionpool.drivers.neonize import frame_socket
from wasessionpool.drivers.neonize.frame_socket import FrameSocket

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        yield ours, theirs


async def test_what_there_is_no_room_for_follows_whole_and_in_order(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    line = FrameSocket(ours)
    frames = [bytes([number]) * 100_000 for number in range(30)]

    def read(size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += theirs.recv(size - len(data))
        return data

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(line.drain)
        for frame in frames:
            line.send(frame)
        assert await to_thread.run_sync(read, 3_000_000) == b"".join(frames)
        line.send(b"at once again")
        assert await to_thread.run_sync(read, 13) == b"at once again"
        tasks.cancel_scope.cancel()


async def test_one_that_reads_nothing_is_told_of(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_socket, "WAITING", 3)
    line = FrameSocket(ends[0])
    line.send(b"x" * 10_000_000)
    for _ in range(2):
        line.send(b"y")
    with pytest.raises(anyio.WouldBlock):
        line.send(b"z")


async def test_receives_until_the_other_end_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    line, received, changed = FrameSocket(ours), bytearray(), anyio.Event()

    def take(data: bytes) -> None:
        received.extend(data)
        changed.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(line.receive, take)
        theirs.sendall(b"one")
        with anyio.fail_after(10):
            await changed.wait()
        theirs.sendall(b"two")
        theirs.close()
    assert received == b"onetwo"
    line.send(b"to nobody")


async def test_raises_what_the_taker_raises(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends

    def take(data: bytes) -> None:
        raise ValueError(data)

    theirs.sendall(b"nonsense")
    with anyio.fail_after(10), pytest.raises(ValueError, match="nonsense"):
        await FrameSocket(ours).receive(take)


async def test_a_cancelled_receiver_leaves_the_socket_to_the_next(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    line, received = FrameSocket(ours), bytearray()
    with anyio.move_on_after(0):
        await line.receive(received.extend)
    theirs.sendall(b"late")
    theirs.close()
    with anyio.fail_after(10):
        await line.receive(received.extend)
    assert received == b"late"
