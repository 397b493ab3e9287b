"""Several devices of one account, and accounts whose both ends are plain neonize."""

from __future__ import annotations

from typing import Any

import pytest

from wasessionpool.testing import LinkedDevice, WhatsAppServer

pytestmark = pytest.mark.anyio

OWN = "79686484488"
OTHER = "79686484499"
ANN = "79001234567"
INACTIVE, SENDER, READ = 9, 2, 4


async def test_devices_of_one_account_see_what_each_sends(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client("One") as one, start_client("Two") as two:
        await pair(one)
        await pair(two)
        for sender, other, device in ((one, two, 1), (two, one, 2), (one, two, 1)):
            sent = await sender.call("send", ANN, f"from device {device}")
            copy = await other.next("Message")
            assert (copy["id"], copy["from_me"], copy["chat"], copy["device"]) == (sent, True, f"77{ANN}", device)
            assert copy["text"] == f"from device {device}"
            for message in (await ann.next_message(), await phone.next_message()):
                assert (message.id, message.device, message.text) == (sent, device, f"from device {device}")
            kinds = {(receipt["kind"], receipt["sender"]) for receipt in [await sender.next("Receipt") for _ in "ab"]}
            assert kinds == {(1, f"77{ANN}"), (SENDER, f"77{OWN}")}
            assert sender.of("Message") == [] or sender.of("Message")[-1]["id"] != sent

        incoming = await ann.send(OWN, "to both")
        assert {(await client.next("Message"))["id"] for client in (one, two)} == {incoming}
        await phone.wait_delivered()
        assert phone.undecryptable == ann.undecryptable == 0


async def test_receipts_go_to_the_device_that_wrote(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    async with start_client("One") as one, start_client("Two") as two, start_client("Other") as other:
        await pair(one)
        await pair(two)
        await pair(other, OTHER)
        first = await one.call("send", OTHER, "from one")
        assert (await other.next("Message"))["id"] == first
        second = await two.call("send", OTHER, "from two")
        assert (await other.next("Message"))["id"] == second
        await other.call("mark", "READ", f"77{OWN}", f"77{OWN}@lid", first, second)
        for client, ids in ((one, [first]), (two, [second])):
            while True:
                receipt = await client.next("Receipt")
                if receipt["kind"] == READ:
                    break
                assert receipt["ids"] == ids
                assert receipt["sender"] in (f"77{OWN}", f"77{OTHER}")
        for client in (one, two):
            reads = {message_id for r in client.of("Receipt") if r["kind"] == READ for message_id in r["ids"]}
            while reads != {first, second}:
                receipt = await client.next("Receipt")
                reads |= set(receipt["ids"]) if receipt["kind"] == READ else set()


async def test_two_accounts_of_neonize_talk_both_ways(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    async with start_client("One") as one, start_client("Other") as other:
        await pair(one)
        await pair(other, OTHER)
        for number in range(10):
            sent = await one.call("send", OTHER, f"ping {number}")
            event = await other.next("Message")
            assert (event["id"], event["text"], event["device"]) == (sent, f"ping {number}", 1)
            answer = await other.call("send", OWN, f"pong {number}")
            event = await one.next("Message")
            assert (event["id"], event["text"], event["sender_alt"]) == (answer, f"pong {number}", OTHER)
        for number, peer in ((OWN, "pong"), (OTHER, "ping")):
            phone = whatsapp.phone(number)
            await phone.wait_delivered()
            assert [message.text for message in phone.received] == [f"{peer} {n}" for n in range(10)]
            assert (phone.undecryptable, phone.retries_asked) == (0, 0)
        assert one.of("UndecryptableMessage") == other.of("UndecryptableMessage") == []


async def test_a_device_that_cannot_decrypt_another_gets_the_message_again(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    async with start_client("One") as one, start_client("Other") as other:
        await pair(one)
        await pair(other, OTHER)
        await one.call("send", OTHER, "hello")
        await other.next("Message")
        whatsapp.phone(OTHER).corrupt_messages()
        sent = await one.call("send", OTHER, "again")
        event = await other.next("Message")
        assert (event["id"], event["text"]) == (sent, "again")
        assert len(other.of("UndecryptableMessage")) == 1


async def test_clients_hear_of_a_device_that_is_linked_or_unlinked_later(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client("One") as one, start_client("Two") as two, start_client("Other") as other:
        await pair(one)
        await pair(other, OTHER)
        await one.call("send", OTHER, "before")
        await other.next("Message")
        await other.call("send", OWN, "before")
        await one.next("Message")

        await pair(two)
        # A client acknowledges a notification before it has taken it in, and reads what comes behind it afterwards.
        for number, clients in ((OWN, (one, two)), (OTHER, (other,))):
            await whatsapp.phone(number).wait_delivered()
            behind = await ann.send(number, "behind the notification")
            for client in clients:
                assert (await client.next("Message"))["id"] == behind
        for author, reader, text in ((one, other, "from one"), (other, one, "from other")):
            sent = await author.call("send", OTHER if author is one else OWN, text)
            for client in (reader, two):
                event = await client.next("Message")
                assert (event["id"], event["text"]) == (sent, text)

        await two.call("logout")
        await phone.wait_delivered()
        await whatsapp.phone(OTHER).wait_delivered()
        stranger = whatsapp._network.account(OTHER).companions[1]
        await other.call("send", OWN, "after")
        assert (await one.next("Message"))["text"] == "after"
        [left] = phone.devices
        assert isinstance(left, LinkedDevice)
        assert left.device == 1
        assert stranger.asked_for == {OWN, OTHER}
        for client in (one, other):
            assert client.of("UndecryptableMessage") == []


async def test_what_is_told_of_a_user(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    whatsapp.contact(ANN)
    async with start_client("One") as one, start_client("Two") as two:
        await pair(one)
        await pair(two)
        assert await one.call("user_info", ANN) == {"devices": [0], "status": "Hey there! I am using WhatsApp."}
        assert (await one.call("user_info", OWN))["devices"] == [0, 1, 2]
