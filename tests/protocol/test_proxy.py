"""A session's own proxy."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream

from wasessionpool import Status
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY, OTHER = PHONES
SECRET = "proxy-password"
SOCKS_GREETING, SOCKS_LOGIN = b"\x05\x02\x00\x02", b"\x01\x04user" + bytes((len(SECRET),)) + SECRET.encode()


async def pump(source: ByteReceiveStream, sink: ByteSendStream) -> None:
    try:
        async for data in source:
            await sink.send(data)
        await sink.aclose()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        await sink.aclose()


class Proxy:
    """A proxy that takes every connection to the loopback WhatsApp, and notes with what it was asked for."""

    def __init__(self, whatsapp: WhatsAppServer) -> None:
        self.asked: list[bytes] = []
        self._server = urlsplit(whatsapp.proxy_url)
        self.port = 0

    async def http(self, client: SocketStream) -> None:
        request = await client.receive()
        self.asked.append(request)
        async with client, await self._connect() as server:
            await server.send(request)
            await self._join(client, server)

    async def socks(self, client: SocketStream) -> None:
        async with client, await self._connect() as server:
            assert await client.receive() == SOCKS_GREETING
            await client.send(b"\x05\x02")
            self.asked.append(await client.receive())
            await client.send(b"\x01\x00")
            # Where the environment names a proxy too, as here, it is that one that neonize goes to by way of SOCKS.
            assert (await client.receive())[-6:] == bytes((127, 0, 0, 1)) + (self._server.port or 0).to_bytes(2)
            await client.send(b"\x05\x00\x00\x01" + bytes(6))
            await self._join(client, server)

    async def _connect(self) -> SocketStream:
        return await anyio.connect_tcp(self._server.hostname or "", self._server.port or 0)

    async def _join(self, client: SocketStream, server: SocketStream) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump, client, server)
            await pump(server, client)


@asynccontextmanager
async def proxy_of(whatsapp: WhatsAppServer, kind: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(whatsapp)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        proxy.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        tasks.start_soon(partial(listener.serve, getattr(proxy, kind)))
        yield proxy
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("scheme", "kind", "login"),
    [
        ("http", "http", b"Proxy-Authorization: Basic " + base64.b64encode(f"user:{SECRET}".encode())),
        ("socks5", "socks", SOCKS_LOGIN),
    ],
)
async def test_a_session_goes_through_its_own_proxy_and_no_other_does(
    whatsapp: WhatsAppServer,
    application: OpenApplication,
    caplog: pytest.LogCaptureFixture,
    scheme: str,
    kind: str,
    login: bytes,
) -> None:
    caplog.set_level(logging.DEBUG, "wasessionpool")
    phone, bob = whatsapp.phone(PHONES[COMPANY]), whatsapp.contact(BOB)
    async with proxy_of(whatsapp, kind) as proxy, application() as app:
        url = f"{scheme}://user:{SECRET}@127.0.0.1:{proxy.port}"
        await app.link(phone, proxy=url)
        paired = len(proxy.asked)
        assert paired >= 2
        assert all(login in asked for asked in proxy.asked)
        await app.link(whatsapp.phone(PHONES[OTHER]), OTHER)
        await app.pool.send_message(COMPANY, BOB, "hi")
        assert (await bob.next_message()).text == "hi"
        await app.pool.restart(COMPANY)
        status = await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        assert status.status is Status.CONNECTED
        assert len(proxy.asked) == paired + 1
        assert SECRET not in caplog.text + repr(status) + repr(app.heard.events)
