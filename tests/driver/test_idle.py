"""Workers that no session is left on."""

from __future__ import annotations

import anyio
import pytest

from wasessionpool.addresses import Address
from wasessionpool.links import LinkUp
from wasessionpool.messages import Text
from wasessionpool.testing.whatsapp.server import WhatsAppServer

from .conftest import OTHER, SessionFactory, of_role, paired, until

pytestmark = pytest.mark.anyio


async def test_a_worker_without_a_session_ends(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    one = session("one")
    async with whatsapp.driver(spare_timeout=0, idle_timeout=0.2) as driver:
        await paired(one, driver, whatsapp)
        await until(lambda: driver.workers() == ())
        assert driver.worker_restarts == 0
        async with one.link(driver) as link:
            await link.next(LinkUp)


async def test_one_that_a_session_comes_back_to_is_kept(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    one, other = session("one"), whatsapp.contact(OTHER)
    async with whatsapp.driver(spare_timeout=0, idle_timeout=6.0) as driver:
        await paired(one, driver, whatsapp)
        [shard] = of_role(driver, "shard")
        async with one.link(driver) as link:
            await link.next(LinkUp)
            await anyio.sleep(6.5)
            await link.connection.send(Address.parse(OTHER), Text(text="still here"))
            assert (await other.next_message()).text == "still here"
            assert [worker.pid for worker in of_role(driver, "shard")] == [shard.pid]
        await until(lambda: driver.workers() == ())
