"""Sends that WhatsApp does not answer: the pool and the real neonize."""

from __future__ import annotations

import anyio
import pytest

from wasessionpool import DisconnectReason, SendTimeout, SessionNotConnected, Status
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PHONES, Application, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY, OTHER = PHONES
PHONE = PHONES[COMPANY]


async def stalled(app: Application) -> None:
    """Wait for what follows a send that hung: the link is recycled, and comes back."""
    lost = await app.heard.wait_for(lambda e: e.type == "disconnected")
    assert (lost.company_id, lost.reason) == (COMPANY, DisconnectReason.STALLED)
    await app.heard.wait_for(lambda e: e.type == "connected" and e.sequence > lost.sequence)


async def test_an_unacknowledged_send_disturbs_no_other_session_and_is_not_repeated(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(send_timeout=10) as app:
        for company_id, number in PHONES.items():
            await app.link(whatsapp.phone(number), company_id)
        # What a first message needs is asked for now, so that those to come are quick.
        await app.pool.send_message(OTHER, BOB, "before")
        assert (await bob.next_message()).text == "before"
        assert len(app.shard_pids()) == 1
        app.heard.events.clear()
        phone.withhold_acks()
        raised: list[Exception] = []

        async def send(text: str) -> None:
            with pytest.raises((SendTimeout, SessionNotConnected)) as caught:
                await app.pool.send_message(COMPANY, BOB, text)
            raised.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, "hanging")
            assert (await bob.next_message()).text == "hanging"
            tasks.start_soon(send, "in line")
            for number in range(5):
                await app.pool.send_message(OTHER, BOB, f"other {number}")
            assert raised == []
        assert [type(error) for error in raised] == [SendTimeout, SessionNotConnected]
        await stalled(app)
        phone.withhold_acks(False)
        await app.pool.send_message(COMPANY, BOB, "afterwards")
        texts = [message.text for message in bob.received]
        assert texts == ["before", "hanging", *(f"other {number}" for number in range(5)), "afterwards"]
        assert [e.type for e in app.heard.events if e.company_id == OTHER and e.type != "receipt"] == [
            "message_sent"
        ] * 5
        [error] = [e for e in app.heard.events if e.type == "error"]
        assert (error.code, error.send_id) == ("send_timeout", raised[0].send_id)
        metrics = await app.pool.get_metrics()
        assert (metrics.messages_sent, metrics.reconnects) == (7, 1)


async def test_a_late_acknowledgement_is_told_and_the_link_stays(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(send_timeout=20) as app:
        await app.link(phone)
        phone.delay_acks(6)
        app.heard.events.clear()
        with pytest.raises(SendTimeout) as caught:
            await app.pool.send_message(COMPANY, BOB, "hi", timeout=5)
        sent = await app.heard.wait_for(lambda e: e.type == "message_sent")
        assert sent.send_id == caught.value.send_id
        assert (await bob.next_message()).id == sent.message_id
        assert app.heard.types("message_sent", "receipt") == []
        assert phone.logins == 2


async def test_a_late_refusal_is_told(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        await bob.send(PHONE, "whom we know")
        await app.heard.message("whom we know")
        phone.fail_send(479)
        with app.frozen_shard(), pytest.raises(SendTimeout) as caught:
            await app.pool.send_message(COMPANY, BOB, "hi", timeout=5)
        error = await app.heard.wait_for(lambda e: e.type == "error")
        assert (error.code, error.send_id) == ("message_rejected", caught.value.send_id)


async def test_a_message_without_the_recipients_keys_is_never_called_sent(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(send_timeout=8) as app:
        await app.link(phone)
        phone.withhold_iq("encrypt")
        app.heard.events.clear()
        with pytest.raises(SendTimeout):
            await app.pool.send_message(COMPANY, BOB, "lost")
        phone.withhold_iq("encrypt", False)
        await stalled(app)
        await app.pool.send_message(COMPANY, BOB, "afterwards")
        assert (await bob.next_message()).text == "afterwards"
        assert [e.type for e in app.heard.events].count("message_sent") == 1
        assert (await app.pool.get_metrics()).messages_sent == 1
    assert [message.text for message in bob.received] == ["afterwards"]


async def test_leaving_does_not_wait_for_a_send(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app, anyio.create_task_group() as tasks:

        async def send() -> None:
            with pytest.raises(SendTimeout):
                await app.pool.send_message(COMPANY, BOB, "hanging")

        await app.link(phone)
        phone.withhold_acks()
        tasks.start_soon(send)
        await bob.next_message()
        with anyio.fail_after(20):
            await app.pool.disconnect(COMPANY)
        assert (await app.pool.get_session_status(COMPANY)).status is Status.DISCONNECTED
