"""A whole life of a session: nothing secret reaches a log or a repr."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from wasessionpool import DisconnectReason, QRCode, Status
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]


def missing(log: Path, expected: Sequence[str]) -> list[str]:
    text = log.read_text() if log.exists() else ""
    return [each for each in expected if each not in text]


async def test_no_text_code_or_key_is_logged(
    whatsapp: WhatsAppServer, application: OpenApplication, session_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "wasessionpool.testing")
    caplog.set_level(logging.DEBUG, "wasessionpool")
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB, name="Bob Secretname")
    log = session_path / COMPANY / "debug.log"
    async with application(reconnect_grace=0.0) as app:
        status = await app.pool.create_session(COMPANY, metadata={"note": "secret-metadata"})
        assert isinstance(status.qr, QRCode)
        code = status.qr.text
        reprs = [repr(status), repr(status.qr)]
        await phone.scan(status.qr)
        await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        sent = await app.pool.send_message(COMPANY, BOB, "secret-out")
        await bob.next_message()
        await bob.send(PHONE, "secret-in")
        received = await app.heard.message("secret-in")
        whatsapp.refuse()
        await phone.drop()
        await app.heard.wait_for(lambda e: e.type == "reconnecting")
        whatsapp.accept()
        await app.heard.wait_for(lambda e: e.type == "connected" and e.time > received.time)
        logged = ("reconnecting attempt=1", f"message_id={sent.id}", f"message_id={received.message_id}")
        with anyio.fail_after(PATIENCE):
            while missing(log, logged):  # noqa: ASYNC110 - a file tells nobody
                await anyio.sleep(0.01)
        before = log.read_text()
        await app.pool.logout(COMPANY)
        assert (await app.pool.get_session_status(COMPANY)).status is Status.LOGGED_OUT
        status = await app.pool.get_session_status(COMPANY)
        assert status.disconnect_reason is DisconnectReason.LOGGED_OUT
        reprs += [repr(status), *map(repr, app.heard.events), repr(app.pool.settings)]
    assert "Reconnecting session 962302: attempt 1" in caplog.text
    assert not log.exists(), "a logout leaves nothing behind"
    everything = "\n".join([before, caplog.text, *reprs])
    secrets = [part for part in code.split(",") if len(part) > 3] + [code]
    assert len(secrets) > 3
    for secret in (*secrets, "secret-out", "secret-in"):
        assert secret not in everything
    for secret in ("secret-metadata", "Secretname"):
        assert secret not in before + caplog.text
