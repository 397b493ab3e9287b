"""The control API: a server, its phones, contacts and groups, called by name over HTTP and JSON."""

from __future__ import annotations

import base64
import dataclasses
import inspect
import ipaddress
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

from wasessionpool.testing.whatsapp.connection import BROKEN
from wasessionpool.testing.whatsapp.errors import WhatsAppServerError
from wasessionpool.testing.whatsapp.group import Group
from wasessionpool.testing.whatsapp.messages import ReceivedMessage
from wasessionpool.testing.whatsapp.network import logger
from wasessionpool.testing.whatsapp.server import WhatsAppServer

IDLE_TIMEOUT: Final = 60.0
MAX_BODY: Final = 32 * 1024 * 1024
_NOT_OFFERED: Final = frozenset({"contact", "driver", "environment", "phone", "save"})


class Refused(Exception):
    """A request that cannot be met; it is answered with an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """Calls public methods and reads public properties of a server, its phones, contacts and groups."""

    def __init__(self, whatsapp: WhatsAppServer) -> None:
        self._whatsapp = whatsapp

    async def run(self, method: str, path: str, arguments: Mapping[str, Any]) -> Any:
        """Return what a request asks for. Raises Refused, and what the called method raises."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match parts:
            case ["server", name]:
                return await _use(method, self._whatsapp, name, arguments)
            case ["phone" | "contact" as kind, number] if method == "POST":
                return {"number": self._noun(kind, number, **arguments).number}
            case ["phone" | "contact" as kind, number, name]:
                return await _use(method, self._noun(kind, number), name, arguments)
            case ["group", jid, name]:
                return await _use(method, self._group(jid), name, arguments)
        raise Refused(404, "there are /server/NAME, /phone/NUMBER, /phone/NUMBER/NAME, /contact/… and /group/JID/NAME")

    def _group(self, jid: str) -> Group:
        for group in self._whatsapp.groups:
            if group.jid == jid:
                return group
        raise Refused(404, f"there is no group {jid}")

    def _noun(self, kind: str, number: str, name: str = "") -> Any:
        return getattr(self._whatsapp, kind)(number, name)


async def _use(method: str, noun: Any, name: str, arguments: Mapping[str, Any]) -> Any:
    member = getattr(type(noun), name, None)
    if name.startswith("_") or name in _NOT_OFFERED:
        member = None
    if method == "GET" and isinstance(member, property):
        return getattr(noun, name)
    if method == "POST" and inspect.isfunction(member):
        positional, named = _bound(noun, member, arguments)
        result = getattr(noun, name)(*positional, **named)
        return await result if inspect.isawaitable(result) else result
    offered = [n for n, m in inspect.getmembers(type(noun)) if not n.startswith("_") and n not in _NOT_OFFERED]
    raise Refused(404, f"no {name} to {method} on {type(noun).__name__}; there are {', '.join(offered)}")


def _bound(noun: Any, function: Any, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call: messages are given by their ids, bytes in base64, `*numbers` as a list."""
    signature, named = inspect.signature(function), dict(arguments)
    positional: list[Any] = []
    for name, parameter in signature.parameters.items():
        if name in named:
            if parameter.annotation == ReceivedMessage.__name__:
                named[name] = _message(noun, named[name])
            elif parameter.annotation == bytes.__name__:
                named[name] = _bytes(name, named[name])
            elif parameter.kind is parameter.VAR_POSITIONAL:
                positional = list(named.pop(name))
    try:
        signature.bind(noun, *positional, **named)
    except TypeError as error:
        raise Refused(400, f"{function.__name__}: {error}") from None
    return positional, named


def _bytes(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise Refused(400, f"{name} is not base64") from None


def _message(noun: Any, message_id: str) -> ReceivedMessage:
    for message in noun.received:
        if message.id == message_id:
            return message  # type: ignore[no-any-return]
    raise Refused(404, f"{noun.number} has got no message {message_id}")


async def serve_control(
    whatsapp: WhatsAppServer, *, port: int = 0, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Serve the control API on loopback until cancelled; the started value is its URL."""
    control = Control(whatsapp)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener:

        async def serve(stream: SocketStream) -> None:
            async with stream:
                await _serve_client(control, stream)

        task_status.started(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")  # noqa: S610
        await listener.serve(serve)


async def _serve_client(control: Control, stream: SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        while True:
            with anyio.fail_after(IDLE_TIMEOUT):
                request, body = await _receive(connection, stream)
            status, answer = await _answer(control, request, body)
            content = json.dumps(answer, default=_plain).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
            head = h11.Response(status_code=status, headers=headers)
            parts = [connection.send(part) or b"" for part in (head, h11.Data(data=content), h11.EndOfMessage())]
            await stream.send(b"".join(parts))
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except (*BROKEN, TimeoutError, h11.ProtocolError):
        logger.debug("a client of the control API has gone")


async def _receive(connection: h11.Connection, stream: SocketStream) -> tuple[h11.Request, bytes]:
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive())
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise anyio.BrokenResourceError
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request, body
        else:
            raise anyio.EndOfStream


async def _answer(control: Control, request: h11.Request, body: bytes) -> tuple[int, Any]:
    method, path = request.method.decode("ascii"), urlsplit(request.target.decode("ascii")).path
    try:
        return 200, await control.run(method, path, _arguments(method, request, body))
    except Refused as error:
        return error.status, {"error": "Refused", "message": str(error)}
    except TimeoutError as error:
        return 504, _described(error)
    except (ValueError, LookupError, WhatsAppServerError) as error:
        return 409, _described(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
        logger.exception("the control API failed at %s %s", method, path)
        return 500, _described(error)


def _described(error: Exception) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)}


def _arguments(method: str, request: h11.Request, body: bytes) -> dict[str, Any]:
    """Read the JSON object of a request; a web page that a browser shows can send none of this kind unasked."""
    headers = dict(request.headers)
    if not _is_loopback(headers.get(b"host", b"").decode("ascii", "replace")):
        raise Refused(403, "the Host is not a loopback address")
    if method != "POST":
        return {}
    if headers.get(b"content-type", b"").split(b";")[0].strip() != b"application/json":
        raise Refused(415, "Content-Type: application/json expected")
    try:
        arguments = json.loads(body or b"{}")
    except ValueError as error:
        raise Refused(400, f"not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise Refused(400, "a JSON object of arguments by name expected")
    return arguments


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(urlsplit(f"//{host}").hostname or "").is_loopback
    except ValueError:
        return False


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
