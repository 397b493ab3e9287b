"""The state machine of a session: one table, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from .models import DisconnectReason, Status


class Signal(StrEnum):
    """What a session's status depends on."""

    START = "start"
    PAIRING_OFFERED = "pairing_offered"
    CONNECTED = "connected"
    LOST = "lost"
    RETRY = "retry"
    PAIRING_ENDED = "pairing_ended"
    RESTRICTED = "restricted"
    LOGGED_OUT = "logged_out"
    FAILED = "failed"
    SLEEP = "sleep"
    STOP = "stop"


_ENDINGS: Mapping[Signal, Status] = {
    Signal.LOST: Status.RECONNECTING,
    Signal.PAIRING_ENDED: Status.DISCONNECTED,
    Signal.RESTRICTED: Status.RESTRICTED,
    Signal.LOGGED_OUT: Status.LOGGED_OUT,
    Signal.FAILED: Status.FAILED,
    Signal.STOP: Status.DISCONNECTED,
}

TABLE: Mapping[Status, Mapping[Signal, Status]] = {
    Status.DISCONNECTED: {Signal.START: Status.CONNECTING, Signal.LOGGED_OUT: Status.LOGGED_OUT},
    Status.CONNECTING: {
        **_ENDINGS,
        Signal.PAIRING_OFFERED: Status.PAIRING,
        Signal.CONNECTED: Status.CONNECTED,
    },
    Status.PAIRING: {**_ENDINGS, Signal.CONNECTED: Status.CONNECTED},
    Status.CONNECTED: {**_ENDINGS, Signal.SLEEP: Status.SLEEPING},
    Status.RECONNECTING: {
        **_ENDINGS,
        Signal.PAIRING_OFFERED: Status.PAIRING,
        Signal.CONNECTED: Status.CONNECTED,
    },
    Status.RESTRICTED: {
        Signal.RETRY: Status.CONNECTING,
        Signal.LOGGED_OUT: Status.LOGGED_OUT,
        Signal.STOP: Status.DISCONNECTED,
    },
    Status.SLEEPING: {
        Signal.START: Status.CONNECTING,
        Signal.LOGGED_OUT: Status.LOGGED_OUT,
        Signal.STOP: Status.DISCONNECTED,
    },
    Status.LOGGED_OUT: {Signal.START: Status.CONNECTING},
    Status.FAILED: {
        Signal.START: Status.CONNECTING,
        Signal.RETRY: Status.RECONNECTING,
        Signal.LOGGED_OUT: Status.LOGGED_OUT,
        Signal.STOP: Status.DISCONNECTED,
    },
}
"""Status × signal → status. A cell that is not there means that the signal is ignored: late events are normal."""

ENDED_BY: Mapping[DisconnectReason, Signal] = {
    DisconnectReason.REQUESTED: Signal.STOP,
    DisconnectReason.SHUTDOWN: Signal.STOP,
    DisconnectReason.LEASE_LOST: Signal.STOP,
    DisconnectReason.IDLE: Signal.SLEEP,
    DisconnectReason.NETWORK: Signal.LOST,
    DisconnectReason.SERVER: Signal.LOST,
    DisconnectReason.KEEPALIVE: Signal.LOST,
    DisconnectReason.STALLED: Signal.LOST,
    DisconnectReason.PUMP_DEAD: Signal.LOST,
    DisconnectReason.WORKER_CRASHED: Signal.LOST,
    DisconnectReason.TEMPORARILY_BANNED: Signal.RESTRICTED,
    DisconnectReason.LOGGED_OUT: Signal.LOGGED_OUT,
    DisconnectReason.BANNED: Signal.LOGGED_OUT,
    DisconnectReason.PAIRING_TIMEOUT: Signal.PAIRING_ENDED,
    DisconnectReason.PAIRING_FAILED: Signal.PAIRING_ENDED,
    DisconnectReason.REPLACED: Signal.FAILED,
    DisconnectReason.OUTDATED: Signal.FAILED,
    DisconnectReason.STORAGE: Signal.FAILED,
    DisconnectReason.POISONED: Signal.FAILED,
}
"""What the end of a link means, by its reason."""

REVIVABLE = frozenset({DisconnectReason.STORAGE, DisconnectReason.POISONED})
"""Failures that may pass by themselves; a session that failed for another reason of its own stays down."""


def next_status(status: Status, signal: Signal) -> Status | None:
    """Return the status that follows, or ``None`` where ``signal`` means nothing in ``status``."""
    return TABLE[status].get(signal)
