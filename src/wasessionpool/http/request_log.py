"""The id of a request, in its answer and in every log line of it, and a line for each request."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ulid import ULID

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

ACCESS = f"{__package__}.access"
"""The logger that has one line for each request."""
HEADER = b"x-request-id"
NOBODY_WAITED = 499
"""What the line says where the client was gone before there was an answer, as nginx does."""
MAX_PATH = 200
_SANE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")

access = logging.getLogger(ACCESS)


@dataclass(slots=True)
class _Request:
    """A request under way. Tasks that outlive it, as a session's that it has started, do not speak in its name."""

    id: str
    is_over: bool = False


_current: ContextVar[_Request | None] = ContextVar("wasessionpool_request", default=None)


def request_id() -> str | None:
    """Return the id of the request that is being answered; ``None`` outside of one."""
    request = _current.get()
    return None if request is None or request.is_over else request.id


class RequestLog:
    """Wraps an ASGI application: ``X-Request-ID`` is taken over where it is sane, else made, and answered.

    The line has the path without its query, in which a client may have put what is secret.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        request, status, began = _Request(_id_of(scope["headers"])), NOBODY_WAITED, time.perf_counter()

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [header for header in message.get("headers", ()) if header[0].lower() != HEADER]
                message = {**message, "headers": [*headers, (HEADER, request.id.encode())]}
            await send(message)

        token = _current.set(request)
        try:
            await self._application(scope, receive, tell)
        finally:
            _say(scope, status, (time.perf_counter() - began) * 1000)
            request.is_over = True
            _current.reset(token)


def _id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    given = [value for name, value in headers if name.lower() == HEADER]
    return given[0].decode("ascii") if len(given) == 1 and _SANE.fullmatch(given[0]) else str(ULID())


def _say(scope: Scope, status: int, milliseconds: float) -> None:
    client = scope.get("client")
    path = (scope.get("raw_path") or scope["path"].encode()).decode("ascii", "backslashreplace")
    fields = {
        "client": client[0] if client else "-",
        "method": scope["method"],
        "path": path if len(path) <= MAX_PATH else f"{path[:MAX_PATH]}…",
        "status": status,
        "milliseconds": round(milliseconds, 1),
    }
    access.info('%(client)s "%(method)s %(path)s" %(status)d %(milliseconds).1f ms', fields, extra=fields)
