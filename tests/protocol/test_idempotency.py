"""Sends by a key, with the real neonize: a restart, `kill -9` in mid-send, and answers that come late or never."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from wasessionpool import MessageRejected, SendTimeout, SentMessage
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES, OpenApplication
from .test_processes import start

pytestmark = pytest.mark.anyio
COMPANY = "962302"
PHONE = PHONES[COMPANY]


async def test_a_restarted_application_sends_nothing_twice(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with start(whatsapp, tmp_path / "sessions") as application:
        await phone.scan((await application.do("create", COMPANY))["qr"])
        await application.do("wait", COMPANY)
        first = await application.do("send by key", COMPANY, BOB, "once", "order 1", False)
        assert await application.end() == 0
    async with start(whatsapp, tmp_path / "sessions") as application:
        await application.do("wait", COMPANY)
        assert await application.do("send by key", COMPANY, BOB, "once", "order 1", False) == first
        await application.do("send", COMPANY, BOB, "after")
        assert await application.end() == 0
    assert [message.text for message in bob.received] == ["once", "after"]
    assert bob.received[0].id == first["id"]


async def test_what_a_killed_application_was_sending_stays_unknown(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with start(whatsapp, tmp_path / "sessions") as application:
        await phone.scan((await application.do("create", COMPANY))["qr"])
        await application.do("wait", COMPANY)
        phone.withhold_acks()
        await application.tell("send by key", COMPANY, BOB, "hanging", "order 1", False)
        assert (await bob.next_message()).text == "hanging"
        os.kill(application.process.pid, signal.SIGKILL)
        await application.process.wait()
    phone.withhold_acks(False)
    async with start(whatsapp, tmp_path / "sessions") as application:
        await application.do("wait", COMPANY)
        unknown = await application.do("send by key", COMPANY, BOB, "hanging", "order 1", False)
        assert unknown["unknown"] is not None
        assert await application.do("send by key", COMPANY, BOB, "hanging", "order 1", False) == unknown
        assert [message.text for message in bob.received] == ["hanging"]
        again = await application.do("send by key", COMPANY, BOB, "hanging", "order 1", True)
        assert await application.do("send by key", COMPANY, BOB, "hanging", "order 1", False) == again
        assert await application.end() == 0
    assert [message.text for message in bob.received] == ["hanging", "hanging"]
    assert bob.received[1].id == again["id"]


async def test_a_late_acknowledgement_answers_by_the_key(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(send_timeout=20) as app:
        await app.link(phone)
        phone.delay_acks(6)
        with pytest.raises(SendTimeout) as caught:
            await app.pool.send_message(COMPANY, BOB, "hi", idempotency_key="order 1", timeout=5)
        told = await app.heard.wait_for(lambda e: e.type == "message_sent")
        assert told.send_id == caught.value.send_id
        sent = await app.pool.send_message(COMPANY, BOB, "hi", idempotency_key="order 1")
        assert sent.id == told.message_id
        assert (await bob.next_message()).id == sent.id
    assert len(bob.received) == 1


async def test_a_late_refusal_frees_the_key(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application() as app:
        await app.link(phone)
        await bob.send(PHONE, "whom we know")
        await app.heard.message("whom we know")
        phone.fail_send(479)
        with app.frozen_shard(), pytest.raises(SendTimeout):
            await app.pool.send_message(COMPANY, BOB, "hi", idempotency_key="order 1", timeout=5)
        await app.heard.wait_for(lambda e: e.type == "error")
        with suppress(MessageRejected):
            # Who asks at the very moment may be told of it, too.
            await app.pool.send_message(COMPANY, BOB, "hi", idempotency_key="order 1")
        sent = await app.pool.send_message(COMPANY, BOB, "hi", idempotency_key="order 1")
        assert (await bob.next_message()).id == sent.id
    assert len(bob.received) == 1


async def test_an_acknowledgement_that_never_comes_leaves_it_unknown(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONE), whatsapp.contact(BOB)
    async with application(send_timeout=8) as app:
        await app.link(phone)
        phone.withhold_acks()
        outcomes: list[object] = []

        async def send() -> None:
            try:
                outcomes.append(await app.pool.send_message(COMPANY, BOB, "hi", idempotency_key="order 1"))
            except SendTimeout as error:
                outcomes.append(error.send_id)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(send)
        assert len(set(outcomes)) == 1
        phone.withhold_acks(False)
        await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        await send()
        assert set(outcomes) == {outcomes[0]}
        assert len(bob.received) == 1
        sent = await app.pool.send_message(COMPANY, BOB, "hi", idempotency_key="order 1", resend=True)
        assert isinstance(sent, SentMessage)
    assert len(bob.received) == 2
