"""The host of files: HTTPS inside the same tunnel that leads to everything else."""

from __future__ import annotations

import json
import ssl

import anyio
import h11
from anyio.streams.tls import TLSStream

from wasessionpool.testing.whatsapp.errors import ProtocolError
from wasessionpool.testing.whatsapp.media import MEDIA_HOST, MediaStore
from wasessionpool.testing.whatsapp.tcp import TcpStream

MAX_UPLOAD = 128 * 1024 * 1024
IDLE_TIMEOUT = 60.0
"""For one request; a client keeps its connection for the next file."""


async def serve_media(store: MediaStore, stream: TcpStream, context: ssl.SSLContext) -> None:
    """Take and hand out files until the client goes or says nothing for a minute.

    Raises TimeoutError, ProtocolError and anyio's and ssl's errors.
    """
    with anyio.fail_after(IDLE_TIMEOUT):
        tls = await TLSStream.wrap(stream, server_side=True, ssl_context=context, standard_compatible=False)
    http = h11.Connection(h11.SERVER)
    while True:
        with anyio.move_on_after(IDLE_TIMEOUT):
            request = await _receive(http, tls)
            if request is None:
                return
            status, kind, body = _answer(store, *request)
            headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
            answer = http.send(h11.Response(status_code=status, headers=headers)) or b""
            answer += http.send(h11.Data(data=body)) or b""
            await tls.send(answer + (http.send(h11.EndOfMessage()) or b""))
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()
            continue
        return


async def _receive(http: h11.Connection, tls: TLSStream) -> tuple[h11.Request, bytes] | None:
    request: h11.Request | None = None
    body = bytearray()
    while True:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as error:
            raise ProtocolError(f"not an HTTP request for a file: {error}") from None
        if event is h11.NEED_DATA:
            try:
                http.receive_data(await tls.receive())
            except anyio.EndOfStream:
                http.receive_data(b"")
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_UPLOAD:
                raise ProtocolError("a file that is too large")
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None  # noqa: S101
            return request, bytes(body)
        else:
            return None


def _answer(store: MediaStore, request: h11.Request, body: bytes) -> tuple[int, str, bytes]:
    path = request.target.decode("ascii", "replace")
    match request.method:
        case b"POST" if path.startswith("/mms/"):
            direct_path = store.put(body)
            uploaded = {
                "url": f"https://{MEDIA_HOST}{direct_path}",
                "direct_path": direct_path,
                "handle": "",
                "object_id": "",
            }
            return 200, "application/json", json.dumps(uploaded).encode()
        case b"GET":
            sealed = store.get(path)
            if sealed is not None:
                return 200, "application/octet-stream", sealed
            return 404, "text/plain", b""
    return 405, "text/plain", b""
