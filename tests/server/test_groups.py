"""Groups, from both sides: those that plain neonize makes and those that it is taken into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wasessionpool.testing import WhatsAppServer

pytestmark = pytest.mark.anyio

OWN = "79686484488"
OTHER = "79686484499"
ANN = "79001234567"
BOB = "79007654321"


async def test_a_client_makes_a_group_and_writes_to_it(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    phone, ann, bob = whatsapp.phone(OWN), whatsapp.contact(ANN), whatsapp.contact(BOB)
    async with start_client() as client:
        await pair(client)
        made = await client.call("create_group", "Team", ANN, BOB)
        [group] = whatsapp.groups
        assert made == {"jid": group.jid, "name": "Team", "members": {OWN: True, ANN: False, BOB: False}}
        assert group.members == {OWN: "superadmin", ANN: "member", BOB: "member"}
        assert await client.call("group", group.jid) == made
        assert await client.call("groups") == [made]
        for number in range(3):
            sent = await client.call("send", group.jid, f"all {number}")
            for reader in (ann, bob, phone):
                message = await reader.next_message()
                assert (message.id, message.text, message.sender) == (sent, f"all {number}", OWN)
                assert (message.recipient, message.encryption) == (group.jid, "skmsg")
            assert {(await client.next("Receipt"))["sender"] for _ in "ab"} == {f"77{ANN}", f"77{BOB}"}
        assert [who.undecryptable for who in (ann, bob, phone)] == [0, 0, 0]


async def test_a_client_is_taken_into_a_group_and_reads_it(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    ann, bob = whatsapp.contact(ANN, name="Ann"), whatsapp.contact(BOB)
    async with start_client() as client:
        await pair(client)
        group = await whatsapp.group("Team", [ANN, BOB, OWN])
        await client.next("JoinedGroup")
        for number in range(3):
            for author in (ann, bob):
                sent = await author.send(group.jid, f"{author.name} {number}")
                event = await client.next("Message")
                assert (event["id"], event["text"]) == (sent, f"{author.name} {number}")
                assert (event["chat"], event["sender"]) == (group.jid.partition("@")[0], f"77{author.number}")
                assert (event["sender_alt"], event["name"]) == (author.number, author.name)
                assert (await author.wait_receipt(sent, "inactive")).sender == OWN
        await client.call("mark", "READ", f"77{BOB}", group.jid, sent)
        await bob.wait_receipt(sent, "read")
        assert [message.text for message in ann.received] == [f"{BOB} {number}" for number in range(3)]
        await whatsapp.phone(OWN).wait_delivered()
        assert client.of("UndecryptableMessage") == []


async def test_members_come_and_go(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    ann, bob = whatsapp.contact(ANN), whatsapp.contact(BOB)
    async with start_client() as client:
        await pair(client)
        await client.call("create_group", "Team", ANN)
        [group] = whatsapp.groups
        await client.call("send", group.jid, "for Ann")
        assert await client.call("change_group", group.jid, "add", BOB) == 1
        await client.call("send", group.jid, "for both")
        assert [(await ann.next_message()).text for _ in "ab"] == ["for Ann", "for both"]
        assert (await bob.next_message()).text == "for both"
        await client.call("change_group", group.jid, "promote", BOB)
        await client.call("change_group", group.jid, "remove", ANN)
        assert group.members == {OWN: "superadmin", BOB: "admin"}
        await group.demote(BOB)
        assert group.members == {OWN: "superadmin", BOB: "member"}
        await client.next("GroupInfo")
        await client.call("send", group.jid, "for Bob")
        assert (await bob.next_message()).text == "for Bob"
        assert len(ann.received) == 2
        with pytest.raises(ValueError, match="is not in the group"):
            await ann.send(group.jid, "let me in")
        await client.call("name_group", group.jid, "Bob and us")
        assert group.subject == "Bob and us"
        await group.rename("Bob")
        await client.next("GroupInfo")
        assert (await client.call("group", group.jid))["name"] == "Bob"
        await group.add(ANN)
        await client.next("GroupInfo")
        await ann.send(group.jid, "back")
        assert (await client.next("Message"))["text"] == "back"
        await client.call("leave_group", group.jid)
        assert OWN not in group.members
        with pytest.raises(RuntimeError, match="not participating"):
            await client.call("group", group.jid)


async def test_two_accounts_of_neonize_in_one_group(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    async with start_client("One") as one, start_client("Two") as two, start_client("Other") as other:
        await pair(one)
        await pair(two)
        await pair(other, OTHER)
        await one.call("create_group", "Team", OTHER)
        [group] = whatsapp.groups
        for client in (two, other):
            await client.next("JoinedGroup")
        for author in (one, other, two):
            sent = await author.call("send", group.jid, "hello")
            for reader in (one, two, other):
                if reader is not author:
                    event = await reader.next("Message")
                    assert (event["id"], event["text"]) == (sent, "hello")
                    assert event["from_me"] == (other not in (author, reader))
        for client in (one, two, other):
            assert client.of("UndecryptableMessage") == []


async def test_a_group_message_that_does_not_decrypt_is_sent_again(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    ann = whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        group = await whatsapp.group("Team", [ANN, OWN])
        await client.next("JoinedGroup")
        whatsapp.phone(OWN).corrupt_messages()
        sent = await ann.send(group.jid, "read this")
        event = await client.next("Message")
        assert (event["id"], event["text"], event["sender_alt"]) == (sent, "read this", ANN)
        assert (ann.retries_asked, len(client.of("UndecryptableMessage"))) == (1, 1)
        sent = await ann.send(group.jid, "and this")
        assert (await client.next("Message"))["id"] == sent

        sent = await client.call("send", group.jid, "and you this")
        message = await ann.next_message()
        await ann.ask_again(message)
        again = await ann.next_message()
        assert (again.id, again.text, message.encryption, again.encryption) == (sent, "and you this", "skmsg", "msg")


async def test_a_restarted_server_goes_on_with_a_group_its_keys_and_files(start_client: Any, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with WhatsAppServer(state=state) as before, start_client(server=before) as client:
        await before.phone(OWN).scan((await client.next("QR"))["text"])
        await client.next("Connected")
        ann = before.contact(ANN)
        group = await before.group("Team", [ANN, OWN])
        await client.next("JoinedGroup")
        await ann.send(group.jid, "before")
        assert (await client.next("Message"))["text"] == "before"
        await client.call("send", group.jid, "before too")
        assert (await ann.next_message()).text == "before too"
        image = await ann.send_image(group.jid, b"picture")
        await client.next("Message")
        await before.phone(OWN).wait_delivered()
    async with WhatsAppServer(state=state) as after, start_client(server=after) as client:
        await client.next("Connected")
        await client.call("wait_name", OWN)
        ann, [group] = after.contact(ANN), after.groups
        await ann.send(group.jid, "after")
        assert (await client.next("Message"))["text"] == "after"
        await client.call("send", group.jid, "after too")
        message = await ann.next_message()
        assert (message.text, message.encryption) == ("after too", "skmsg")
        assert [m.media for m in after.phone(OWN).received if m.id == image] == [b"picture"]
        assert client.of("UndecryptableMessage") == []
