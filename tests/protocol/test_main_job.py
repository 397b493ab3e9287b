"""Pair, send, receive, come back: the pool and the real neonize against a WhatsApp that really decrypts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import (
    AuthenticationRequired,
    DisconnectReason,
    PairingTimeout,
    PoolSettings,
    RecipientNotOnWhatsapp,
    SessionLocked,
    SessionNotConnected,
    SessionNotFound,
    Status,
    WhatsAppSessionPool,
)
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY, OTHER = PHONES
PHONE = PHONES[COMPANY]


async def test_messages_go_both_ways_first_and_later(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB, name="Bob")
    async with application() as app:
        await app.link(phone)
        status = await app.pool.get_session_status(COMPANY)
        assert status.phone_number == f"+{PHONE}"
        for number, text in enumerate(["first", "second"]):
            sent = await app.pool.send_message(COMPANY, f"+{BOB}", text)
            received = await bob.next_message()
            assert (received.text, received.id, received.sender) == (text, sent.id, PHONE)
            assert received.encryption == "pkmsg"
            assert (await phone.next_message()).text == text, number
        for text in ("one", "two"):
            await bob.send(PHONE, text)
            event = await app.heard.message(text)
            assert event.sender.phone_number == f"+{BOB}"
            assert (event.from_me, event.is_group, event.kind, event.sender_name) == (False, False, "text", "Bob")
        reply = await event.reply("third")
        received = await bob.next_message()
        assert (received.id, received.text, received.encryption) == (reply.id, "third", "msg")
        await bob.read(received)
        receipt = await app.heard.wait_for(lambda e: e.type == "receipt" and e.receipt == "read")
        assert receipt.message_ids == (reply.id,)
        metrics = await app.pool.get_metrics()
        assert (metrics.messages_sent, metrics.messages_received, metrics.active_connections) == (3, 2, 1)
    assert bob.undecryptable == 0


@pytest.mark.parametrize(
    "text",
    ["x" * 60_000, "я" * 60_000, "Ünïcödé 你好 🙂\r\n\t\u202e", "\x01" * 65_536],
    ids=["60k", "60k-я", "signs", "control"],
)
async def test_long_and_non_latin_texts(whatsapp: WhatsAppServer, application: OpenApplication, text: str) -> None:
    bob = whatsapp.contact(BOB)
    async with application() as app:
        await app.link(whatsapp.phone(PHONE))
        await app.pool.send_message(COMPANY, BOB, text)
        assert (await bob.next_message()).text == text
        await bob.send(PHONE, text)
        await app.heard.message(text)


async def test_companies_never_see_each_other(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    bob = whatsapp.contact(BOB)
    async with application({"device_name": lambda record: f"CRM of {record.company_id}"}) as app:
        for company_id, number in PHONES.items():
            await app.link(whatsapp.phone(number), company_id)
        for company_id, number in PHONES.items():
            assert [device.os for device in whatsapp.phone(number).devices] == [f"CRM of {company_id}"]
            await bob.send(number, f"for {company_id}")
            await app.pool.send_message(company_id, BOB, f"from {company_id}")
        for company_id, number in PHONES.items():
            await app.heard.message(f"for {company_id}", company_id)
            assert [copy.text for copy in whatsapp.phone(number).copies] == [f"from {company_id}"]
        assert {(message.sender, message.text) for message in bob.received} == {
            (number, f"from {company_id}") for company_id, number in PHONES.items()
        }
        texts = [(e.company_id, e.text) for e in app.heard.events if e.type == "message"]
        assert sorted(texts) == [(company_id, f"for {company_id}") for company_id in PHONES]


async def test_two_devices_of_one_company(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        await app.link(phone, device="sales")
        await bob.send(PHONE, "to both")
        for device in ("main", "sales"):
            await app.heard.wait_for(lambda e, d=device: e.type == "message" and e.device == d)
        await app.pool.send_message(COMPANY, BOB, "from sales", device="sales")
        assert (await bob.next_message()).text == "from sales"
        copy = await app.heard.wait_for(lambda e: e.type == "message" and e.device == "main" and e.from_me)
        assert copy.text == "from sales"


async def test_offline_messages_arrive_after_a_restart_without_a_qr(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        await app.pool.send_message(COMPANY, BOB, "before")
    await phone.wait_disconnected()
    for number in range(3):
        await bob.send(PHONE, f"while away {number}")
    async with application() as app:
        await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        for number in range(3):
            await app.heard.message(f"while away {number}")
        assert "qr" not in app.heard.types()
        await app.pool.send_message(COMPANY, BOB, "after")
    assert [message.text for message in bob.received] == ["before", "after"]
    assert len(phone.devices) == 1


async def test_disconnect_keeps_and_delete_erases(
    whatsapp: WhatsAppServer, application: OpenApplication, session_path: Path
) -> None:
    phone = whatsapp.phone(PHONE)
    async with application() as app:
        await app.link(phone)
        await app.pool.disconnect(COMPANY)
        await phone.wait_disconnected()
        assert app.heard.types()[-2:] == ["status", "disconnected"]
        with pytest.raises(SessionNotConnected):
            await app.pool.send_message(COMPANY, BOB, "hi")
        files = sorted(str(p.relative_to(session_path)) for p in session_path.rglob("*") if p.is_file())
        assert {f"{COMPANY}/auth_info/device.db", f"{COMPANY}/session.json", f"{COMPANY}/session.lock"} <= set(files)
        for path in [session_path, *session_path.rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
        assert (await app.pool.create_session(COMPANY)).status is Status.CONNECTED
        await app.pool.delete_session(COMPANY)
        assert phone.devices == ()
        with pytest.raises(SessionNotFound):
            await app.pool.get_session_status(COMPANY)
        assert [p.name for p in session_path.iterdir()] == [".pool"]
        assert (await app.pool.create_session(COMPANY)).status is Status.PAIRING


async def test_delete_of_a_session_that_is_down_still_unlinks_it(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone = whatsapp.phone(PHONE)
    async with application() as app:
        await app.link(phone)
        await app.pool.disconnect(COMPANY)
        await app.pool.delete_session(COMPANY)
        assert phone.devices == ()


async def test_sending_before_linking_gives_the_qr(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    async with application() as app:
        await app.pool.create_session(COMPANY)
        with pytest.raises(AuthenticationRequired) as caught:
            await app.pool.send_message(COMPANY, BOB, "hi")
        assert caught.value.qr is not None
        await whatsapp.phone(PHONE).scan(caught.value.qr)
        await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)


async def test_a_number_without_whatsapp(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    async with application(rate_limit_max=1) as app:
        await app.link(whatsapp.phone(PHONE))
        with pytest.raises(RecipientNotOnWhatsapp):
            await app.pool.send_message(COMPANY, "79990000000", "hi")
        whatsapp.contact(BOB)
        await app.pool.send_message(COMPANY, BOB, "the limit was not spent")


async def test_a_session_that_another_pool_runs(
    whatsapp: WhatsAppServer, application: OpenApplication, session_path: Path
) -> None:
    async with application() as app:
        await app.link(whatsapp.phone(PHONE))
        async with (
            whatsapp.driver() as driver,
            WhatsAppSessionPool(PoolSettings(session_path=session_path), driver=driver) as second,
        ):
            with pytest.raises(SessionLocked, match=f"process {os.getpid()}"):
                await second.create_session(COMPANY)
            assert driver.workers() == ()
        assert (await app.pool.get_session_status(COMPANY)).status is Status.CONNECTED
        assert whatsapp.phone(PHONE).logins == 2


async def test_a_pool_that_was_opened_before_the_last_one_left_takes_its_sessions_over(
    whatsapp: WhatsAppServer, application: OpenApplication, session_path: Path
) -> None:
    """As when a process is replaced by one that is started first."""
    opened, leave = anyio.Event(), anyio.Event()
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)

    async def first() -> None:
        async with application() as app:
            await app.link(phone)
            opened.set()
            await leave.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await opened.wait()
        logins = phone.logins
        async with application(reconnect_base_delay=0.1) as second:
            await second.heard.wait_for(lambda e: e.type == "status" and e.reason is DisconnectReason.LEASE_LOST)
            leave.set()
            await second.heard.wait_for(lambda e: e.type == "connected")
            await second.pool.send_message(COMPANY, BOB, "taken over")
            assert (await bob.next_message()).text == "taken over"
    assert phone.logins == logins + 1


@pytest.fixture
async def single_code_server() -> Any:
    async with WhatsAppServer(refs=1) as server:
        yield server


async def test_a_qr_nobody_scans(
    single_code_server: WhatsAppServer, session_path: Path, nothing_left: Callable[[], None]
) -> None:
    async with (
        single_code_server.driver() as driver,
        WhatsAppSessionPool(PoolSettings(session_path=session_path), driver=driver) as pool,
    ):
        assert (await pool.create_session(COMPANY)).qr is not None
        with pytest.raises(PairingTimeout):
            await pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        status = await pool.get_session_status(COMPANY)
        assert (status.status, status.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.PAIRING_TIMEOUT)
        await pool.disconnect(COMPANY)
        await single_code_server.wait_open(0)
        assert [worker.role for worker in driver.workers() if worker.role != "spare"] == []
        assert (await pool.create_session(COMPANY)).status is Status.PAIRING
    nothing_left()


async def test_a_test_worker_refuses_a_proxy_that_is_not_loopback(application: OpenApplication) -> None:
    async with application() as app:
        await app.pool.create_session(COMPANY, proxy="http://192.0.2.1:3128", timeout=0.1)
        await app.heard.status(Status.RECONNECTING)
        status = await app.pool.get_session_status(COMPANY)
        assert status.qr is None
        assert "not a loopback address" in (status.last_error or "")
