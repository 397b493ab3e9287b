"""What ends a link, and what follows: each thing that WhatsApp, the network or neonize does, from the fault to the end.

Pairings that end are in `test_pairing_endings.py`, sessions that make workers abort in `test_workers.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import (
    AuthenticationRequired,
    ClientOutdated,
    DisconnectReason,
    DriverError,
    MessageRejected,
    RecipientRestricted,
    SendTimeout,
    SessionFailed,
    SessionNotConnected,
    SessionStatus,
    Status,
)
from wasessionpool.link import MOST_BLIPS
from wasessionpool.testing import Phone, WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES, Application, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY, OTHER = PHONES
PHONE = PHONES[COMPANY]
UNTOLD = ("message", "message_sent", "receipt", "presence", "contact")


def told(app: Application, company_id: str = COMPANY) -> list[str]:
    """What was heard of a session, an event a line."""
    return [_line(event) for event in app.heard.events if event.company_id == company_id and event.type not in UNTOLD]


def _line(event: Any) -> str:
    match event.type:
        case "status":
            return " ".join(filter(None, ("status", event.current, event.reason)))
        case "reconnecting":
            return f"reconnecting {event.attempt} {event.delay:g}"
        case "reconnect_failed":
            return f"reconnect_failed {event.attempts} {event.reason}"
        case "disconnected" | "logout":
            return f"{event.type} {event.reason}"
        case "restricted":
            return f"restricted {event.kind}"
        case "error":
            return f"error {event.code}"
    return str(event.type)


async def hear(app: Application, *lines: str, company_id: str = COMPANY) -> None:
    """Wait for these events of a session, and check that they are all there were, in this order."""
    with anyio.move_on_after(PATIENCE):
        while len(told(app, company_id)) < len(lines):
            await app.heard.next()
    assert told(app, company_id) == list(lines)


async def linked(app: Application, whatsapp: WhatsAppServer, company_id: str = COMPANY) -> Phone:
    """Link a company, and forget what was heard."""
    phone = whatsapp.phone(PHONES[company_id])
    await app.link(phone, company_id)
    app.heard.events.clear()
    return phone


async def works(app: Application, whatsapp: WhatsAppServer, company_id: str = COMPANY) -> None:
    """Send and receive over the link that there is now."""
    bob = whatsapp.contact(BOB)
    await app.pool.send_message(company_id, BOB, "still here")
    while (await bob.next_message()).text != "still here":
        pass
    await bob.send(PHONES[company_id], "are you?")
    await app.heard.message("are you?", company_id)


async def status_of(app: Application, company_id: str = COMPANY) -> SessionStatus:
    return await app.pool.get_session_status(company_id)


Strike = Callable[[Phone], Awaitable[Any]]


def failed_login(reason: int, times: int = 1, **attrs: str | int) -> Strike:
    """Refuse the next logins, and make the client log in."""

    async def strike(phone: Phone) -> None:
        phone.fail_login(reason, times=times, **attrs)
        await phone.drop()

    return strike


def dropped(**how: bool) -> Strike:
    return lambda phone: phone.drop(**how)


def stream_error(code: int | str) -> Strike:
    return lambda phone: phone.stream_error(code)


BLIPS: dict[str, tuple[Strike, str]] = {
    "reset": (dropped(), "network"),
    "end of the line": (dropped(reset=False), "network"),
    "end of the stream": (dropped(stream_end=True), "network"),
    "failure 500": (failed_login(500), "network"),
    "failure 503": (failed_login(503), "network"),
    "stream error 500": (stream_error(500), "server"),
    "stream error 503": (stream_error(503), "network"),
    "stream error 516": (stream_error(516), "server"),
}


@pytest.mark.parametrize(("strike", "reason"), BLIPS.values(), ids=BLIPS)
async def test_a_blip_tells_the_status_and_counts_no_attempt(
    whatsapp: WhatsAppServer, application: OpenApplication, strike: Strike, reason: str
) -> None:
    async with application(reconnect_grace=20) as app:
        phone = await linked(app, whatsapp)
        logins = phone.logins
        await strike(phone)
        await hear(app, f"status reconnecting {reason}", "status connected")
        await works(app, whatsapp)
        status = await status_of(app)
        assert (status.status, status.disconnect_reason, status.reconnect_attempts) == (Status.CONNECTED, None, 0)
        assert phone.logins == logins + 1
        assert (await app.pool.get_metrics()).reconnects == 0


async def test_a_line_that_breaks_whenever_it_is_up_is_not_dialled_without_an_end(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    """whatsmeow itself dials at once, each time."""
    async with application(reconnect_grace=20, reconnect_base_delay=0.1) as app:
        phone = await linked(app, whatsapp)
        blip, heard = ["status reconnecting network", "status connected"], []
        for _ in range(MOST_BLIPS):
            await phone.drop()
            heard += blip
            await hear(app, *heard)
        await phone.drop()
        lost = ["status reconnecting network", "disconnected network", "reconnecting 1 0.1"]
        await hear(app, *heard, *lost, "status connected", "connected")
        await works(app, whatsapp)
        metrics = await app.pool.get_metrics()
        assert (metrics.blips, metrics.reconnects) == (MOST_BLIPS, 1)


async def test_a_restart_that_the_server_asks_for_is_not_told(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    async with application() as app:
        phone = await linked(app, whatsapp)
        logins = phone.logins
        await phone.stream_error(515)
        await phone.wait_connected(logins=logins + 1)
        await works(app, whatsapp)
        await hear(app)
        assert phone.logins == logins + 1


def refused_from_now_on(strike: Strike) -> Strike:
    async def and_refuse(phone: Phone) -> None:
        phone.refuse()
        await strike(phone)

    return and_refuse


def server_wide(whatsapp: WhatsAppServer, status: int | None) -> Strike:
    async def strike(phone: Phone) -> None:
        whatsapp.refuse(status)
        await phone.drop()

    return strike


LOSSES: dict[str, tuple[Strike | int | None, str, str]] = {
    "reset, logins too": (refused_from_now_on(dropped()), "network", "network"),
    "reset, dials too": (None, "network", "network"),
    "reset, then HTTP 503": (503, "network", "server"),
    "failure 500": (failed_login(500, times=1000), "network", "network"),
    "failure 503": (failed_login(503, times=1000), "network", "network"),
    "stream error 500": (refused_from_now_on(stream_error(500)), "server", "network"),
    "stream error 503": (refused_from_now_on(stream_error(503)), "network", "network"),
    "stream error 516": (refused_from_now_on(stream_error(516)), "server", "network"),
}


@pytest.mark.parametrize(("strike", "reason", "later"), LOSSES.values(), ids=LOSSES)
async def test_a_lost_line_is_made_anew_by_backoff(
    whatsapp: WhatsAppServer, application: OpenApplication, strike: Strike | int | None, reason: str, later: str
) -> None:
    async with application(reconnect_grace=0.3, reconnect_base_delay=0.1) as app:
        phone = await linked(app, whatsapp)
        strike = strike if callable(strike) else server_wide(whatsapp, strike)
        await strike(phone)
        await app.heard.wait_for(lambda e: e.type == "reconnecting" and e.attempt == 3)
        status = await status_of(app)
        assert (status.status, status.disconnect_reason) == (Status.RECONNECTING, later)
        with pytest.raises(SessionNotConnected):
            await app.pool.send_message(COMPANY, BOB, "hi")
        phone.end_faults()
        phone.accept()
        whatsapp.accept()
        await app.heard.wait_for(lambda e: e.type == "connected")
        begin = [f"status reconnecting {reason}", f"disconnected {reason}"]
        attempts = [f"reconnecting {attempt} {0.1 * 2 ** (attempt - 1):g}" for attempt in range(1, 9)]
        events = told(app)
        assert events[:5] == [*begin, *attempts[:3]]
        assert events[5:] == [*attempts[3 : len(events) - 4], "status connected", "connected"]
        await works(app, whatsapp)
        assert (await app.pool.get_metrics()).reconnects == 1


@pytest.mark.parametrize("reason", [400, 409, 415, 418, 499])
async def test_a_login_refused_for_another_cause_is_tried_again(
    whatsapp: WhatsAppServer, application: OpenApplication, reason: int
) -> None:
    async with application(reconnect_grace=20, reconnect_base_delay=0.1) as app:
        phone = await linked(app, whatsapp)
        await failed_login(reason)(phone)
        lost = ["status reconnecting network", "disconnected server", "reconnecting 1 0.1"]
        await hear(app, *lost, "status connected", "connected")
        assert phone.refused_logins == 1
        await works(app, whatsapp)


@pytest.mark.parametrize(("refusal", "reason"), [(None, "network"), (503, "server")], ids=["reset", "503"])
async def test_a_first_dial_that_is_refused_is_tried_again(
    whatsapp: WhatsAppServer, application: OpenApplication, refusal: int | None, reason: str
) -> None:
    async with application(reconnect_base_delay=0.1) as app:
        whatsapp.refuse(refusal)
        assert (await app.pool.create_session(COMPANY, timeout=0.1)).status in (Status.CONNECTING, Status.RECONNECTING)
        await app.heard.wait_for(lambda e: e.type == "reconnecting" and e.attempt == 2)
        whatsapp.accept()
        await app.heard.wait_for(lambda e: e.type == "qr")
        events = told(app)
        first = ["status connecting", f"status reconnecting {reason}", "reconnecting 1 0.1", "reconnecting 2 0.2"]
        assert events[:4] == first
        assert events[-2:] == ["status pairing", "qr"]
        assert not {"disconnected", "error"} & set(app.heard.types())


@pytest.mark.parametrize(("refusal", "reason"), [(None, "network"), (503, "server")], ids=["reset", "503"])
async def test_spent_attempts_fail_the_session_for_the_last_reason(
    whatsapp: WhatsAppServer, application: OpenApplication, refusal: int | None, reason: str
) -> None:
    settings = {"reconnect_grace": 0.3, "reconnect_base_delay": 0.1, "max_reconnect_attempts": 2}
    async with application(revive_interval=None, **settings) as app:
        phone = await linked(app, whatsapp)
        await server_wide(whatsapp, refusal)(phone)
        lost = ["status reconnecting network", "disconnected network", "reconnecting 1 0.1", "reconnecting 2 0.2"]
        await hear(app, *lost, f"status failed {reason}", f"reconnect_failed 2 {reason}")
        with pytest.raises(SessionFailed):
            await app.pool.wait_until_connected(COMPANY)
        await nothing_follows(app, whatsapp)
        whatsapp.accept()
        assert (await app.pool.create_session(COMPANY)).status is Status.CONNECTED


async def test_a_session_that_gave_up_is_revived(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    settings = {"reconnect_grace": 0.3, "reconnect_base_delay": 0.1, "max_reconnect_attempts": 1}
    async with application(revive_interval=0.5, **settings) as app:
        phone = await linked(app, whatsapp)
        await server_wide(whatsapp, None)(phone)
        await app.heard.wait_for(lambda e: e.type == "reconnecting" and e.attempt == 0)
        whatsapp.accept()
        await app.heard.wait_for(lambda e: e.type == "connected")
        lost = ["status reconnecting network", "disconnected network", "reconnecting 1 0.1"]
        failed = ["status failed network", "reconnect_failed 1 network"]
        assert told(app)[:7] == [*lost, *failed, "status reconnecting network", "reconnecting 0 0"]
        assert told(app).count("reconnect_failed 1 network") == 1


async def nothing_follows(app: Application, whatsapp: WhatsAppServer) -> None:
    """Check that the session is given up: it has no link, and nobody is left who would make one."""
    assert not app.pool.session(COMPANY)._supervisor.running
    assert (await status_of(app)).next_retry_at is None
    await whatsapp.wait_open(0)


@dataclass(frozen=True)
class Final:
    """An end that nothing follows."""

    strike: Strike
    status: Status
    reason: DisconnectReason
    events: tuple[str, ...]
    refused: int
    """How often the client was told at a login."""

    created: Status = Status.PAIRING
    """What `create_session` comes to."""


LOST = "status reconnecting network"
LOGGED_OUT = ("status logged_out logged_out", "logout logged_out")
FINAL = {
    "failure 401": Final(
        failed_login(401), Status.LOGGED_OUT, DisconnectReason.LOGGED_OUT, (LOST, *LOGGED_OUT), refused=1
    ),
    "failure 403": Final(
        failed_login(403), Status.LOGGED_OUT, DisconnectReason.LOGGED_OUT, (LOST, *LOGGED_OUT), refused=1
    ),
    "failure 406": Final(
        failed_login(406),
        Status.LOGGED_OUT,
        DisconnectReason.BANNED,
        (LOST, "status logged_out banned", "logout banned"),
        refused=1,
    ),
    "device removed": Final(
        stream_error("device_removed"), Status.LOGGED_OUT, DisconnectReason.LOGGED_OUT, LOGGED_OUT, refused=0
    ),
    "unlinked on the phone": Final(
        lambda phone: phone.unlink(), Status.LOGGED_OUT, DisconnectReason.LOGGED_OUT, LOGGED_OUT, refused=0
    ),
    "replaced": Final(
        stream_error("replaced"),
        Status.FAILED,
        DisconnectReason.REPLACED,
        ("status failed replaced", "disconnected replaced"),
        refused=0,
        created=Status.CONNECTED,
    ),
}


@pytest.mark.parametrize("row", FINAL.values(), ids=FINAL)
async def test_what_is_final_is_never_retried(
    whatsapp: WhatsAppServer, application: OpenApplication, row: Final
) -> None:
    settings = {"reconnect_grace": 20, "reconnect_base_delay": 0.05, "revive_interval": 0.05}
    async with application(**settings) as app:
        phone = await linked(app, whatsapp)
        logins = phone.logins
        await row.strike(phone)
        await hear(app, *row.events)
        status = await status_of(app)
        assert (status.status, status.disconnect_reason) == (row.status, row.reason)
        with pytest.raises(AuthenticationRequired if row.status is Status.LOGGED_OUT else SessionNotConnected):
            await app.pool.send_message(COMPANY, BOB, "hi")
        await nothing_follows(app, whatsapp)
    async with application(**settings) as app:
        # The other one's pairing and link give the first all the time it would need.
        await app.link(whatsapp.phone(PHONES[OTHER]), OTHER)
        status = await status_of(app)
        assert (status.status, status.disconnect_reason) == (row.status, row.reason)
        assert (phone.logins, phone.refused_logins) == (logins, row.refused)
        assert told(app) == []
        assert (await app.pool.create_session(COMPANY)).status is row.created


async def test_a_log_out_by_the_application_is_final(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    async with application(reconnect_base_delay=0.05) as app:
        phone = await linked(app, whatsapp)
        await app.pool.logout(COMPANY)
        await hear(app, *LOGGED_OUT)
        assert phone.devices == ()
        await nothing_follows(app, whatsapp)
        await linked(app, whatsapp)
        await works(app, whatsapp)
        assert len(phone.devices) == 1


async def test_an_outdated_client_is_told_once_and_no_session_is_started(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    async with application(reconnect_grace=20, reconnect_base_delay=0.05) as app:
        phone = await linked(app, whatsapp)
        other = await linked(app, whatsapp, OTHER)
        await failed_login(405)(phone)
        await hear(app, LOST, "status failed outdated", "error client_outdated")
        status = await status_of(app)
        assert (status.status, status.disconnect_reason) == (Status.FAILED, DisconnectReason.OUTDATED)
        await works(app, whatsapp, OTHER)
        for company_id in (COMPANY, "new"):
            with pytest.raises(ClientOutdated):
                await app.pool.create_session(company_id)
        [pid] = app.shard_pids()
        logins = other.logins
        os.kill(pid, signal.SIGKILL)
        lost = ["status reconnecting worker_crashed", "disconnected worker_crashed", "reconnecting 1 0.05"]
        await hear(app, *lost, "status failed outdated", company_id=OTHER)
        await nothing_follows(app, whatsapp)
        assert (phone.refused_logins, other.logins) == (1, logins)
    async with application() as app:
        for company_id in PHONES:
            await app.pool.wait_until_connected(company_id, timeout=PATIENCE)


async def test_a_temporary_ban_ends_by_itself(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    async with application(reconnect_grace=20, reconnect_base_delay=0.05) as app:
        phone = await linked(app, whatsapp)
        before, logins = datetime.now(UTC), phone.logins
        await failed_login(402, code=101, expire="6")(phone)
        restricted = await app.heard.wait_for(lambda e: e.type == "restricted")
        status = await status_of(app)
        assert (status.status, status.disconnect_reason) == (Status.RESTRICTED, DisconnectReason.TEMPORARILY_BANNED)
        assert status.restricted_until == restricted.until
        banned = [LOST, "status restricted temporarily_banned", "restricted login"]
        await hear(app, *banned, "status connecting temporarily_banned", "status connected", "connected")
        assert datetime.now(UTC) >= restricted.until >= before + timedelta(seconds=6)
        assert (phone.refused_logins, phone.logins) == (1, logins + 1)
        await works(app, whatsapp)
        assert (await status_of(app)).restricted_until is None


async def test_a_ban_that_neonize_cannot_read_is_taken_to_last_an_hour(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    async with application(reconnect_grace=20, reconnect_base_delay=0.05) as app:
        phone = await linked(app, whatsapp)
        logins = phone.logins
        await failed_login(402, code="110", expire="1")(phone)
        await hear(app, LOST, "status restricted temporarily_banned", "restricted login")
        status = await status_of(app)
        assert (status.status, status.disconnect_reason) == (Status.RESTRICTED, DisconnectReason.TEMPORARILY_BANNED)
        assert status.restricted_until is not None
        assert abs(status.restricted_until - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
        assert "unknown" in (status.last_error or "")
        await whatsapp.wait_open(0)
    async with application() as app:
        await linked(app, whatsapp, OTHER)
        assert (await status_of(app)).status is Status.RESTRICTED
        assert (phone.refused_logins, phone.logins) == (1, logins)


async def test_a_dead_pump_is_replaced_at_once_and_then_by_backoff(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    settings = {"reconnect_base_delay": 0.1, "reconnect_max_delay": 0.8, "max_reconnect_attempts": 1000}
    async with application(**settings) as app:
        phone = await linked(app, whatsapp)
        attempt, delay = 1, 0.0
        for _again in range(2):
            logins = phone.logins
            await phone.send_unknown_receipt()
            # What the client did not live to acknowledge comes again at its next login, and ends that one too.
            await phone.wait_delivered(timeout=PATIENCE)
            last = attempt + phone.logins - logins
            ended = await app.heard.wait_for(lambda e, last=last: e.type == "reconnecting" and e.attempt == last)
            await app.heard.wait_for(lambda e, ended=ended: e.type == "connected" and e.sequence > ended.sequence)
            lost = ["status reconnecting pump_dead", "disconnected pump_dead", f"reconnecting {attempt} {delay:g}"]
            assert told(app)[:3] == lost
            attempt = last + 1
            delay = min(0.8, 0.1 * 2 ** (attempt - 1))
            app.heard.events.clear()
        await works(app, whatsapp)


async def test_a_worker_that_dies_costs_each_session_one_reconnect(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    async with application(reconnect_base_delay=0.1) as app:
        phones = [await linked(app, whatsapp, company_id) for company_id in PHONES]
        logins = [phone.logins for phone in phones]
        [pid] = app.shard_pids()
        app.heard.events.clear()
        os.kill(pid, signal.SIGKILL)
        lost = ["status reconnecting worker_crashed", "disconnected worker_crashed", "reconnecting 1 0.1"]
        for company_id in PHONES:
            await hear(app, *lost, "status connected", "connected", company_id=company_id)
            await works(app, whatsapp, company_id)
        assert pid not in app.shard_pids()
        assert [phone.logins for phone in phones] == [login + 1 for login in logins]


async def test_a_send_that_hangs_recycles_the_link_and_is_not_repeated(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    bob = whatsapp.contact(BOB)
    async with application(send_timeout=8, reconnect_base_delay=0.1) as app:
        phone = await linked(app, whatsapp)
        phone.withhold_acks()
        with pytest.raises(SendTimeout):
            await app.pool.send_message(COMPANY, BOB, "hanging")
        phone.withhold_acks(False)
        lost = ["error send_timeout", "status reconnecting stalled", "disconnected stalled", "reconnecting 1 0.1"]
        await hear(app, *lost, "status connected", "connected")
        await works(app, whatsapp)
        assert [message.text for message in bob.received] == ["hanging", "still here"]


async def test_a_call_that_hangs_recycles_the_link(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    async with application(send_timeout=8, reconnect_base_delay=0.1) as app:
        phone = await linked(app, whatsapp)
        phone.withhold_iq("usync")
        with pytest.raises(DriverError):
            await app.pool.session(COMPANY).is_on_whatsapp(BOB)
        phone.withhold_iq("usync", False)
        lost = ["error driver_error", "status reconnecting stalled", "disconnected stalled", "reconnecting 1 0.1"]
        await hear(app, *lost, "status connected", "connected")
        await works(app, whatsapp)


async def test_an_unreadable_device_database_is_tried_again_later(
    whatsapp: WhatsAppServer, application: OpenApplication, session_path: Path, tmp_path: Path
) -> None:
    database = session_path / COMPANY / "auth_info" / "device.db"
    async with application(revive_interval=0.5) as app:
        phone = await linked(app, whatsapp)
        await app.pool.disconnect(COMPANY)
        await whatsapp.wait_open(0)
        kept = Path(shutil.copytree(database.parent, tmp_path / "kept"))
        for file in database.parent.iterdir():
            file.unlink()
        database.write_bytes(b"no database" * 1000)
        logins = phone.logins
        app.heard.events.clear()
        await app.pool.create_session(COMPANY)
        failed = ["status failed storage", "error storage_error"]
        again = ["status reconnecting storage", "reconnecting 0 0", *failed]
        with anyio.fail_after(PATIENCE):
            while len(told(app)) < 7:
                await app.heard.next()
        assert told(app)[:7] == ["status connecting", *failed, *again]
        assert phone.logins == logins
        # Each at once, the database last: half of a file would be a device without keys.
        for file in sorted(kept.iterdir(), reverse=True):
            file.replace(database.parent / file.name)
        await app.heard.wait_for(lambda e: e.type == "connected")
        await works(app, whatsapp)


@pytest.mark.parametrize(
    ("code", "raises"), [(463, RecipientRestricted), (479, partial(MessageRejected, server_code=479))]
)
async def test_a_refused_send_leaves_the_link_alone(
    whatsapp: WhatsAppServer, application: OpenApplication, code: int, raises: Callable[[str], Exception]
) -> None:
    whatsapp.contact(BOB)
    async with application() as app:
        phone = await linked(app, whatsapp)
        logins, expected = phone.logins, raises("")
        phone.fail_send(code)
        with pytest.raises(type(expected)) as caught:
            await app.pool.send_message(COMPANY, BOB, "hi")
        assert getattr(caught.value, "server_code", None) == getattr(expected, "server_code", None)
        await hear(app, f"error {expected.code}")  # type: ignore[attr-defined]
        await works(app, whatsapp)
        assert phone.logins == logins
