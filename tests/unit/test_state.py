from __future__ import annotations

import pytest

from wasessionpool.models import DisconnectReason, Status
from wasessionpool.state import ENDED_BY, TABLE, Signal, next_status


def test_every_status_has_a_row_and_every_reason_a_meaning() -> None:
    assert set(TABLE) == set(Status)
    assert set(ENDED_BY) == set(DisconnectReason)


@pytest.mark.parametrize("status", [Status.LOGGED_OUT, Status.FAILED, Status.DISCONNECTED])
@pytest.mark.parametrize("signal", [Signal.CONNECTED, Signal.LOST, Signal.PAIRING_OFFERED])
def test_late_signals_never_revive_a_session_that_ended(status: Status, signal: Signal) -> None:
    assert next_status(status, signal) is None


def test_only_start_leaves_logged_out() -> None:
    assert TABLE[Status.LOGGED_OUT] == {Signal.START: Status.CONNECTING}


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.DISCONNECTED, Status.LOGGED_OUT)])
def test_whatever_runs_can_be_stopped(status: Status) -> None:
    assert next_status(status, Signal.STOP) is Status.DISCONNECTED


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (DisconnectReason.NETWORK, Status.RECONNECTING),
        (DisconnectReason.LOGGED_OUT, Status.LOGGED_OUT),
        (DisconnectReason.BANNED, Status.LOGGED_OUT),
        (DisconnectReason.TEMPORARILY_BANNED, Status.RESTRICTED),
        (DisconnectReason.REPLACED, Status.FAILED),
        (DisconnectReason.OUTDATED, Status.FAILED),
        (DisconnectReason.PAIRING_TIMEOUT, Status.DISCONNECTED),
    ],
)
def test_where_a_link_that_ends_leaves_the_session(reason: DisconnectReason, status: Status) -> None:
    assert next_status(Status.CONNECTED, ENDED_BY[reason]) is status
