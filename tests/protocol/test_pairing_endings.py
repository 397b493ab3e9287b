"""Every way in which a pairing ends: its status, and that nothing of it goes on running."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import DisconnectReason, LoggedOut, PairingFailed, SessionNotFound, SessionStatus, Status
from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp import pairing
from wasessionpool.testing.whatsapp.errors import PairingError

from .conftest import BOB, PATIENCE, PHONES, Application, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY, OTHER = PHONES
PHONE = PHONES[COMPANY]
NothingLeft = Callable[[], None]


async def offered(app: Application, company_id: str = COMPANY) -> SessionStatus:
    status = await app.pool.create_session(company_id)
    assert (status.status, status.qr is not None) == (Status.PAIRING, True)
    return status


async def nothing_runs(app: Application, whatsapp: WhatsAppServer, before: set[asyncio.Task[Any]]) -> None:
    """Wait for the session's own end, and check that no worker, line or task is left of it."""
    await app.pool.disconnect(COMPANY)
    await whatsapp.wait_open(0)
    assert app.driver.workers() == ()
    assert asyncio.all_tasks() - before == set()


async def disconnect(app: Application) -> None:
    await app.pool.disconnect(COMPANY)


async def delete(app: Application) -> None:
    await app.pool.delete_session(COMPANY)


@pytest.mark.parametrize("cancel", [disconnect, delete])
async def test_a_pairing_that_is_cancelled(
    whatsapp: WhatsAppServer,
    application: OpenApplication,
    session_path: Path,
    nothing_left: NothingLeft,
    cancel: Callable[[Application], Awaitable[None]],
) -> None:
    async with application() as app:
        before = asyncio.all_tasks()
        await offered(app)
        await cancel(app)
        await nothing_runs(app, whatsapp, before)
        if cancel is delete:
            with pytest.raises(SessionNotFound):
                await app.pool.get_session_status(COMPANY)
            assert [path.name for path in session_path.iterdir()] == [".pool"]
        else:
            status = await app.pool.get_session_status(COMPANY)
            assert (status.status, status.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.REQUESTED)
            assert status.qr is None
        assert "error" not in app.heard.types()
    nothing_left()


async def test_a_pool_that_closes_while_a_qr_waits(
    whatsapp: WhatsAppServer, application: OpenApplication, nothing_left: NothingLeft
) -> None:
    async with application() as app:
        await offered(app)
    await whatsapp.wait_open(0)
    assert app.heard.events[-1].current is Status.DISCONNECTED
    assert app.heard.events[-1].reason is DisconnectReason.SHUTDOWN
    nothing_left()
    async with application() as app:
        await app.heard.wait_for(lambda e: e.type == "qr")


async def wrong_secret(whatsapp: WhatsAppServer, status: SessionStatus) -> None:
    phone = whatsapp.phone(PHONE)
    phone.fail_pairing()
    with pytest.raises(PairingError):
        await phone.scan(status.qr)


async def drop(whatsapp: WhatsAppServer, status: SessionStatus) -> None:
    await whatsapp.drop()


@pytest.mark.parametrize("fail", [wrong_secret, drop])
async def test_a_pairing_that_fails(
    whatsapp: WhatsAppServer,
    application: OpenApplication,
    nothing_left: NothingLeft,
    fail: Callable[[WhatsAppServer, SessionStatus], Awaitable[None]],
) -> None:
    async with application() as app:
        before = asyncio.all_tasks()
        status = await offered(app)
        await fail(whatsapp, status)
        with pytest.raises(PairingFailed):
            await app.pool.wait_until_connected(COMPANY, timeout=10)
        await nothing_runs(app, whatsapp, before)
        status = await app.pool.get_session_status(COMPANY)
        assert (status.status, status.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.PAIRING_FAILED)
        assert [e.code for e in app.heard.events if e.type == "error"] == ["pairing_failed"]
        await app.link(whatsapp.phone(PHONE))
        assert len(whatsapp.phone(PHONE).devices) == 1
    await whatsapp.wait_open(0)
    nothing_left()


