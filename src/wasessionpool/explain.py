"""What happened to a session, what happens next and when, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from .models import DisconnectReason, SessionKey, SessionStatus, Status

HAPPENED: Mapping[DisconnectReason, str] = {
    DisconnectReason.REQUESTED: "It was disconnected on request.",
    DisconnectReason.SHUTDOWN: "The pool that ran it was closed.",
    DisconnectReason.IDLE: "Nothing was sent or received for a while.",
    DisconnectReason.NETWORK: "The line to WhatsApp was lost.",
    DisconnectReason.SERVER: "WhatsApp's server ended the link or refused it.",
    DisconnectReason.KEEPALIVE: "WhatsApp's server did not answer any more, though the line was open.",
    DisconnectReason.STALLED: "A send or call was not answered in time, so the link was given up.",
    DisconnectReason.PUMP_DEAD: "The client stopped reporting events, so the link was given up.",
    DisconnectReason.WORKER_CRASHED: "The worker process that held the link ended.",
    DisconnectReason.POISONED: "This session made its worker process abort twice, so it was taken out.",
    DisconnectReason.REPLACED: "Another client opened a link with the same keys and replaced this one.",
    DisconnectReason.LOGGED_OUT: "The device was unlinked: on the phone, by WhatsApp, or by a logout here.",
    DisconnectReason.BANNED: "WhatsApp banned the account.",
    DisconnectReason.TEMPORARILY_BANNED: "WhatsApp refuses the login of this account for a while.",
    DisconnectReason.OUTDATED: "WhatsApp refused this version of the client.",
    DisconnectReason.PAIRING_TIMEOUT: "Nobody confirmed the pairing on the phone before the last code expired.",
    DisconnectReason.PAIRING_FAILED: "The pairing was refused or broke off.",
    DisconnectReason.STORAGE: "Its files on disk cannot be read or written, or were found damaged.",
    DisconnectReason.LEASE_LOST: "Another process runs this session.",
}

ADVICE: Mapping[DisconnectReason, str] = {
    DisconnectReason.REPLACED: "Nothing follows by itself: find the other client first (a copy of the session path, "
    "perhaps), then create_session.",
    DisconnectReason.OUTDATED: "No session is started any more: upgrade neonize; the next pool "
    "that opens the session path starts it.",
    DisconnectReason.STORAGE: "See what `wasessionpool doctor` says; create_session tries at once.",
    DisconnectReason.LEASE_LOST: "It can be used there; here, create_session takes it over once that process lets go.",
    DisconnectReason.PAIRING_TIMEOUT: "Nothing follows by itself: create_session offers new codes.",
    DisconnectReason.PAIRING_FAILED: "Nothing follows by itself: create_session begins the pairing anew.",
    DisconnectReason.BANNED: "Nothing follows by itself: appeal in WhatsApp on the phone; once it is lifted, "
    "create_session pairs anew.",
}
"""What can be done, where no time is known at which anything happens by itself."""


def explain(status: SessionStatus, now: datetime, *, planned_elsewhere: bool = False) -> str:
    """Say what happened to the session, what happens next and when; ``now`` is an aware time.

    With ``planned_elsewhere`` the status is what another process has saved, which alone knows when it tries again.
    """
    sentences = [f"Session {_name(status)} is {status.status.value.replace('_', ' ')}.", *_happened(status)]
    if planned_elsewhere and status.status in (Status.RECONNECTING, Status.FAILED):
        sentences.append("It tries again by itself.")
    else:
        sentences += _next(status, now)
    if status.last_error and status.status is not Status.CONNECTED:
        sentences.append(f"The last error was: {status.last_error.rstrip('.')}{_ago(status.last_error_at, now)}.")
    return " ".join(sentences)


def _name(status: SessionStatus) -> str:
    return str(SessionKey(status.company_id, status.device))


def _happened(status: SessionStatus) -> list[str]:
    reason = status.disconnect_reason
    return [HAPPENED[reason]] if reason is not None and status.status is not Status.CONNECTED else []


def _next(status: SessionStatus, now: datetime) -> list[str]:
    match status.status:
        case Status.CONNECTED:
            return _connected(status, now)
        case Status.CONNECTING:
            return ["The link is being started; it is connected, or waits for the phone, within a minute."]
        case Status.PAIRING:
            return _pairing(status, now)
        case Status.RECONNECTING:
            number = f"Attempt {status.reconnect_attempts}" if status.reconnect_attempts else "An attempt"
            if status.next_retry_at is None:
                return [f"{number} to reconnect is under way."]
            return [f"{number} to reconnect follows {_at(status.next_retry_at, now)}."]
        case Status.RESTRICTED:
            until = status.restricted_until or status.next_retry_at
            if until is None:
                return ["It comes back by itself once WhatsApp allows it."]
            return [f"It comes back by itself {_at(until, now)}; nothing can be done before."]
        case Status.SLEEPING:
            wakes = f" {_at(status.next_retry_at, now)}," if status.next_retry_at else ""
            return [f"It wakes{wakes} on a send or on create_session."]
        case Status.LOGGED_OUT:
            pairs = "Nothing follows by itself: create_session pairs the phone anew."
            return [ADVICE.get(status.disconnect_reason, pairs) if status.disconnect_reason else pairs]
        case Status.FAILED:
            return _failed(status, now)
        case Status.DISCONNECTED:
            return _disconnected(status, now)


def _connected(status: SessionStatus, now: datetime) -> list[str]:
    said = []
    if status.phone_number:
        said.append(f"It is linked to {status.phone_number}{_since(status.connected_at, now)}.")
    if status.health == "suspect":
        said.append("WhatsApp's server did not answer when it was asked: if it goes on, the link is made anew.")
    if status.restriction == "reach_out":
        until = f" {_at(status.restricted_until, now)}" if status.restricted_until else ""
        tried = "WhatsApp did not say until when: each 6 h one message is let through, and ends this where it is taken."
        ends = f"this ends{until}." if until else tried
        said.append(f"WhatsApp lets it answer, but not write to people who never wrote to it; {ends}")
    return said or ["Messages are sent and received."]


def _pairing(status: SessionStatus, now: datetime) -> list[str]:
    if status.pairing_code is not None:
        return ["A pairing code waits to be typed on the phone: WhatsApp › Linked devices › Link with phone number."]
    if status.qr is not None:
        scan = "A QR code waits to be scanned: WhatsApp › Linked devices › Link a device."
        return [scan, f"It expires {_at(status.qr.expires_at, now)}; a few more follow, then the pairing is given up."]
    return ["The next code is awaited."]


def _failed(status: SessionStatus, now: datetime) -> list[str]:
    reason = status.disconnect_reason
    if status.next_retry_at is not None:
        attempts = status.reconnect_attempts
        gave_up = f" after {attempts} attempt{'s' * (attempts > 1)}" if attempts else ""
        return [f"The pool gave up{gave_up}; it tries again {_at(status.next_retry_at, now)}."]
    nothing = "No attempt is planned: create_session tries anew."
    return [ADVICE.get(reason, nothing) if reason is not None else nothing]


def _disconnected(status: SessionStatus, now: datetime) -> list[str]:
    reason = status.disconnect_reason
    if reason is DisconnectReason.LEASE_LOST and status.next_retry_at is not None:
        looks = f"The pool looks again {_at(status.next_retry_at, now)} whether that has let go of it"
        return [f"It can be used there. {looks}; create_session looks at once."]
    if reason is None:
        return ["It was not started since. create_session starts it."]
    if reason is DisconnectReason.SHUTDOWN:
        return ["The next pool that opens the session path starts it, unless it was told to stay down."]
    return [ADVICE.get(reason, "It stays down until create_session.")]


def _at(time: datetime, now: datetime) -> str:
    left = time - now
    if left <= timedelta(0):
        return "now"
    day = "%H:%M:%S" if left < timedelta(hours=12) else "%Y-%m-%d %H:%M"
    return f"in {_lasting(left)}, at {time:{day}} UTC"


def _ago(time: datetime | None, now: datetime) -> str:
    return f", {_lasting(now - time)} ago" if time is not None else ""


def _since(time: datetime | None, now: datetime) -> str:
    return f", and has been connected for {_lasting(now - time)}" if time is not None else ""


def _lasting(length: timedelta) -> str:
    """Return a length in its largest unit, rounded, or in two where that would say too little."""
    seconds = max(0, round(length.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} s"
