"""How a request's body is read: of one type, of a bounded size and depth, within a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection
from email.message import Message
from typing import Any

import anyio
from pydantic_core import from_json

from .bodies import Detail
from .errors import HttpError

MAX_BODY = 1024 * 1024
"""Bytes: the longest text takes 12 bytes a character, where every one is escaped."""
BODY_TIMEOUT = 20.0
"""Seconds for a client to send the whole body."""
MAX_DEPTH = 32
"""Lists and objects within each other."""
MAX_VALUES = 4096
"""In all; metadata of 4 kB cannot have more. To say what is wrong with each of many would take seconds."""
_CLOSE = {"Connection": "close"}
"""The rest of a body that is not read to its end is not a next request."""


async def read_json(
    chunks: AsyncIterable[bytes],
    *,
    content_type: str | None,
    content_length: str | None,
    limit: int = MAX_BODY,
    timeout: float = BODY_TIMEOUT,
) -> tuple[bytes, Any]:
    """Return the body and what it says; raises ``HttpError`` 408, 413, 415 or 422."""
    if content_length is not None and content_length.isdecimal() and int(content_length[:20]) > limit:
        raise _too_large(limit)
    content = bytearray()
    with anyio.move_on_after(timeout) as scope:
        async for chunk in chunks:
            content += chunk
            if len(content) > limit:
                raise _too_large(limit)
    if scope.cancelled_caught:
        raise HttpError(408, "request_timeout", f"The body did not come within {timeout:g} s", headers=_CLOSE)
    if not _is_json(content_type):
        # Only now: a connection that is closed before the body was read may take the answer with it.
        raise HttpError(415, "unsupported_media_type", "The body has to be JSON: Content-Type: application/json")
    return bytes(content), _parsed(content)


def invalid(*details: Detail) -> HttpError:
    """Return the error of a request that breaks its schema; no detail repeats what was sent."""
    first = f": {details[0].where}: {details[0].problem}" if details else ""
    return HttpError(422, "invalid_request", f"The request is not valid{first}", details=details)


def _is_json(content_type: str | None) -> bool:
    message = Message()
    message["content-type"] = content_type or ""
    return bool(content_type) and message.get_content_type() == "application/json"


def _too_large(limit: int) -> HttpError:
    return HttpError(
        413, "payload_too_large", f"The body is larger than {limit} bytes", headers=_CLOSE, carried={"limit": limit}
    )


def _parsed(content: bytearray) -> Any:
    try:
        value = from_json(bytes(content), allow_inf_nan=False)
    except ValueError as error:
        # What the parser says names a place in the text, never the text.
        raise invalid(Detail(where="body", problem=f"it is not JSON: {error}")) from None
    level, count, depth = _within(value), 0, 0
    while level:
        count, depth = count + len(level), depth + 1
        if count > MAX_VALUES:
            raise invalid(Detail(where="body", problem=f"it has more than {MAX_VALUES} values"))
        if depth > MAX_DEPTH:
            raise invalid(Detail(where="body", problem=f"it is nested deeper than {MAX_DEPTH} levels"))
        level = [inner for one in level for inner in _within(one)]
    return value


def _within(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
