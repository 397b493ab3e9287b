"""A session that sleeps has no link, and misses nothing: the pool and the real neonize."""

from __future__ import annotations

import pytest

from wasessionpool import Status
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]


async def test_a_send_wakes_it_and_what_waited_comes(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(session_timeout=5) as app:
        await app.link(phone)
        await app.heard.status(Status.SLEEPING)
        await whatsapp.wait_open(0)
        await bob.send(PHONE, "while you slept")
        sent = await app.pool.send_message(COMPANY, BOB, "good morning")
        assert (await bob.next_message()).text == "good morning"
        assert sent.to == f"{BOB}@s.whatsapp.net"
        await app.heard.message("while you slept")
        await app.heard.status(Status.SLEEPING)
        await whatsapp.wait_open(0)


async def test_it_wakes_by_itself_and_collects_what_waits(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(session_timeout=1, idle_wake_interval=2) as app:
        await app.link(phone)
        for text in ("one", "two"):
            await app.heard.status(Status.SLEEPING)
            await bob.send(PHONE, text)
            await app.heard.message(text)
        assert (await app.pool.get_metrics()).reconnects == 0


async def test_the_next_pool_starts_it(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    async with application(session_timeout=1) as app:
        await app.link(whatsapp.phone(PHONE))
        await app.heard.status(Status.SLEEPING)
    async with application() as app:
        await app.pool.wait_until_connected(COMPANY, timeout=30)
