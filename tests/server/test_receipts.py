"""Receipts of every kind, from a phone to plain neonize and back."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from wasessionpool.testing import ReceivedReceipt, WhatsAppServer

pytestmark = pytest.mark.anyio

OWN = "79686484488"
ANN = "79001234567"
DELIVERED, READ, READ_SELF, PLAYED, INACTIVE = 1, 4, 5, 6, 9


async def next_receipt(client: Any, kind: int) -> dict[str, Any]:
    while True:
        receipt: dict[str, Any] = await client.next("Receipt")
        if receipt["kind"] == kind:
            return receipt


async def test_a_contact_sends_receipts_of_every_kind(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    ann = whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        sent = await client.call("send", ANN, "question")
        message = await ann.next_message()
        await next_receipt(client, DELIVERED)
        for tell, number in (
            (ann.read, READ),
            (ann.play, PLAYED),
            (partial(ann.send_receipt, kind="inactive"), INACTIVE),
        ):
            await tell(message)
            receipt = await next_receipt(client, number)
            assert (receipt["ids"], receipt["sender"], receipt["from_me"]) == ([sent], f"77{ANN}", False)
        await whatsapp.phone(OWN).wait_delivered()


async def test_a_contact_asks_for_a_message_again(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    ann = whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        sent = await client.call("send", ANN, "question")
        message = await ann.next_message()
        for _ in range(2):
            await ann.ask_again(message)
            again = await ann.next_message()
            assert (again.id, again.text) == (sent, "question")
        assert again.encryption == "pkmsg"
        with pytest.raises(ValueError, match="was not written by a device"):
            await ann.ask_again(await told(ann, whatsapp))


async def told(ann: Any, whatsapp: WhatsAppServer) -> Any:
    await whatsapp.contact("79990000001").send(ann.number, "from a phone")
    return await ann.next_message()


async def test_linked_devices_hear_what_was_read_on_the_phone(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        sent = await ann.send(OWN, "news")
        await client.next("Message")
        [message] = phone.received
        for kind, number in (("read", READ), ("read-self", READ_SELF)):
            await phone.send_receipt(message, kind)
            receipt = await next_receipt(client, number)
            assert (receipt["ids"], receipt["chat"], receipt["from_me"]) == ([sent], f"77{ANN}", True)


async def test_receipts_of_a_client_reach_the_author(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client("One") as one, start_client("Two") as two:
        await pair(one)
        await pair(two)
        first, second = await ann.send(OWN, "one"), await ann.send(OWN, "two")
        receipt = await ann.wait_receipt(first, "inactive")
        assert receipt == ReceivedReceipt((first,), OWN, "inactive")
        await one.call("mark", "READ", f"77{ANN}", f"77{ANN}@lid", first, second)
        assert (await ann.wait_receipt(second, "read")).message_ids == (first, second)
        read = await next_receipt(two, READ)
        assert (read["ids"][0] in (first, second), read["from_me"], read["device"]) == (True, True, 1)
        await one.call("mark", "PLAYED", f"77{ANN}", f"77{ANN}@lid", first)
        assert (await ann.wait_receipt(first, "played")).sender == OWN
        own = await phone.send(ANN, "from the phone")
        await phone.wait_receipt(own, "sender")
        assert [r.kind for r in ann.receipts if own in r.message_ids] == []


async def test_a_client_that_keeps_what_it_reads_to_itself(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client("One") as one, start_client("Two") as two:
        await pair(one)
        await pair(two)
        sent = await ann.send(OWN, "one")
        await ann.wait_receipt(sent, "inactive")
        await one.call("mark", "READ_SELF", f"77{ANN}", f"77{ANN}@lid", sent)
        assert (await next_receipt(two, READ_SELF))["ids"] == [sent]
        await phone.wait_receipt(sent, "read-self")
        assert "read-self" not in [receipt.kind for receipt in ann.receipts]
