"""Linking plain neonize by a code instead of a QR."""

from __future__ import annotations

from typing import Any

import pytest

from wasessionpool.testing import PairingError, WhatsAppServer

pytestmark = pytest.mark.anyio

OWN = "79686484488"
OTHER = "79686484499"
ANN = "79001234567"


async def test_a_client_is_linked_by_a_code(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client("Acme") as client:
        await client.next("QR")
        code = await client.call("pair_phone", OWN)
        device = await phone.enter_code(code.lower())
        assert (device.device, device.os) == (1, "Acme")
        await client.next("Connected")
        await client.call("send", ANN, "hello")
        assert (await ann.next_message()).text == "hello"
    async with start_client("Acme") as client:
        await client.next("Connected")
    with pytest.raises(PairingError, match="no device has asked"):
        await phone.enter_code(code)


async def test_a_wrong_code_shows_in_the_answer_of_the_device(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone = whatsapp.phone(OWN)
    async with start_client() as client:
        await client.next("QR")
        code = await client.call("pair_phone", OWN)
        wrong = ("2" if code[0] == "1" else "1") + code[1:]
        with pytest.raises(PairingError, match="another code"):
            await phone.enter_code(wrong)
        with pytest.raises(PairingError, match="no device has asked"):
            await phone.enter_code(code)
        await phone.enter_code(await client.call("pair_phone", OWN))
        await client.next("Connected")


async def test_codes_that_cannot_be_entered(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone = whatsapp.phone(OWN)
    for text in ("", "1234", "OOOO-OOOO", "1234-56789"):
        with pytest.raises(PairingError, match="not a WhatsApp pairing code"):
            await phone.enter_code(text)
    async with start_client() as client:
        await client.next("QR")
        code = await client.call("pair_phone", OWN)
        with pytest.raises(PairingError, match=f"linked to {OTHER} by a code"):
            await whatsapp.phone(OTHER).enter_code(code)
    await whatsapp.wait_open(0)
    with pytest.raises(PairingError, match="gone"):
        await phone.enter_code(code)
