"""The neonize driver keeps what every driver has to, against the loopback WhatsApp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from wasessionpool import Address, SessionKey
from wasessionpool.links import PairingOffered
from wasessionpool.testing import DriverUnderTest, Phone, WhatsAppServer, check_driver

from .conftest import BOB, PHONES

pytestmark = pytest.mark.anyio


class LoopbackFarEnd:
    """A phone of the loopback WhatsApp, to which Bob writes."""

    contact = Address(BOB)

    def __init__(self, whatsapp: WhatsAppServer, phone: Phone) -> None:
        self._phone = phone
        self._bob = whatsapp.contact(BOB)

    async def confirm(self, offer: PairingOffered) -> None:
        await self._phone.scan(offer.text)

    async def write(self, text: str) -> None:
        await self._bob.send(self._phone.number, text)

    async def unlink(self) -> None:
        await self._phone.unlink()


@pytest.mark.timeout(150)
async def test_the_neonize_driver() -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[DriverUnderTest]:
        async with WhatsAppServer() as whatsapp, whatsapp.driver() as driver:

            def far_end(key: SessionKey) -> LoopbackFarEnd:
                return LoopbackFarEnd(whatsapp, whatsapp.phone(PHONES[key.company_id]))

            yield DriverUnderTest(driver, far_end)

    await check_driver(make)
