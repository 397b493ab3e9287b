"""The events' type tells which they are, and the errors' attributes have types; checked, never run."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_type

from wasessionpool import (
    AccountRestricted,
    AuthenticationRequired,
    DisconnectReason,
    DriverError,
    Event,
    PayloadTooLarge,
    QRCode,
    RateLimitExceeded,
    SendTimeout,
    SessionLocked,
    SessionNotConnected,
    Status,
    WhatsAppPoolError,
    WorkerCrashed,
)


def tell(event: Event) -> str:
    assert_type(event.id, str)
    assert_type(event.time, datetime)
    assert_type(event.redelivered, bool)
    match event.type:
        case "connected":
            return assert_type(event.phone_number, str)
        case "disconnected":
            return assert_type(event.reason, DisconnectReason)
        case "reconnecting":
            assert_type(event.attempt, int)
            return f"in {assert_type(event.delay, float)} s"
        case "restricted":
            assert_type(event.until, datetime | None)
            return assert_type(event.kind, Literal["login", "reach_out"])
        case "status":
            return assert_type(event.current, Status)
        case "receipt":
            assert_type(event.message_ids, tuple[str, ...])
            return assert_type(event.receipt, Literal["delivered", "read", "played"])
        case "error":
            assert_type(event.send_id, str | None)
            return assert_type(event.code, str)
        case _:
            return event.type


def tell_of_an_error(error: WhatsAppPoolError) -> object:
    assert_type(error.code, str)
    assert_type(error.message, str)
    match error:
        case RateLimitExceeded():
            return assert_type(error.retry_after, float)
        case AuthenticationRequired():
            assert_type(error.pairing_code, str | None)
            return assert_type(error.qr, QRCode | None)
        case SessionNotConnected():
            assert_type(error.reason, DisconnectReason | None)
            return assert_type(error.status, Status)
        case SessionLocked():
            return assert_type(error.holder, str)
        case AccountRestricted():
            return assert_type(error.until, datetime | None)
        case PayloadTooLarge():
            return assert_type(error.limit, int)
        case SendTimeout():
            assert_type(error.send_id, str | None)
            return assert_type(error.outcome, Literal["unknown"])
        case _:
            return None


def wider(error: WorkerCrashed) -> DriverError:
    return error
