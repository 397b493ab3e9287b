"""Refusals by WhatsApp's server, and numbers without an account, with the real neonize."""

from __future__ import annotations

import logging

import pytest

from wasessionpool import (
    AccountRestricted,
    MessageRejected,
    RateLimitExceeded,
    RecipientNotOnWhatsapp,
    RecipientRestricted,
    Status,
)
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]
ANN, EVE, DAN, NOBODY = "79000000001", "79000000002", "79000000003", "79000000004"


async def test_two_refused_strangers_restrict_the_account_and_answers_go_out(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    ann, _, dan = (whatsapp.contact(number) for number in (ANN, EVE, DAN))
    async with application() as app:
        await app.link(phone)
        await app.pool.send_message(COMPANY, BOB, "first")
        logins = phone.logins
        app.heard.events.clear()
        phone.fail_send(463, times=2)
        with pytest.raises(RecipientRestricted):
            await app.pool.send_message(COMPANY, ANN, "hi")
        with pytest.raises(AccountRestricted) as caught:
            await app.pool.send_message(COMPANY, EVE, "hi")
        assert caught.value.until is None
        told = await app.heard.wait_for(lambda e: e.type == "restricted")
        assert (told.kind, told.until) == ("reach_out", None)
        assert [e.code for e in app.heard.events if e.type == "error"] == ["recipient_restricted", "account_restricted"]
        with pytest.raises(AccountRestricted):
            await app.pool.send_message(COMPANY, DAN, "hi")
        await app.pool.send_message(COMPANY, BOB, "second")
        await ann.send(PHONE, "who are you?")
        await app.heard.message("who are you?")
        await app.pool.send_message(COMPANY, ANN, "an answer")
        assert (await ann.next_message()).text == "an answer"
        status = await app.pool.get_session_status(COMPANY)
        assert (status.status, status.restriction) == (Status.CONNECTED, "reach_out")
        assert phone.logins == logins
    async with application() as app:
        await app.pool.wait_until_connected(COMPANY, timeout=30)
        assert (await app.pool.get_session_status(COMPANY)).restriction == "reach_out"
        with pytest.raises(AccountRestricted):
            await app.pool.send_message(COMPANY, DAN, "hi")
        await app.pool.send_message(COMPANY, BOB, "third")
    assert [message.text for message in bob.received] == ["first", "second", "third"]
    assert dan.received == ()


async def test_another_refusal_names_its_code_and_restricts_nothing(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone = whatsapp.phone(PHONE)
    contacts = [whatsapp.contact(number) for number in (ANN, EVE)]
    async with application() as app:
        await app.link(phone)
        phone.fail_send(479, times=2)
        for number in (ANN, EVE):
            with pytest.raises(MessageRejected) as caught:
                await app.pool.send_message(COMPANY, number, "hi")
            assert caught.value.server_code == 479
        for contact in contacts:
            await app.pool.send_message(COMPANY, contact.number, "hi")
            assert (await contact.next_message()).text == "hi"


async def test_a_number_without_an_account_is_refused_before_anything_is_sent(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(rate_limit_max=1, send_timeout=5) as app:
        await app.link(phone)
        for _ in range(2):
            with pytest.raises(RecipientNotOnWhatsapp, match="no WhatsApp account"):
                await app.pool.send_message(COMPANY, NOBODY, "hi")
        await app.pool.send_message(COMPANY, BOB, "hi")
        with pytest.raises(RateLimitExceeded):
            await app.pool.send_message(COMPANY, BOB, "hi")
        assert (await bob.next_message()).text == "hi"
        assert [e.type for e in app.heard.events if e.type == "error"] == []


async def test_a_known_recipient_is_not_asked_about(
    whatsapp: WhatsAppServer, application: OpenApplication, caplog: pytest.LogCaptureFixture
) -> None:
    def questions() -> list[str]:
        stanzas = [record.getMessage() for record in caplog.records if record.name == "wasessionpool.testing.wire"]
        return [stanza for stanza in stanzas if " ← " in stanza and "usync" in stanza]

    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        caplog.set_level(logging.DEBUG, "wasessionpool.testing.wire")
        await app.pool.send_message(COMPANY, BOB, "first")
        assert len([each for each in questions() if "interactive" in each]) == 1
        await app.pool.send_message(COMPANY, BOB, "second")
    async with application() as app:
        await app.pool.wait_until_connected(COMPANY, timeout=30)
        await app.pool.send_message(COMPANY, BOB, "third")
    assert len([each for each in questions() if "interactive" in each]) == 1
    assert [message.text for message in bob.received] == ["first", "second", "third"]
