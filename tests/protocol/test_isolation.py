"""An application that uses WhatsApp: nothing of neonize, and nothing of what Go prints, is in its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PHONES
from .test_processes import start

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]


async def test_an_application_stays_free_of_go(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    errors = tmp_path / "stderr"
    with errors.open("wb") as stderr:
        async with start(whatsapp, tmp_path / "sessions", stderr=stderr) as application:
            await phone.scan((await application.do("create", COMPANY))["qr"])
            [worker] = (await application.do("wait", COMPANY))["workers"]
            await application.do("send", COMPANY, BOB, "out")
            await bob.send(PHONE, "in")
            assert (await application.do("message"))["text"] == "in"
            await whatsapp.drop()
            await phone.wait_connected(logins=3)
            await application.do("wait", COMPANY)
            inside = await application.do("inspect")
            assert "neonize-" in Path(f"/proc/{worker}/maps").read_text()
            assert inside["modules"] == inside["libraries"] == []
            assert inside["lines_of_go"] > 0
            assert await application.end() == 0
    # Its stdout was read as JSON to the last line.
    assert errors.read_text() == ""
