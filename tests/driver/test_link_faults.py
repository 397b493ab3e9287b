"""What goes wrong inside neonize while a link is up, as the driver tells it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest

from wasessionpool.addresses import Address
from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.links import LinkEnded, LinkUp, PairingOffered
from wasessionpool.messages import Text
from wasessionpool.models import DisconnectReason, InboundMessage
from wasessionpool.testing.whatsapp.server import WhatsAppServer
from wasessionpool.waiting import first

from .conftest import PATIENCE, Link, SessionFactory

pytestmark = pytest.mark.anyio

OWN, OTHER = "79001234567", "79007654321"


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppServer]:
    async with WhatsAppServer() as server:
        yield server


@pytest.fixture
async def driver(whatsapp: WhatsAppServer) -> AsyncIterator[NeonizeDriver]:
    async with whatsapp.driver() as driver:
        yield driver


async def pair(link: Link, whatsapp: WhatsAppServer) -> None:
    await whatsapp.phone(OWN).scan((await link.next(PairingOffered)).text)
    await link.next(LinkUp)


@pytest.mark.parametrize("kind", ["server-error", "enc_rekey_retry"])
async def test_a_receipt_that_mutes_neonize_ends_the_link(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory, kind: str
) -> None:
    phone, one = whatsapp.phone(OWN), session()
    async with one.link(driver) as link:
        await pair(link, whatsapp)
        await phone.send_unknown_receipt(kind)
        ended = await link.next(LinkEnded)
        assert ended.reason is DisconnectReason.PUMP_DEAD
        await phone.wait_disconnected()
    while phone.undelivered:
        # WhatsApp tells it again where the line was cut before the acknowledgement was out.
        async with one.link(driver) as link:
            await first(phone.wait_delivered, partial(link.next, LinkEnded))
        await phone.wait_disconnected()
    async with one.link(driver) as link:
        await link.next(LinkUp)
        await whatsapp.contact(OTHER).send(OWN, "heard again")
        assert (await link.next(InboundMessage)).text == "heard again"


async def test_the_log_holds_no_text_no_number_and_no_code(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    phone, other = whatsapp.phone(OWN), whatsapp.contact(OTHER, "Anna")
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        await link.connection.send(Address(OTHER), Text(text="out it goes"))
        phone.corrupt_messages()
        await other.send(OWN, "in it comes")
        assert (await link.next(InboundMessage)).text == "in it comes"
        # Go tells of each reconnection that fails.
        whatsapp.refuse()
        await whatsapp.drop(OWN)
        with anyio.fail_after(PATIENCE):
            while "ERROR lines of Client: " not in caplog.text:  # noqa: ASYNC110 - a log record is no event to wait for
                await anyio.sleep(0.01)
        code = (await link.next(PairingOffered)).text.rpartition(",")[0]
    said = [record for record in caplog.records if record.name.startswith("wasessionpool.worker")]
    assert said
    for secret in ("out it goes", "in it comes", "Anna", OWN, OTHER, code):
        assert not any(secret in record.getMessage() for record in said), secret
