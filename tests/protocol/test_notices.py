"""What is told besides messages: calls, groups that change, what could not be read, who writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.nodes import Node, node
from wasessionpool.testing.whatsapp.stanzas import now

from .conftest import BOB, PHONES, Application, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]
ANN = "79003334455"


async def told(app: Application, kind: str, action: str) -> Any:
    return await app.heard.wait_for(lambda e: e.type == kind and e.action == action)


async def works(app: Application, whatsapp: WhatsAppServer) -> None:
    """Check that the line has outlived everything that came."""
    await whatsapp.contact(BOB).send(PHONE, "still there?")
    await app.heard.message("still there?")
    metrics = await app.pool.get_metrics()
    assert (metrics.reconnects, metrics.worker_restarts, metrics.notices_dropped) == (0, 0, 0)


async def test_calls(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        call = await bob.call(PHONE)
        offered = await told(app, "call", "offered")
        assert (offered.call_id, offered.caller.phone_number) == (call, f"+{BOB}")
        await bob.hang_up(PHONE, call)
        assert (await told(app, "call", "ended")).call_id == call
        await works(app, whatsapp)


async def test_groups(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    whatsapp.contact(ANN)
    async with application() as app:
        await app.link(phone)
        group = await whatsapp.group("Team", [ANN, PHONE])
        joined = await told(app, "group", "joined")
        assert (joined.group.id, joined.name, joined.by.phone_number) == (group.jid, "Team", f"+{ANN}")
        assert {member.phone_number for member in joined.members} == {f"+{ANN}", f"+{PHONE}"}
        await group.add(bob.number)
        await group.promote(bob.number)
        await group.demote(bob.number)
        await group.rename("Crew")
        await group.remove(bob.number)
        for action in ("added", "promoted", "demoted", "removed"):
            change = await told(app, "group", action)
            assert (change.group.id, [member.lid for member in change.members]) == (group.jid, [f"77{BOB}@lid"])
            assert change.by.lid == f"77{ANN}@lid"
        renamed = await told(app, "group", "renamed")
        assert (renamed.name, renamed.members) == ("Crew", ())
        assert [e.action for e in app.heard.events if e.type == "group"] == [
            *("joined", "added", "promoted", "demoted", "renamed", "removed")
        ]
        await works(app, whatsapp)


CALLS = ("offer", "offer_notice", "accept", "preaccept", "transport", "relaylatency", "terminate", "reject", "unknown")
CHANGES = ("description", "delete", "locked", "announcement", "ephemeral", "invite", "link", "add", "remove", "unknown")


def odd_stanzas(bob: JID, group: JID) -> Iterator[Node]:
    """Yield calls and changes of a group as WhatsApp might write them, with something missing, unknown or too much."""
    inside = [node("child", {"who": bob, "number": "5"}, b"\x00\xff"), node("participant", {"jid": bob})]
    yield node("call", {"from": bob})
    for tag in CALLS:
        yield node("call", {"from": bob}, [node(tag, {}, inside)])
        yield node("call", {"from": bob}, [node(tag, {"call-id": tag, "call-creator": bob}, inside)])
    topic = node("description", {"id": "T"}, [node("body", {}, b"topic")])
    many = node("add", {}, [node("participant", {"jid": bob})] * 3000)
    for change in (*(node(tag, {}, inside) for tag in CHANGES), node("create"), topic, many):
        yield node("notification", {"from": group, "type": "w:gp2"}, [change])
        yield node("notification", {"from": group, "type": "w:gp2", "participant": bob}, [change])


async def test_odd_calls_and_changes_of_groups_end_nothing(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob, group = whatsapp.phone(PHONE), whatsapp.contact(BOB)._account.lid, JID("120363041234567890", "g.us")
    async with application() as app:
        await app.link(phone)
        [companion] = phone._account.companions.values()
        for number, stanza in enumerate(odd_stanzas(bob, group)):
            companion.deliver(node(stanza.tag, {"id": f"ODD{number}", "t": now(), **stanza.attrs}, stanza.content))
        await works(app, whatsapp)
        await app.heard.wait_for(lambda e: e.type == "group" and len(e.members) == 1024)
        calls = {event.call_id for event in app.heard.events if event.type == "call"}
        assert calls == {"offer", "offer_notice", "accept", "terminate"}
        changes = [event for event in app.heard.events if event.type == "group"]
        assert {event.group.id for event in changes} == {str(group)}
        assert {event.action for event in changes} >= {"described", "deleted", "added", "removed", "other"}


async def test_what_cannot_be_read(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        await bob.send(PHONE, "first")
        first = await app.heard.message("first")
        phone.corrupt_messages()
        sent = await bob.send(PHONE, "second")
        unread = await app.heard.wait_for(lambda e: e.type == "undecryptable")
        assert (unread.message_id, unread.chat, unread.sender) == (sent, first.chat, first.sender)
        assert (unread.from_me, unread.is_group) == (False, False)
        assert (await app.heard.message("second")).message_id == sent
        await works(app, whatsapp)


async def test_old_chats(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone = whatsapp.phone(PHONE)
    whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        await phone.share_history(BOB, ["old", "older"], progress=40)
        await phone.share_history(BOB, ["x" * 1000] * 3000)
        await app.heard.wait_for(lambda e: e.type == "history_sync" and e.progress == 100)
        parts = [event for event in app.heard.events if event.type == "history_sync"]
        assert [(part.sync_type, part.progress, part.chats, part.messages) for part in parts] == [
            ("recent", 40, 1, 2),
            ("recent", 100, 1, 3000),
        ]
        await works(app, whatsapp)
        assert [event.text for event in app.heard.events if event.type == "message"] == ["still there?"]


async def test_who_writes(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB, name="Bob")
    async with application() as app:
        await app.link(phone)
        for text in ("one", "two"):
            await bob.send(PHONE, text)
        message = await app.heard.message("two")
        whatsapp.contact(BOB, name="Robert")
        await bob.send(PHONE, "three")
        await app.heard.message("three")
        met = [event for event in app.heard.events if event.type == "contact"]
        assert [(event.contact, event.name) for event in met] == [(message.sender, "Bob"), (message.sender, "Robert")]
