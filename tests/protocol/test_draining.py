"""Leaving the pool while messages are being sent: the pool and the real neonize."""

from __future__ import annotations

import anyio
import pytest

from wasessionpool import PoolClosed, SendTimeout, SentMessage
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY = "962302"


async def test_a_send_that_is_under_way_ends_and_no_other_begins(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONES[COMPANY]), whatsapp.contact(BOB)
    outcomes: dict[str, SentMessage | Exception] = {}
    async with anyio.create_task_group() as tasks, application(shutdown_timeout=PATIENCE) as app:
        await app.link(phone)
        phone.delay_acks(5)

        async def send(text: str) -> None:
            try:
                outcomes[text] = await app.pool.send_message(COMPANY, BOB, text)
            except PoolClosed as error:
                outcomes[text] = error

        tasks.start_soon(send, "under way")
        assert (await bob.next_message()).text == "under way"
        tasks.start_soon(send, "in line")
        await anyio.wait_all_tasks_blocked()
    assert isinstance(outcomes["under way"], SentMessage)
    assert isinstance(outcomes["in line"], PoolClosed)
    assert [message.text for message in bob.received] == ["under way"]


async def test_a_send_that_is_not_acknowledged_in_time_is_unknown(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    phone, bob = whatsapp.phone(PHONES[COMPANY]), whatsapp.contact(BOB)
    raised: list[SendTimeout] = []
    async with anyio.create_task_group() as tasks, application(shutdown_timeout=4) as app:
        await app.link(phone)
        phone.withhold_acks()

        async def send() -> None:
            with pytest.raises(SendTimeout, match="whether the message went out is unknown") as caught:
                await app.pool.send_message(COMPANY, BOB, "unheard")
            raised.append(caught.value)

        tasks.start_soon(send)
        await bob.next_message()
    assert len(raised) == 1
