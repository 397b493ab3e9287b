"""Files: sealed and opened here, and sent and got by plain neonize."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import secrets
import ssl
from typing import Any
from urllib.parse import urlsplit

import anyio
import h11
import pytest
from anyio.streams.tls import TLSStream
from PIL import Image

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.content import MEDIA_KINDS, MediaKind
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.media import MEDIA_HOST, MediaStore, open_file, seal_file
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

pytestmark = pytest.mark.anyio

OWN = "79686484488"
ANN = "79001234567"


def picture(size: int = 64) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (size, size), secrets.token_bytes(size * size * 3)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", MEDIA_KINDS)
@pytest.mark.parametrize("content", [b"", b"x" * 16, b"some file" * 1000])
def test_a_file_comes_out_as_it_went_in(kind: MediaKind, content: bytes) -> None:
    store = MediaStore()
    pointer = getattr(seal_file(store, content, kind, "text/plain"), kind)
    assert open_file(store, pointer) == content
    assert "?" in pointer.direct_path
    assert pointer.url == f"https://{MEDIA_HOST}{pointer.direct_path}"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("direct_path", "/v/elsewhere?ccb=1", "never uploaded"),
        ("file_enc_sha256", bytes(32), "another encrypted hash"),
        ("media_key", bytes(32), "does not authenticate"),
        ("file_sha256", bytes(32), "another hash or length"),
        ("file_length", 1, "another hash or length"),
    ],
)
def test_a_file_that_is_not_what_its_message_says(field: str, value: Any, reason: str) -> None:
    store = MediaStore()
    image = seal_file(store, b"content", "image", "image/png").image
    setattr(image, field, value)
    with pytest.raises(DecryptionError, match=reason):
        open_file(store, image)


def test_a_file_of_another_kind_does_not_open() -> None:
    store = MediaStore()
    image = seal_file(store, b"content", "image", "image/png").image
    video = Message.Video(
        direct_path=image.direct_path, media_key=image.media_key, file_enc_sha256=image.file_enc_sha256
    )
    with pytest.raises(DecryptionError, match="does not authenticate"):
        open_file(store, video)


def test_old_files_go_when_there_are_too_many() -> None:
    store = MediaStore(max_size=100)
    paths = [store.put(bytes((number,)) * 40) for number in range(3)]
    assert [store.get(path) is not None for path in paths] == [False, True, True]
    assert store.dropped == 1
    assert store.put(b"\x02" * 40) == paths[2]
    assert store.dropped == 1


async def test_neonize_sends_and_gets_an_image(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "wasessionpool")
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        for size in (32, 400):
            image = picture(size)
            sent = await client.call("send_image", ANN, base64.b64encode(image).decode(), "look")
            for message in (await ann.next_message(), await phone.next_message()):
                assert (message.id, message.kind, message.text) == (sent, "image", "look")
                assert message.mimetype == "image/png"
                assert message.media == image
                assert repr(image[:8])[2:-1] not in repr(message)

            answer = await ann.send_image(OWN, image, caption="seen", mimetype="image/png")
            event = await client.next("Message")
            assert (event["id"], event["kinds"], event["caption"]) == (answer, ["imageMessage"], "seen")
            assert base64.b64decode(await client.call("download", answer)) == image
        sent = await ann.send_file(OWN, b"%PDF", "document", mimetype="application/pdf")
        assert (await client.next("Message"))["kinds"] == ["documentMessage"]
        assert base64.b64decode(await client.call("download", sent)) == b"%PDF"
    assert ann.undecryptable == phone.undecryptable == 0
    assert "look" not in caplog.text


async def test_a_file_that_is_gone(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    ann = whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        sent = await ann.send_image(OWN, b"no picture at all")
        await client.next("Message")
        whatsapp._network.media._files.clear()
        with pytest.raises(RuntimeError, match="404"):
            await client.call("download", sent)


class Browser:
    """An HTTP client at the media host."""

    def __init__(self, tls: TLSStream) -> None:
        self._tls = tls
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        headers = [("Host", MEDIA_HOST), ("Content-Length", str(len(body)))]
        request = self._http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        request += self._http.send(h11.Data(data=body)) or b""
        await self._tls.send(request + (self._http.send(h11.EndOfMessage()) or b""))
        status, heard = 0, b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._tls.receive())
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                heard += event.data
            else:
                self._http.start_next_cycle()
                return status, heard


async def test_the_media_host(whatsapp: WhatsAppServer) -> None:
    address = urlsplit(whatsapp.proxy_url)
    async with await anyio.connect_tcp(str(address.hostname), address.port or 0) as stream:
        await stream.send(f"CONNECT {MEDIA_HOST}:443 HTTP/1.1\r\nHost: {MEDIA_HOST}\r\n\r\n".encode())
        await stream.receive()
        context = ssl.create_default_context(cafile=whatsapp.environment["SSL_CERT_FILE"])
        browser = Browser(
            await TLSStream.wrap(stream, hostname=MEDIA_HOST, ssl_context=context, standard_compatible=False)
        )
        file = secrets.token_bytes(300_000)
        status, body = await browser.ask("POST", "/mms/image/token?auth=a&token=b", file)
        uploaded = json.loads(body)
        assert (status, uploaded["url"]) == (200, f"https://{MEDIA_HOST}{uploaded['direct_path']}")
        digest = hashlib.sha256(file).hexdigest()
        status, body = await browser.ask("GET", uploaded["direct_path"] + "&hash=x&mms-type=image&__wa-mms=")
        assert (status, hashlib.sha256(body).hexdigest()) == (200, digest)
        assert await browser.ask("GET", "/v/unknown?x") == (404, b"")
        assert await browser.ask("POST", "/elsewhere", b"x") == (405, b"")
        assert await browser.ask("DELETE", "/mms/image/token") == (405, b"")
