"""What the OpenAPI document says of errors, with an example of each."""

from __future__ import annotations

from typing import Any

from ..http.bodies import ErrorBody
from ..http.errors import STATUS

REASONS: dict[int, tuple[str, str, str, dict[str, Any]]] = {
    401: ("No key, or a wrong one", "unauthorized", "A valid API key is required", {}),
    403: ("The key lacks the right", "forbidden", "This key does not have the right to send", {}),
    404: (
        "No such session, or none that this key reaches",
        "session_not_found",
        "Session not found for company 962302",
        {},
    ),
    406: ("None of the accepted types is offered", "not_acceptable", "There are application/json, image/png", {}),
    408: ("The body did not come in time", "request_timeout", "The body did not come within 20 s", {}),
    409: (
        "The session is in no state for this",
        "authentication_required",
        "Authentication required",
        {"qrCode": "data:image/png;base64,iVBORw0KGgo…"},
    ),
    413: ("Too much", "payload_too_large", "The body is larger than 1048576 bytes", {"limit": 1048576}),
    415: (
        "The body is not JSON",
        "unsupported_media_type",
        "The body has to be JSON: Content-Type: application/json",
        {},
    ),
    422: (
        "The request breaks a rule",
        "invalid_request",
        "The request is not valid: body.to: Field required",
        {"details": [{"where": "body.to", "problem": "Field required"}]},
    ),
    423: ("WhatsApp restricts the account or the recipient", "account_restricted", "No cold sends for now", {}),
    429: ("Too many messages or requests", "rate_limit_exceeded", "Rate limit exceeded", {"retryAfter": 45000}),
    500: ("The service failed", "internal_error", "The request failed; the log says more", {}),
    501: (
        "The extra prometheus is not installed",
        "not_implemented",
        "prometheus-client not found: pip install 'wasessionpool[prometheus]'",
        {},
    ),
    502: (
        "WhatsApp refused the message",
        "message_rejected",
        "WhatsApp refused the message (479)",
        {"serverCode": 479},
    ),
    503: ("The service cannot do it now", "pool_full", "The pool has 100 sessions, the most that it allows", {}),
    504: (
        "WhatsApp did not acknowledge: whether the message went out is unknown",
        "send_timeout",
        "No acknowledgement in time; whether the message went out is unknown",
        {"outcome": "unknown"},
    ),
}
EVERYWHERE = (401, 403, 422, 429, 500, 503)
WITH_BODY = (408, 413, 415)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's ``responses`` for the errors that every call has, and these."""
    return {status: _error(status) for status in sorted({*EVERYWHERE, *statuses})}


def _error(status: int) -> dict[str, Any]:
    description, code, said, more = REASONS[status]
    codes = [code for code, has in STATUS.items() if has == status]
    if codes:
        description += f" ({', '.join(codes)})"
    answer: dict[str, Any] = {
        "model": ErrorBody,
        "description": description,
        "content": {"application/json": {"example": {"success": False, "error": said, "code": code, **more}}},
    }
    if status == 429:
        answer["headers"] = {
            "Retry-After": {"description": "Seconds until it is worth another try", "schema": {"type": "integer"}}
        }
    return answer
