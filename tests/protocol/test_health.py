"""Whether a link lives: a server that falls silent, one that only answers no keep-alives, and a worker that freezes."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from wasessionpool import DisconnectReason, Status
from wasessionpool.drivers.neonize.connection import NeonizeConnection
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]


@pytest.mark.timeout(180)
async def test_a_server_that_falls_silent_is_suspected_and_left(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    """The line stays open all the while: whatsmeow itself would believe in it for three minutes."""
    phone = whatsapp.phone(PHONE)
    async with application() as app:
        await app.link(phone)
        phone.silence()
        with anyio.fail_after(90):
            suspected = await app.heard.wait_for(lambda e: e.type == "health_check_failed", timeout=60)
            assert (suspected.failures, suspected.probe_error) == (1, "no answer within 10 s")
            status = await app.pool.get_session_status(COMPANY)
            assert (status.status, status.health) == (Status.CONNECTED, "suspect")
            lost = await app.heard.wait_for(lambda e: e.type == "disconnected", timeout=90)
        assert lost.reason is DisconnectReason.KEEPALIVE
        assert [e.failures for e in app.heard.events if e.type == "health_check_failed"] == [1, 2]
        # From the last keep-alive that was answered, which was before the silence.
        assert 30 <= (await app.pool.get_metrics()).false_connected_seconds <= 90
        phone.speak()
        await app.heard.wait_for(lambda e: e.type == "connected" and e.sequence > lost.sequence, timeout=60)
        whatsapp.contact(BOB)
        await app.pool.send_message(COMPANY, BOB, "still here")
        assert (await app.pool.get_session_status(COMPANY)).health == "ok"


@pytest.mark.timeout(120)
async def test_a_server_that_answers_all_but_keep_alives_is_believed(
    whatsapp: WhatsAppServer, application: OpenApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = whatsapp.phone(PHONE)
    answered, probe = anyio.Event(), NeonizeConnection.probe

    async def watch(connection: NeonizeConnection) -> None:
        await probe(connection)
        answered.set()

    monkeypatch.setattr(NeonizeConnection, "probe", watch)
    async with application() as app:
        await app.link(phone)
        logins = phone.logins
        phone.withhold_iq("w:p")
        with anyio.fail_after(60):
            await answered.wait()
        status = await app.pool.get_session_status(COMPANY)
        assert (status.status, status.health) == (Status.CONNECTED, "ok")
        assert "health_check_failed" not in app.heard.types()
        assert phone.logins == logins
        assert (await app.pool.get_metrics()).false_connected_seconds == 0


async def test_a_frozen_worker_makes_its_sessions_suspect(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    """Long before it is killed, which these limits would do after half a minute."""
    whatsapp.contact(BOB)
    async with application({"vitals_interval": 0.5, "silence_timeout": 30}) as app:
        await app.link(whatsapp.phone(PHONE))
        [pid] = app.shard_pids()
        os.kill(pid, signal.SIGSTOP)
        try:
            await app.heard.wait_for(lambda e: e.type == "health_check_failed", timeout=40)
        finally:
            os.kill(pid, signal.SIGCONT)
        await app.pool.send_message(COMPANY, BOB, "thawed")
        assert "disconnected" not in app.heard.types()
