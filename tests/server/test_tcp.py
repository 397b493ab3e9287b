"""TCP connections as the server holds them, on asyncio and on trio."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.nodes import encode, node
from wasessionpool.testing.whatsapp.noise import frame
from wasessionpool.testing.whatsapp.tcp import TcpStream

from .test_fuzz_server import OWN, Client

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair() -> Iterator[tuple[TcpStream, socket.socket]]:
    """A server's stream, and the socket of its client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        stream = TcpStream(listener.accept()[0])
    with client:
        yield stream, client
        stream.close()


async def test_all_is_received_whenever_it_came(pair: tuple[TcpStream, socket.socket]) -> None:
    stream, client = pair
    for number in range(3):
        client.sendall(b"before")
        assert await stream.receive() == b"before"
        async with anyio.create_task_group() as tasks:
            heard: list[bytes] = []

            async def hear(heard: list[bytes] = heard) -> None:
                heard.append(await stream.receive(3))

            tasks.start_soon(hear)
            await anyio.wait_all_tasks_blocked()
            client.sendall(b"during%d" % number)
        assert heard == [b"dur"]
        # Nobody waits now, and the loop must not go on looking at what nobody takes.
        await anyio.wait_all_tasks_blocked()
        assert stream._watching is None
        assert await stream.receive() == b"ing%d" % number
    client.shutdown(socket.SHUT_WR)
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


async def test_a_receive_can_be_given_up(pair: tuple[TcpStream, socket.socket]) -> None:
    stream, client = pair
    for _ in range(2):
        with anyio.move_on_after(0.01) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        client.sendall(b"late")
        assert await stream.receive() == b"late"


async def test_a_connection_that_breaks(pair: tuple[TcpStream, socket.socket]) -> None:
    stream, client = pair
    client.sendall(b"x")
    assert await stream.receive() == b"x"
    TcpStream(client).reset_on_close()
    client.close()
    with pytest.raises(anyio.BrokenResourceError):
        await stream.receive()
    with pytest.raises(anyio.BrokenResourceError):
        await stream.send(b"y")


async def test_more_is_sent_than_the_socket_takes(pair: tuple[TcpStream, socket.socket]) -> None:
    stream, client = pair
    data = bytes(range(256)) * 40_000
    begun = stream.send_now(data)
    assert 0 < begun < len(data)
    heard = bytearray()

    async def hear() -> None:
        other = TcpStream(client)
        while len(heard) < len(data):
            heard.extend(await other.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, data[begun:])
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(hear)
    assert heard == data


async def test_answers_to_what_came_together_leave_together(
    whatsapp: WhatsAppServer, initiator: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    send_now = TcpStream.send_now
    client = Client(whatsapp, initiator)
    await client.log_in_as(OWN)
    tags = [(await client.next_node()).tag for _ in range(3)]
    assert tags == ["ib", "ib", "message"]

    def counted(stream: TcpStream, data: bytes | memoryview) -> int:
        writes.append(len(data))
        return send_now(stream, data)

    monkeypatch.setattr(TcpStream, "send_now", counted)
    asked = [node("iq", {"type": "get", "xmlns": "w:p", "id": str(number)}) for number in range(5)]
    await client.send(b"".join(frame(client.outgoing.encrypt(encode(iq))) for iq in asked))
    answers = [(await client.next_node()).text("id") for _ in range(5)]
    assert answers == ["0", "1", "2", "3", "4"]
    assert len(writes) == 1
    await client.part()
