"""What becomes of messages that were sent before: edited and taken back, by others and by the own phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PHONES, Application, OpenApplication, lie_in_inbox

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]
ANN = "79003334455"


async def told(app: Application, kind: str, message_id: str) -> Any:
    return await app.heard.wait_for(lambda e: e.type == kind and e.message_id == message_id)


async def test_edited_and_revoked(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        sent = await bob.send(PHONE, "at five")
        received = await app.heard.message("at five")
        await bob.edit(PHONE, sent, "at six")
        edited = await told(app, "message_edited", sent)
        assert (edited.text, edited.chat, edited.sender) == ("at six", received.chat, received.sender)
        assert (edited.from_me, edited.is_group, edited.redelivered) == (False, False, False)
        assert edited.timestamp >= received.timestamp
        await bob.revoke(PHONE, sent)
        revoked = await told(app, "message_revoked", sent)
        assert (revoked.sender.phone_number, revoked.chat) == (f"+{BOB}", received.chat)
        assert "at six" not in repr(edited)

        by_phone = await phone.send(BOB, "from the phone")
        await app.heard.message("from the phone")
        await phone.edit(BOB, by_phone, "edited there")
        edited = await told(app, "message_edited", by_phone)
        assert (edited.text, edited.from_me, edited.chat.phone_number) == ("edited there", True, f"+{BOB}")
        assert [e.text for e in app.heard.events if e.type == "message"] == ["at five", "from the phone"]
        assert (await app.pool.get_metrics()).messages_received == 1


async def test_in_a_group(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, ann = whatsapp.phone(PHONE), whatsapp.contact(ANN)
    async with application() as app:
        await app.link(phone)
        group = await whatsapp.group("Team", [ANN, PHONE])
        sent = await ann.send(group.jid, "at five")
        await ann.edit(group.jid, sent, "at six")
        await ann.revoke(group.jid, sent)
        edited, revoked = await told(app, "message_edited", sent), await told(app, "message_revoked", sent)
        for event in (edited, revoked):
            assert (event.chat.id, event.is_group, event.sender.phone_number) == (group.jid, True, f"+{ANN}")
        assert edited.text == "at six"


async def test_what_nobody_asked_for_is_not_kept(
    whatsapp: WhatsAppServer, application: OpenApplication, session_path: Path
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(hear=("status",)) as app:
        await app.link(phone)
        sent = await bob.send(PHONE, "kept")
        await bob.edit(PHONE, sent, "not kept")
        await bob.send(PHONE, "kept, too")
        await lie_in_inbox(session_path / COMPANY, ["kept", "kept, too"])
        async with app.pool.events("message", "message_edited") as events:
            assert [(await anext(events)).text for _ in range(2)] == ["kept", "kept, too"]