async def test_a_line_that_breaks_between_scan_and_confirmation(
    whatsapp: WhatsAppServer,
    application: OpenApplication,
    nothing_left: NothingLeft,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phone = whatsapp.phone(PHONE)
    async with application() as app:
        before = asyncio.all_tasks()
        status = await offered(app)
        with monkeypatch.context() as patch:
            patch.setattr(pairing.Pairing, "_take_answer", lambda self, _: self._connection.abort(reset=True))
            with pytest.raises(PairingError):
                await phone.scan(status.qr)
        with pytest.raises(LoggedOut):
            await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        assert phone.devices == ()
        await app.pool.disconnect(COMPANY)
        await whatsapp.wait_open(0)
        assert [worker.role for worker in app.driver.workers()] == ["shard"]
        await app.link(phone)
    await whatsapp.wait_open(0)
    assert asyncio.all_tasks() - before == set()
    nothing_left()


async def test_a_server_that_refuses_right_after_the_pairing(
    whatsapp: WhatsAppServer, application: OpenApplication, nothing_left: NothingLeft
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        phone.refuse_after_pairing()
        await app.link(phone)
        assert phone.logins == 1
        assert [worker.role for worker in app.driver.workers()] == ["shard"]
        await app.pool.send_message(COMPANY, BOB, "hi")
        assert (await bob.next_message()).text == "hi"
        assert {"disconnected", "error"} & set(app.heard.types()) == set()
    await whatsapp.wait_open(0)
    nothing_left()


async def test_a_pairing_that_is_cancelled_before_its_turn(
    whatsapp: WhatsAppServer, application: OpenApplication, nothing_left: NothingLeft
) -> None:
    async with application({"max_pairings": 1}) as app:
        first = await offered(app)
        status = await app.pool.create_session(OTHER, timeout=1)
        assert (status.status, status.qr) == (Status.CONNECTING, None)
        before = asyncio.all_tasks()
        await app.pool.disconnect(OTHER)
        assert (await app.pool.get_session_status(OTHER)).status is Status.DISCONNECTED
        assert asyncio.all_tasks() <= before
        assert [worker.sessions for worker in app.driver.workers()] == [(COMPANY,)]
        await whatsapp.phone(PHONE).scan(first.qr)
        await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        await app.link(whatsapp.phone(PHONES[OTHER]), OTHER)
    await whatsapp.wait_open(0)
    nothing_left()


async def test_what_is_written_while_a_session_changes_workers_arrives_once(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    written: list[str] = []

    async def write() -> None:
        while True:
            written.append(f"message {len(written)}")
            await bob.send(PHONE, written[-1])
            await anyio.sleep(0.01)

    async with application() as app, anyio.create_task_group() as tasks:
        status = await offered(app)
        await phone.scan(status.qr)
        tasks.start_soon(write)
        await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await app.heard.message(written[-1])
            assert [e.text for e in app.heard.events if e.type == "message"] == written


async def test_keys_that_whatsapp_no_longer_takes_are_gone_even_if_the_worker_died(
    whatsapp: WhatsAppServer, application: OpenApplication, session_path: Path
) -> None:
    phone = whatsapp.phone(PHONE)
    async with application() as app:
        await app.link(phone)
        [pid] = app.shard_pids()
        with closing(sqlite3.connect(session_path / COMPANY / "auth_info" / "device.db")) as database:
            # whatsmeow cannot delete the keys while this transaction lasts.
            database.execute("begin immediate")
            await phone.unlink()
            await app.heard.wait_for(lambda e: e.type == "logout")
            os.kill(pid, signal.SIGKILL)
            await app.pool.disconnect(COMPANY)
            assert database.execute("select count(*) from whatsmeow_device").fetchone() == (1,)
        app.heard.events.clear()
        await offered(app)
        assert "logout" not in app.heard.types()
        assert phone.refused_logins == 0
