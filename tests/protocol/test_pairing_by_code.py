"""Pairing by a code that is typed into the phone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from wasessionpool import (
    DisconnectReason,
    PairingFailed,
    PairingTimeout,
    PoolSettings,
    SessionStatus,
    Status,
    WhatsAppSessionPool,
)
from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.errors import IQError, PairingError
from wasessionpool.testing.whatsapp.link_code import LinkRequest
from wasessionpool.testing.whatsapp.nodes import Node

from .conftest import BOB, PATIENCE, PHONES, Application, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE, OTHER = PHONES.values()
WRITTEN = "+7 968 648-44-88"


async def offered(app: Application) -> SessionStatus:
    status = await app.pool.create_session(COMPANY, phone_number=WRITTEN)
    assert (status.status, status.qr) == (Status.PAIRING, None), status
    return status


async def test_a_code_links_the_device(
    whatsapp: WhatsAppServer, application: OpenApplication, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        status = await offered(app)
        code = status.pairing_code
        assert code is not None
        assert (len(code), code.isalnum()) == (8, True)
        assert (await app.pool.create_session(COMPANY)).pairing_code == code
        event = await app.heard.wait_for(lambda e: e.type == "pairing_code")
        assert event.code == code
        assert 150 < (event.expires_at - event.time).total_seconds() <= 160
        await phone.enter_code(code)
        linked = await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        assert (linked.phone_number, linked.pairing_code) == (f"+{PHONE}", None)
        assert "qr" not in app.heard.types()
        await app.pool.send_message(COMPANY, BOB, "hi")
        assert (await bob.next_message()).text == "hi"
        assert code not in repr(status) + repr(event) + caplog.text
    assert len(phone.devices) == 1


async def test_a_code_that_nobody_types_in(session_path: Path) -> None:
    async with (
        WhatsAppServer(refs=1) as whatsapp,
        whatsapp.driver(spare_timeout=0) as driver,
        WhatsAppSessionPool(PoolSettings(session_path=session_path), driver=driver) as pool,
    ):
        code = (await pool.create_session(COMPANY, phone_number=PHONE)).pairing_code
        assert code is not None
        wrong = ("2" if code[0] == "1" else "1") + code[1:]
        with pytest.raises(PairingError, match="another code"):
            await whatsapp.phone(PHONE).enter_code(wrong)
        assert (await pool.get_session_status(COMPANY)).pairing_code == code
        with pytest.raises(PairingTimeout):
            await pool.wait_until_connected(COMPANY, timeout=40)
        status = await pool.get_session_status(COMPANY)
        assert (status.status, status.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.PAIRING_TIMEOUT)
        assert status.pairing_code is None
        # Until the connection is left, its worker counts as pairing.
        await pool.disconnect(COMPANY)
        await whatsapp.wait_open(0)
        assert driver.workers() == ()
        assert (await pool.create_session(COMPANY)).qr is not None


async def test_whatsapp_gives_no_code(
    whatsapp: WhatsAppServer, application: OpenApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[Node]:
        raise IQError(429, "rate-overlimit")

    async with application() as app:
        with monkeypatch.context() as patch:
            patch.setattr(LinkRequest, "answer", refuse)
            status = await app.pool.create_session(COMPANY, phone_number=PHONE)
        assert (status.status, status.disconnect_reason) == (Status.DISCONNECTED, DisconnectReason.PAIRING_FAILED)
        with pytest.raises(PairingFailed, match="429"):
            await app.pool.wait_until_connected(COMPANY)
        assert [e.code for e in app.heard.events if e.type == "error"] == ["pairing_failed"]
        assert (await app.pool.create_session(COMPANY, phone_number=PHONE)).pairing_code is not None


async def test_a_phone_that_confirms_with_the_wrong_secret(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone = whatsapp.phone(PHONE)
    phone.fail_pairing()
    async with application() as app:
        with pytest.raises(PairingError):
            await phone.enter_code((await offered(app)).pairing_code or "")
        with pytest.raises(PairingFailed):
            await app.pool.wait_until_connected(COMPANY, timeout=10)
        assert phone.devices == ()


async def test_a_change_of_mind(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone = whatsapp.phone(PHONE)
    async with application() as app:
        assert (await app.pool.create_session(COMPANY)).qr is not None
        first = await offered(app)
        again = await app.pool.create_session(COMPANY, phone_number=OTHER)
        assert again.pairing_code not in (None, first.pairing_code)
        last = await offered(app)
        assert last.pairing_code not in (again.pairing_code, first.pairing_code)
        await phone.enter_code(last.pairing_code or "")
        await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
    assert len(phone.devices) == 1
