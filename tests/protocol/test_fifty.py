"""Fifty companies in one pool: each has its own messages, all come back together, and nothing is left of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from wasessionpool import Status
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, Application, OpenApplication

pytestmark = pytest.mark.anyio
COMPANIES = {f"company-{number}": f"7968000{number:04}" for number in range(50)}
START_RATE = 20.0


async def for_each(act: Callable[[str, str], Any]) -> None:
    """Do something for all companies at once."""
    async with anyio.create_task_group() as tasks:
        for company_id, number in COMPANIES.items():
            tasks.start_soon(act, company_id, number)


async def send_and_receive(app: Application, whatsapp: WhatsAppServer, words: str) -> None:
    """Let each company send and get a message of its own, and check that no other had any of it."""
    bob = whatsapp.contact(BOB)
    sent, got = len(bob.received), len([e for e in app.heard.events if e.type == "message"])

    async def both(company_id: str, number: str) -> None:
        await bob.send(number, f"{words} for {company_id}")
        await app.pool.send_message(company_id, BOB, f"{words} from {company_id}")
        await app.heard.message(f"{words} for {company_id}", company_id)

    await for_each(both)
    assert Counter((message.sender, message.text) for message in bob.received[sent:]) == {
        (number, f"{words} from {company_id}"): 1 for company_id, number in COMPANIES.items()
    }
    events = [e for e in app.heard.events if e.type == "message"][got:]
    assert Counter((e.company_id, e.text) for e in events) == {
        (company_id, f"{words} for {company_id}"): 1 for company_id in COMPANIES
    }
    for company_id, number in COMPANIES.items():
        assert whatsapp.phone(number).copies[-1].text == f"{words} from {company_id}"


@pytest.mark.timeout(300)
async def test_fifty_sessions(
    whatsapp: WhatsAppServer, application: OpenApplication, nothing_left: Callable[[], None]
) -> None:
    async with application(start_rate=START_RATE, connect_timeout=60) as app:

        async def link(company_id: str, number: str) -> None:
            await app.pool.create_session(company_id, timeout=None)
            offered = await app.heard.wait_for(lambda e: e.type == "qr" and e.company_id == company_id, timeout=200)
            await whatsapp.phone(number).scan(offered.qr, timeout=60)
            await app.pool.wait_until_connected(company_id, timeout=60)

        await for_each(link)
        assert len(app.shard_pids()) == 1
        await send_and_receive(app, whatsapp, "first")

        app.heard.events.clear()
        whatsapp.refuse()
        await whatsapp.drop()
        for company_id in COMPANIES:
            await app.heard.wait_for(lambda e, c=company_id: e.type == "disconnected" and e.company_id == c)
        times: list[float] = []
        before = whatsapp.connections_accepted
        whatsapp.accept()
        for count in range(1, len(COMPANIES) + 1):
            await whatsapp.wait_connections(before + count, timeout=60)
            times.append(anyio.current_time())
        for company_id in COMPANIES:
            await app.pool.wait_until_connected(company_id, timeout=60)
        assert times[-1] - times[0] > len(COMPANIES) / START_RATE / 2
        await send_and_receive(app, whatsapp, "second")
        metrics = await app.pool.get_metrics()
        assert (metrics.active_connections, metrics.messages_sent, metrics.messages_received) == (50, 100, 100)
        assert (metrics.reconnects, metrics.events_dropped) == (50, 0)
        statuses = {status.status for status in await app.pool.get_sessions()}
        assert statuses == {Status.CONNECTED}
    await whatsapp.wait_open(0)
    nothing_left()
