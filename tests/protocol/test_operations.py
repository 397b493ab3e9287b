"""What can be asked of a linked session besides sending, answered by the real neonize."""

from __future__ import annotations

from typing import Any

import pytest

from wasessionpool import MessageRejected, SessionNotConnected
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY, OTHER = PHONES
ANN = "79005550001"


async def test_numbers(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    whatsapp.contact(BOB)
    async with application() as app:
        await app.link(whatsapp.phone(PHONES[COMPANY]))
        session = app.pool.session(COMPANY)
        asked = ("+7 900 123-45-67", "79001234568", PHONES[COMPANY])
        assert await session.is_on_whatsapp(*asked) == {asked[0]: True, asked[1]: False, asked[2]: True}


async def test_typing(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    async with application() as app:
        await app.link(whatsapp.phone(PHONES[COMPANY]))
        await app.link(whatsapp.phone(PHONES[OTHER]), OTHER)
        session = app.pool.session(COMPANY)
        for state in ("composing", "recording", "paused"):
            await session.typing(PHONES[OTHER], state)
            event = await app.heard.wait_for(lambda e, state=state: e.type == "typing" and e.state == state)
            assert event.company_id == OTHER


async def test_reactions_and_read_marks(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob, ann = whatsapp.phone(PHONES[COMPANY]), whatsapp.contact(BOB), whatsapp.contact(ANN)
    async with application() as app:

        @app.pool.on("message")
        async def answer(event: Any) -> None:
            await event.mark_read()
            await event.react("👍")

        await app.link(phone)
        group = await whatsapp.group("Team", [ann.number, phone.number])
        session = app.pool.session(COMPANY)

        message_id = await bob.send(phone.number, "Hello")
        reaction = await bob.next_message()
        assert (reaction.kind, reaction.text, reaction.target) == ("reaction", "👍", message_id)
        await bob.wait_receipt(message_id, "read")
        await session.react(message_id, "", chat=BOB)
        assert (await bob.next_message()).text == ""

        in_group = await ann.send(group.jid, "Hello all")
        reaction = await ann.next_message()
        assert (reaction.kind, reaction.target, reaction.recipient) == ("reaction", in_group, group.jid)
        await ann.wait_receipt(in_group, "read")

        sent = await app.pool.send_message(COMPANY, BOB, "mine")
        mine = await bob.next_message()
        for emoji in ("❤️", ""):
            await bob.react(mine, emoji)
            told = await app.heard.wait_for(lambda e, emoji=emoji: e.type == "reaction" and e.emoji == emoji)
            assert (told.message_id, told.sender.phone_number, told.from_me) == (sent.id, f"+{BOB}", False)
        await session.react(sent.id, "🎉", chat=BOB, from_me=True)
        reaction = await bob.next_message()
        assert (reaction.text, reaction.target) == ("🎉", sent.id)


async def test_what_whatsapp_refuses_and_what_finds_no_link(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONES[COMPANY]), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        session = app.pool.session(COMPANY)
        phone.fail_send(479)
        with pytest.raises(MessageRejected, match="479"):
            await session.react("3EB0", "👍", chat=bob.number)
        await app.pool.disconnect(COMPANY)
        with pytest.raises(SessionNotConnected):
            await session.typing(bob.number)
