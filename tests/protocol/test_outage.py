"""Many sessions lose their lines at once, WhatsApp refuses for a while, and all come back, no faster than they may.

`OUTAGE_SESSIONS=200 OUTAGE_SECONDS=20 pytest tests/protocol/test_outage.py` is the long form.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import anyio
import pytest

from wasessionpool import Status
from wasessionpool.testing import WhatsAppServer

from .conftest import PHONES, OpenApplication
from .test_table import hear, linked

pytestmark = pytest.mark.anyio
SESSIONS = int(os.environ.get("OUTAGE_SESSIONS", "40"))
SECONDS = float(os.environ.get("OUTAGE_SECONDS", "4"))
NUMBERS = {f"company-{number}": f"7968{number:07}" for number in range(SESSIONS)}
START_RATE = 10.0
OWN_TRIES = 2
"""Dials of whatsmeow itself after its line is lost, until it is stopped: the pool cannot forbid them."""


async def for_each(act: Callable[[str, str], Awaitable[None]]) -> None:
    async with anyio.create_task_group() as tasks:
        for company_id, number in NUMBERS.items():
            tasks.start_soon(act, company_id, number)


class Arrivals:
    """When clients dialled, whether they were let in or not."""

    def __init__(self, whatsapp: WhatsAppServer) -> None:
        self.times: list[float] = []
        self._whatsapp = whatsapp

    async def note(self, wait: Callable[[int, float], Awaitable[None]], count: int) -> None:
        while True:
            count += 1
            await wait(count, 3600)
            self.times.append(anyio.current_time())

    async def run(self) -> None:
        whatsapp = self._whatsapp
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.note, whatsapp.wait_connections, whatsapp.connections_accepted)
            tasks.start_soon(self.note, whatsapp.wait_refused, whatsapp.tunnels_refused)


@pytest.mark.timeout(240 + 3 * SESSIONS)
async def test_all_come_back_and_never_faster_than_they_may(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    patience = 60 + SECONDS + 3 * SESSIONS / START_RATE
    hears = ("qr", "connected", "disconnected")
    async with application(
        hear=hears, start_rate=START_RATE, connect_timeout=60, max_sessions=SESSIONS, reconnect_max_delay=4
    ) as app:

        async def link(company_id: str, number: str) -> None:
            await app.pool.create_session(company_id, timeout=None)
            offered = await app.heard.wait_for(lambda e: e.type == "qr" and e.company_id == company_id, timeout=600)
            await whatsapp.phone(number).scan(offered.qr, timeout=60)
            await app.pool.wait_until_connected(company_id, timeout=60)

        await for_each(link)
        app.heard.events.clear()
        arrivals = Arrivals(whatsapp)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(arrivals.run)
            begin = anyio.current_time()
            refused = whatsapp.tunnels_refused
            whatsapp.refuse()
            await whatsapp.drop()
            await anyio.sleep(SECONDS)
            # With the dials that succeed, one for each session, they are then more than two for each.
            await whatsapp.wait_refused(refused + SESSIONS + 1, patience)
            whatsapp.accept()

            async def back(company_id: str, _number: str) -> None:
                await app.heard.wait_for(lambda e: e.type == "disconnected" and e.company_id == company_id, patience)
                await app.heard.wait_for(lambda e: e.type == "connected" and e.company_id == company_id, patience)

            await for_each(back)
            tasks.cancel_scope.cancel()
        assert {status.status for status in await app.pool.get_sessions()} == {Status.CONNECTED}
        assert len(arrivals.times) > 2 * SESSIONS
        for count, at in enumerate(sorted(arrivals.times), start=1):
            assert count <= OWN_TRIES * SESSIONS + 1 + START_RATE * (at - begin)


async def test_a_session_that_gave_up_comes_back_with_its_sibling(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    one, other = PHONES
    async with application(max_reconnect_attempts=1, reconnect_base_delay=0.1, reconnect_grace=0.1) as app:
        for company_id in PHONES:
            await linked(app, whatsapp, company_id)
        whatsapp.refuse()
        await whatsapp.drop()
        for company_id in PHONES:
            await app.heard.wait_for(lambda e, c=company_id: e.type == "reconnect_failed" and e.company_id == c)
        app.heard.events.clear()
        whatsapp.accept()
        await app.pool.create_session(one)
        back = ["status reconnecting network", "reconnecting 0 0", "status connected", "connected"]
        await hear(app, *back, company_id=other)
