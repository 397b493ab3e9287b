"""The errors are those of the documented table, and each can be caught by its public name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import wasessionpool
from wasessionpool import DisconnectReason, Status, WhatsAppPoolError

REASON = DisconnectReason.NETWORK
ERRORS: dict[str, dict[str, Any]] = {
    "invalid_company_id": {},
    "invalid_recipient": {},
    "invalid_message": {},
    "session_not_found": {},
    "session_not_connected": {"status": Status.RECONNECTING, "reason": REASON},
    "authentication_required": {"qr": None, "pairing_code": "ABCD1234"},
    "rate_limit_exceeded": {"retry_after": 1.5},
    "send_timeout": {"send_id": "01J"},
    "pairing_timeout": {},
    "pairing_failed": {},
    "configuration_error": {},
    "pool_closed": {},
    "pool_full": {},
    "session_locked": {"holder": "process 1"},
    "account_restricted": {"until": datetime(2026, 1, 1, tzinfo=UTC)},
    "recipient_restricted": {},
    "recipient_not_on_whatsapp": {},
    "message_rejected": {"server_code": 479},
    "driver_error": {},
    "worker_crashed": {},
    "client_outdated": {},
    "storage_error": {},
    "session_failed": {"reason": REASON},
    "logged_out": {"reason": REASON},
    "payload_too_large": {"limit": 7},
}


def descendants(error: type[WhatsAppPoolError]) -> set[type[WhatsAppPoolError]]:
    ours = [child for child in error.__subclasses__() if child.__module__.split(".")[0] == "wasessionpool"]
    return {error}.union(*map(descendants, ours))


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_is_named_as_its_code_and_carries_what_the_caller_needs(code: str) -> None:
    kind = getattr(wasessionpool, "".join(part.capitalize() for part in code.split("_")))
    error = kind("what went wrong", **ERRORS[code])
    assert isinstance(error, WhatsAppPoolError)
    assert (error.code, error.message, str(error)) == (code, "what went wrong", "what went wrong")
    assert {name: getattr(error, name) for name in ERRORS[code]} == ERRORS[code]
    assert "ABCD1234" not in repr(error)


def test_there_are_no_others() -> None:
    assert {error.code for error in descendants(WhatsAppPoolError)} == {"whatsapp_pool_error", *ERRORS}


def test_the_outcome_of_a_send_that_timed_out_is_unknown() -> None:
    assert wasessionpool.SendTimeout("x").outcome == "unknown"
