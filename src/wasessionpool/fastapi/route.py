"""The route class: it lets requests in, reads their bodies and answers their errors, on our routes only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, ClassVar

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import WhatsAppPoolError
from ..http.access import Access
from ..http.bodies import Answer, Detail
from ..http.calls import Calls
from ..http.errors import HttpError, answer_to
from ..http.reading import invalid, read_json
from ..http.rights import NEEDED, Grant

logger = logging.getLogger(__name__)

SCOPE = "wasessionpool"
SECURITY: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer: nothing of it is kept, framed, run or taken for another type."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ReadRequest(Request):
    """A request whose body was read already, within its limits."""

    def __init__(self, request: Request, content: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._content = content
        self._value = value

    async def body(self) -> bytes:
        return self._content

    async def json(self) -> Any:
        return self._value


class Route(APIRoute):
    """A call of the REST interface; its name is the call's, in ``NEEDED``.

    The order is: key, number of requests, right, body, and then FastAPI's own checks.
    """

    access: ClassVar[Access]
    calls: ClassVar[Calls]
    max_body: ClassVar[int]
    body_timeout: ClassVar[float]

    def get_route_handler(self) -> Handler:
        inner, call, takes_body = super().get_route_handler(), self.name, self.body_field is not None
        NEEDED[call]

        async def handle(request: Request) -> Response:
            grant = None
            try:
                grant = await self.access.admit(call, request.headers)
                request.scope[SCOPE] = self.calls, grant
                response = await inner(await self._read(request) if takes_body else request)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            except Exception as error:  # noqa: BLE001 - it is answered, and logged where nobody foresaw it
                response = failure(error, grant)
            secure(response)
            return response

        return handle

    async def _read(self, request: Request) -> ReadRequest:
        headers = request.headers
        content, value = await read_json(
            request.stream(),
            content_type=headers.get("content-type"),
            content_length=headers.get("content-length"),
            limit=self.max_body,
            timeout=self.body_timeout,
        )
        return ReadRequest(request, content, value)


def _calls_of(request: Request) -> Calls:
    calls: Calls = request.scope[SCOPE][0]
    return calls


def _grant_of(request: Request) -> Grant:
    grant: Grant = request.scope[SCOPE][1]
    return grant


TheCalls = Annotated[Calls, Depends(_calls_of)]
TheGrant = Annotated[Grant, Depends(_grant_of)]


def respond(answer: Answer, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(answer.json_bytes(), status, headers, media_type="application/json")


def failure(error: Exception, grant: Grant | None = None) -> Response:
    """Return what is answered to a request that failed; what nobody foresaw is logged."""
    said = _known(error)
    if said is None:
        logger.error("a request failed with %s", type(error).__name__, exc_info=error)
        said = HttpError(500, "internal_error", "The request failed; the log says more")
    elif isinstance(said, WhatsAppPoolError):
        logger.log(logging.WARNING if _is_ours(said) else logging.DEBUG, "a request failed: %s", said.message)
    answer = answer_to(said, may_pair=grant is not None and "manage" in grant.rights)
    return respond(answer.body, answer.status, answer.headers)


def secure(response: Response) -> None:
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)


def _known(error: Exception) -> WhatsAppPoolError | HttpError | None:
    if isinstance(error, WhatsAppPoolError | HttpError):
        return error
    if isinstance(error, RequestValidationError):
        return invalid(*(_detail(one) for one in error.errors()))
    if isinstance(error, HTTPException):
        codes = {404: "not_found", 405: "method_not_allowed"}
        headers = error.headers or {}
        return HttpError(error.status_code, codes.get(error.status_code, "http_error"), error.detail, headers=headers)
    return None


def _detail(error: Mapping[str, Any]) -> Detail:
    """Say where and what; not the input, which may be a message's text."""
    return Detail(where=".".join(map(str, error["loc"]))[:200], problem=str(error["msg"])[:200])


def _is_ours(error: WhatsAppPoolError) -> bool:
    return answer_to(error).status >= 500
