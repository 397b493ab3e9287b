"""Every status with every reason says what happened and what follows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from wasessionpool import DisconnectReason, QRCode, SessionStatus, Status
from wasessionpool.explain import HAPPENED, explain

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def said(status: Status, reason: DisconnectReason | None = None, **fields: Any) -> str:
    return explain(
        SessionStatus(company_id="962302", device="main", status=status, disconnect_reason=reason, **fields), NOW
    )


def after(**length: float) -> datetime:
    return NOW + timedelta(**length)


@pytest.mark.parametrize(("status", "reason"), list(product(Status, [None, *DisconnectReason])))
@pytest.mark.parametrize("later", [None, after(seconds=30)])
def test_every_status_with_every_reason(
    status: Status, reason: DisconnectReason | None, later: datetime | None
) -> None:
    text = said(status, reason, next_retry_at=later, restricted_until=later, reconnect_attempts=3)
    assert text.startswith(f"Session 962302 is {status.replace('_', ' ')}. ")
    assert "None" not in text
    assert "\n" not in text
    assert re.search(r"[.]$", text)
    if reason is not None and status is not Status.CONNECTED:
        assert HAPPENED[reason] in text
        assert len(text.split(". ")) >= 3, "what happened, and what follows"
    else:
        assert len(text.split(". ")) >= 2
    timed = {Status.RECONNECTING, Status.RESTRICTED, Status.SLEEPING, Status.FAILED}
    waits = status is Status.DISCONNECTED and reason is DisconnectReason.LEASE_LOST
    assert ("in 30 s, at 12:00:30 UTC" in text) == (later is not None and (status in timed or waits))


@pytest.mark.parametrize("status", [Status.LOGGED_OUT, Status.DISCONNECTED, Status.FAILED])
@pytest.mark.parametrize("reason", [None, *DisconnectReason])
def test_what_does_not_come_back_says_how_it_does(status: Status, reason: DisconnectReason | None) -> None:
    assert re.search("create_session|next pool", said(status, reason))


@pytest.mark.parametrize("status", [Status.RECONNECTING, Status.FAILED])
def test_what_another_process_plans_is_not_guessed(status: Status) -> None:
    saved = SessionStatus(company_id="962302", device="main", status=status, disconnect_reason=DisconnectReason.NETWORK)
    text = explain(saved, NOW, planned_elsewhere=True)
    assert text.endswith("The line to WhatsApp was lost. It tries again by itself.")


def test_a_device_is_named() -> None:
    text = explain(SessionStatus(company_id="962302", device="sales", status=Status.CONNECTING), NOW)
    assert text.startswith("Session 962302:sales is connecting. ")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"phone_number": "+79686484488"}, "It is linked to +79686484488."),
        (
            {"phone_number": "+79686484488", "connected_at": after(hours=-3)},
            "It is linked to +79686484488, and has been connected for 3 h.",
        ),
        ({"health": "suspect"}, "did not answer when it was asked"),
        ({"restriction": "reach_out"}, "WhatsApp did not say until when: each 6 h one message is let through"),
        ({"restriction": "reach_out", "restricted_until": after(days=3)}, "ends in 3 d, at 2026-01-04 12:00 UTC."),
    ],
)
def test_connected(fields: dict[str, Any], says: str) -> None:
    assert says in said(Status.CONNECTED, **fields)


def test_a_connected_session_has_no_old_trouble() -> None:
    assert "error" not in said(Status.CONNECTED, last_error="the line is lost", last_error_at=NOW)


def test_pairing_says_what_to_do_and_never_the_code() -> None:
    text = said(Status.PAIRING, qr=QRCode("2@secret", after(seconds=43)))
    assert "QR code waits" in text
    assert "in 43 s, at 12:00:43 UTC" in text
    assert "secret" not in text
    text = said(Status.PAIRING, pairing_code="ABCD1234")
    assert "typed on the phone" in text
    assert "ABCD" not in text


def test_a_retry_names_its_number_and_time() -> None:
    network = DisconnectReason.NETWORK
    text = said(Status.RECONNECTING, network, reconnect_attempts=3, next_retry_at=after(seconds=20))
    assert text == (
        "Session 962302 is reconnecting. The line to WhatsApp was lost. "
        "Attempt 3 to reconnect follows in 20 s, at 12:00:20 UTC."
    )
    assert "Attempt 3 to reconnect is under way." in said(Status.RECONNECTING, network, reconnect_attempts=3)
    assert "follows now." in said(Status.RECONNECTING, network, next_retry_at=after(seconds=-1))


def test_a_ban_names_its_end() -> None:
    text = said(Status.RESTRICTED, DisconnectReason.TEMPORARILY_BANNED, restricted_until=after(hours=20))
    assert "by itself in 20 h, at 2026-01-02 08:00 UTC" in text


def test_a_failure_says_when_it_is_tried_again() -> None:
    text = said(Status.FAILED, DisconnectReason.SERVER, reconnect_attempts=10, next_retry_at=after(minutes=15))
    assert "The pool gave up after 10 attempts; it tries again in 15 min, at 12:15:00 UTC." in text
    assert "upgrade neonize" in said(Status.FAILED, DisconnectReason.OUTDATED)


def test_the_last_error_is_told() -> None:
    text = said(Status.FAILED, DisconnectReason.STORAGE, last_error="disk full.", last_error_at=after(minutes=-5))
    assert text.endswith("The last error was: disk full, 5 min ago.")
