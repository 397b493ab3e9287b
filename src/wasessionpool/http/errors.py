"""Errors as HTTP answers: one table, one body."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import RateLimitExceeded, WhatsAppPoolError
from .bodies import Detail, ErrorBody

STATUS: Mapping[str, int] = {
    "invalid_company_id": 422,
    "invalid_recipient": 422,
    "invalid_message": 422,
    "session_not_found": 404,
    "session_not_connected": 409,
    "authentication_required": 409,
    "rate_limit_exceeded": 429,
    "send_timeout": 504,
    "pairing_timeout": 410,
    "pairing_failed": 410,
    "configuration_error": 500,
    "pool_closed": 503,
    "pool_full": 503,
    "session_locked": 409,
    "account_restricted": 423,
    "recipient_restricted": 423,
    "recipient_not_on_whatsapp": 422,
    "message_rejected": 502,
    "driver_error": 503,
    "worker_crashed": 503,
    "client_outdated": 503,
    "storage_error": 503,
    "session_failed": 409,
    "logged_out": 409,
    "payload_too_large": 413,
    "whatsapp_pool_error": 500,
}
"""The status of each error of the pool, by its code."""

SAID = {"rate_limit_exceeded": "Rate limit exceeded", "authentication_required": "Authentication required"}
"""Errors that clients have known by these words since before there were codes."""

INTERNAL = frozenset({"configuration_error", "storage_error", "driver_error", "worker_crashed", "whatsapp_pool_error"})
"""Errors whose message may name paths or processes of this host: it is for the log, the answer says what kind it is."""

CARRIED = ("status", "reason", "holder", "until", "server_code", "limit", "outcome", "send_id")
MAX_DETAILS = 20


class HttpError(Exception):
    """A request is refused by the REST interface itself, before the pool or in its place."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Iterable[Detail] = (),
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        carried: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = list(details)[:MAX_DETAILS]
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        self.carried = dict(carried or {})


@dataclass(frozen=True)
class ErrorAnswer:
    """What is answered to a request that failed."""

    status: int
    body: ErrorBody
    headers: Mapping[str, str] = field(default_factory=dict)


def unauthorized() -> HttpError:
    return HttpError(
        401, "unauthorized", "A valid API key is required", headers={"WWW-Authenticate": 'Bearer realm="whatsapp"'}
    )


def answer_to(error: WhatsAppPoolError | HttpError, *, may_pair: bool = False) -> ErrorAnswer:
    """Return the answer; only who ``may_pair`` is shown the code that links a phone."""
    if isinstance(error, HttpError):
        body = ErrorBody(
            error=error.message,
            code=error.code,
            retry_after=_milliseconds(error.retry_after),
            details=error.details or None,
            **error.carried,
        )
        return ErrorAnswer(error.status, body, error.headers | _retry_header(error.retry_after))
    wait = error.retry_after if isinstance(error, RateLimitExceeded) else None
    body = ErrorBody(
        error=_said(error),
        code=error.code,
        retry_after=_milliseconds(wait),
        **_pairing(error) if may_pair else {},
        **{name: getattr(error, name) for name in CARRIED if getattr(error, name, None) is not None},
    )
    return ErrorAnswer(_status(error), body, _retry_header(wait))


def _status(error: WhatsAppPoolError) -> int:
    """Return the status of an error, or of the nearest of its parents that has one."""
    codes = (kind.code for kind in type(error).__mro__ if issubclass(kind, WhatsAppPoolError))
    return next(STATUS[code] for code in codes if code in STATUS)


def _said(error: WhatsAppPoolError) -> str:
    if error.code in INTERNAL:
        return (inspect.getdoc(type(error)) or error.code).partition("\n")[0].rstrip(".")
    return SAID.get(error.code, error.message)


def _pairing(error: WhatsAppPoolError) -> dict[str, str]:
    qr, code = getattr(error, "qr", None), getattr(error, "pairing_code", None)
    return ({"qr_code": qr.data_url()} if qr else {}) | ({"pairing_code": code} if code else {})


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(seconds * 1000)


def _retry_header(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}
