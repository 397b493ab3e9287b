"""The server's own behaviour towards clients that are no WhatsApp clients, and towards its surroundings."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from wasessionpool.testing import WhatsAppServer

pytestmark = pytest.mark.anyio
SERVER = "wasessionpool.testing.server"


async def dial(whatsapp: WhatsAppServer) -> SocketStream:
    address = urlsplit(whatsapp.proxy_url)
    assert address.hostname is not None
    assert address.port is not None
    return await anyio.connect_tcp(address.hostname, address.port)


async def hear_all(stream: anyio.abc.ByteReceiveStream) -> bytes:
    heard = b""
    with anyio.fail_after(20):
        try:
            while True:
                heard += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return heard


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01 not HTTP\r\n\r\n",
        b"GET http://web.whatsapp.com/ HTTP/1.1\r\nHost: web.whatsapp.com\r\n\r\n",
        b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\nHost: web.whatsapp.com\r\n\r\n not TLS",
    ],
)
async def test_strangers_are_sent_away(whatsapp: WhatsAppServer, said: bytes) -> None:
    async with await dial(whatsapp) as stream:
        await stream.send(said)
        assert (await hear_all(stream)).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 200 ")


async def test_no_other_host_is_reached(whatsapp: WhatsAppServer, caplog: pytest.LogCaptureFixture) -> None:
    async with await dial(whatsapp) as stream:
        await stream.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
        await hear_all(stream)
    assert "no such host here: example.com" in caplog.text


async def test_what_is_no_websocket_is_sent_away(whatsapp: WhatsAppServer) -> None:
    async with await dial(whatsapp) as stream:
        await stream.send(b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\nHost: web.whatsapp.com\r\n\r\n")
        await stream.receive()
        context = ssl.create_default_context(cafile=whatsapp.environment["SSL_CERT_FILE"])
        tls = await TLSStream.wrap(stream, hostname="web.whatsapp.com", ssl_context=context, standard_compatible=False)
        await tls.send(b"GET /ws/chat HTTP/1.1\r\nHost: web.whatsapp.com\r\n\r\n")
        assert (await hear_all(tls)).startswith(b"HTTP/1.1 4")


async def test_refusing_and_accepting(whatsapp: WhatsAppServer) -> None:
    whatsapp.refuse(503)
    async with await dial(whatsapp) as stream:
        await stream.send(b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\nHost: web.whatsapp.com\r\n\r\n")
        assert (await hear_all(stream)).startswith(b"HTTP/1.1 503 ")
    whatsapp.refuse()
    async with await dial(whatsapp) as stream:
        assert await hear_all(stream) == b""
    whatsapp.accept()
    async with await dial(whatsapp) as stream:
        await stream.send(b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\nHost: web.whatsapp.com\r\n\r\n")
        assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
    assert (whatsapp.tunnels_refused, whatsapp.connections_accepted) == (2, 1)


async def test_nothing_is_left_behind() -> None:
    async with WhatsAppServer() as whatsapp:
        ca_file = Path(whatsapp.environment["SSL_CERT_FILE"])
        assert ca_file.exists()
        hanging = await dial(whatsapp)
        await whatsapp.wait_connections(1)
    assert not ca_file.parent.exists()
    assert await hear_all(hanging) == b""
    await hanging.aclose()
    with pytest.raises(OSError, match=r"refused|attempts failed"):
        await dial(whatsapp)


async def test_only_loopback() -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        WhatsAppServer(host="0.0.0.0")  # noqa: S104
    with pytest.raises(RuntimeError, match="not been entered"):
        _ = WhatsAppServer().environment
    async with WhatsAppServer() as whatsapp:
        port = urlsplit(whatsapp.proxy_url).port
        assert port is not None
        with socket.socket() as other:
            other.bind(("127.0.0.2", port))


async def test_waits_say_what_is_missing(whatsapp: WhatsAppServer) -> None:
    contact = whatsapp.contact("+79001234567", name="Ann")
    with pytest.raises(TimeoutError, match=r"contact 79001234567 got no message within 0.01 s; last stanzas: none"):
        await contact.next_message(timeout=0.01)
    with pytest.raises(TimeoutError, match="phone 79001234567 got no copy"):
        await whatsapp.phone("79001234567").next_message(timeout=0.01)
    with pytest.raises(TimeoutError, match="0 connections"):
        await whatsapp.wait_connections(1, timeout=0.01)
    with pytest.raises(ValueError, match="not a phone number"):
        whatsapp.phone("me")
    with pytest.raises(ValueError, match="is not on this WhatsApp"):
        await contact.send("79990000000", "hello")


async def test_simulated_phones_write_to_each_other(whatsapp: WhatsAppServer) -> None:
    ann, bob = whatsapp.contact("79001234567"), whatsapp.contact("79007654321")
    sent = await ann.send(bob.number, "hi")
    message = await bob.next_message()
    assert (message.id, message.text, message.sender, message.encryption) == (sent, "hi", ann.number, None)


async def test_a_fault_of_the_server_is_raised_on_leaving(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr("wasessionpool.testing.whatsapp.server.accept_tunnel", None)
    with pytest.raises(ExceptionGroup) as caught:
        async with WhatsAppServer() as whatsapp, await dial(whatsapp) as stream:
            await hear_all(stream)
    assert isinstance(caught.value.exceptions[0], TypeError)


def test_the_test_process_does_not_load_neonize() -> None:
    script = "import sys; from wasessionpool.testing import WhatsAppServer; print('neonize' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"


@pytest.mark.parametrize("command", [["-c", "from wasessionpool.testing import WhatsAppServer"], ["-m", SERVER]])
def test_without_its_extra_the_install_command_is_named(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['trustme'] = None")
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("trustme is not installed: pip install 'wasessionpool[testing]'\n")
