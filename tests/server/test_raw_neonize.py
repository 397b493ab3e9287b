"""The server against plain neonize: none of the pool or its driver takes part."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from wasessionpool.testing import PairingError, WhatsAppServer

from .test_faults import keys_are_deleted

pytestmark = pytest.mark.anyio

OWN = "79686484488"
OTHER = "79686484499"
ANN = "79001234567"
BOB = "79007654321"


async def pair(whatsapp: WhatsAppServer, client: Any, number: str = OWN) -> None:
    """Link a client that shows a QR, and wait until it is connected."""
    qr = await client.next("QR")
    await whatsapp.phone(number).scan(qr["text"])
    await client.next("Connected")


async def test_a_session_from_pairing_to_logout(
    whatsapp: WhatsAppServer, start_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    phone = whatsapp.phone(OWN, name="Company")
    ann = whatsapp.contact(ANN, name="Ann")
    bob = whatsapp.contact(BOB)
    async with start_client("Acme") as client:
        await pair(whatsapp, client)
        assert [(device.os, device.connected, device.logins) for device in phone.devices] == [("Acme", True, 1)]
        assert whatsapp.connected == (OWN,)
        assert whatsapp.connections_accepted == 2

        first = await ann.send(OWN, "hello")
        event = await client.next("Message")
        assert (event["id"], event["text"], event["name"]) == (first, "hello", "Ann")
        assert (event["sender"], event["sender_alt"], event["from_me"]) == (f"77{ANN}", ANN, False)
        await ann.wait_receipt(first)
        await phone.wait_delivered()

        for text in ["one", "два ✓ 三 😀", "x" * 60_000]:
            for contact in (ann, bob):
                sent = await client.call("send", contact.number, text)
                message, copy = await contact.next_message(), await phone.next_message()
                assert (message.id, message.text, message.sender) == (sent, text, OWN)
                assert (copy.id, copy.text, copy.recipient) == (sent, text, contact.number)
                assert sent in (await client.next("Receipt"))["ids"]
            await bob.send(OWN, text)
            assert (await client.next("Message"))["text"] == text
        assert [message.encryption for message in ann.received] == ["msg", "msg", "msg"]
        assert [message.encryption for message in bob.received] == ["pkmsg", "msg", "msg"]

        await client.call("logout")
        assert phone.devices == ()
    for contact in (ann, bob):
        assert (contact.undecryptable, contact.retries_asked) == (0, 0)
    assert "hello" not in caplog.text
    assert "два" not in caplog.text


async def test_messages_and_unlinking_wait_for_a_client_that_is_away(
    whatsapp: WhatsAppServer, start_client: Any, tmp_path: Path
) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client("Acme") as client:
        await pair(whatsapp, client)
        await phone.wait_delivered()
    await phone.wait_disconnected()

    ids = [await ann.send(OWN, f"while you were away {number}") for number in range(5)]
    assert phone.undelivered == 5
    async with start_client("Acme") as client:
        assert [(await client.next("Message"))["id"] for _ in ids] == ids
        await phone.wait_delivered()
        assert client.of("QR") == []
    await phone.wait_disconnected()

    await phone.unlink()
    async with start_client("Acme") as client:
        await phone.wait_refused_logins(timeout=30)
        await whatsapp.wait_open(0)
        await keys_are_deleted(tmp_path / "Acme.db")
        assert client.of("Connected") == []
    async with start_client("Acme") as client:
        await client.next("QR")


async def test_receipts_go_both_ways(whatsapp: WhatsAppServer, start_client: Any) -> None:
    ann = whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(whatsapp, client)
        sent = await client.call("send", ANN, "question")
        message = await ann.next_message()
        await ann.read(message)
        delivered, read = await client.next("Receipt"), await client.next("Receipt")
        assert (delivered["ids"], delivered["kind"]) == ([sent], 1)
        assert (read["ids"], read["kind"], read["sender"]) == ([sent], 4, f"77{ANN}")

        answer = await ann.send(OWN, "answer")
        await client.next("Message")
        await client.call("mark_read", answer, f"77{ANN}")
        assert (await ann.wait_receipt(answer, "read")).sender == OWN


async def test_what_the_phone_writes_is_seen_as_own(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(whatsapp, client)
        sent = await phone.send(ANN, "from the phone")
        event = await client.next("Message")
        assert (event["id"], event["text"], event["from_me"], event["chat"]) == (
            sent,
            "from the phone",
            True,
            f"77{ANN}",
        )
        assert (await ann.next_message()).text == "from the phone"


async def test_two_linked_accounts_write_to_each_other(whatsapp: WhatsAppServer, start_client: Any) -> None:
    async with start_client("One") as one, start_client("Two") as two:
        await pair(whatsapp, one, OWN)
        await pair(whatsapp, two, OTHER)
        for round_trip in range(3):
            sent = await one.call("send", OTHER, f"ping {round_trip}")
            event = await two.next("Message")
            assert (event["id"], event["text"], event["sender_alt"]) == (sent, f"ping {round_trip}", OWN)
            await two.call("send", OWN, f"pong {round_trip}")
            assert (await one.next("Message"))["text"] == f"pong {round_trip}"
        assert [m.text for m in whatsapp.phone(OTHER).received] == ["ping 0", "ping 1", "ping 2"]


async def test_both_sides_may_start_at_once(whatsapp: WhatsAppServer, start_client: Any) -> None:
    ann = whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(whatsapp, client)
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(client.call, "send", ANN, f"out {number}")
                tasks.start_soon(ann.send, OWN, f"in {number}")
        incoming = {(await client.next("Message"))["text"] for _ in range(10)}
        outgoing = {(await ann.next_message()).text for _ in range(10)}
        assert incoming == {f"in {number}" for number in range(10)}
        assert outgoing == {f"out {number}" for number in range(10)}
        assert len(ann.received) == 10


async def test_a_message_that_does_not_decrypt_is_sent_again(whatsapp: WhatsAppServer, start_client: Any) -> None:
    ann = whatsapp.contact(ANN)
    keys = whatsapp._network.account(ANN).primary
    async with start_client() as client:
        await pair(whatsapp, client)
        await ann.send(OWN, "hello")
        await client.next("Message")
        await client.call("send", ANN, "one")
        assert (await ann.next_message()).text == "one"

        [device] = keys._sessions
        keys.forget(device)
        await client.call("send", ANN, "two")
        message = await ann.next_message()
        assert (message.text, message.encryption, len(ann.received)) == ("two", "pkmsg", 2)
        assert ann.undecryptable == 2

        keys._sessions[device]._states[0].sending.key = bytes(32)
        sent = await ann.send(OWN, "three")
        event = await client.next("Message")
        assert (event["id"], event["text"], ann.retries_asked) == (sent, "three", 1)
        assert len(client.of("UndecryptableMessage")) == 1


async def test_numbers_that_are_not_on_whatsapp(whatsapp: WhatsAppServer, start_client: Any) -> None:
    whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(whatsapp, client)
        assert await client.call("is_on_whatsapp", f"+{ANN}", f"+{BOB}") == [[f"+{ANN}", True], [f"+{BOB}", False]]
        with pytest.raises(RuntimeError, match="no LID found"):
            await client.call("send", BOB, "anyone?")


async def test_codes_that_cannot_be_scanned(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone = whatsapp.phone(OWN)
    for text in ("", "https://example.com", "a,b,c,d,e"):
        with pytest.raises(PairingError, match="not a WhatsApp pairing code"):
            await phone.scan(text)
    async with start_client() as client:
        text = (await client.next("QR"))["text"]
        ref, noise, identity, *rest = text.rpartition("#")[2].split(",")
        with pytest.raises(PairingError, match="unknown here"):
            await phone.scan(",".join(["other" + ref, noise, identity, *rest]))
        with pytest.raises(PairingError, match="other keys"):
            await phone.scan(",".join([ref, identity, noise, *rest]))
        await phone.scan(text)
        with pytest.raises(PairingError, match=r"used already|unknown here"):
            await phone.scan(text)
    assert len(phone.devices) == 1


@pytest.mark.parametrize("prekeys", [50, 812])
async def test_a_new_device_uploads_as_many_prekeys_as_are_wanted(start_client: Any, prekeys: Literal[50, 812]) -> None:
    async with WhatsAppServer(prekeys=prekeys) as whatsapp, start_client("Acme", whatsapp) as client:
        await pair(whatsapp, client)
        companion = next(whatsapp._network.companions())
        assert len({key_id for key_id, _ in companion.keys.prekeys}) == prekeys
        await whatsapp.contact(ANN).send(OWN, "hello")
        assert (await client.next("Message"))["text"] == "hello"
        assert len(companion.keys.prekeys) < prekeys
