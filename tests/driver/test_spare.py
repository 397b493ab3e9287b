"""The warm worker for the next pairing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

from wasessionpool.drivers.neonize import NeonizeDriver
from wasessionpool.links import PairingOffered, PairingQueued
from wasessionpool.testing.whatsapp.server import WhatsAppServer

from .conftest import Link, SessionFactory, of_role, pair, until

pytestmark = pytest.mark.anyio


def spares(driver: NeonizeDriver) -> list[int]:
    return [worker.pid for worker in of_role(driver, "spare")]


def ready_spares(driver: NeonizeDriver) -> list[int]:
    return [worker.pid for worker in of_role(driver, "spare") if worker.rss]


async def test_the_next_pairing_takes_the_spare(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    async with whatsapp.driver() as driver:
        assert driver.workers() == ()
        async with session("one").link(driver) as link:
            await link.next(PairingOffered)
            await until(lambda: ready_spares(driver))
        [spare] = ready_spares(driver)
        async with session("two").link(driver) as link:
            await link.next(PairingOffered)
            assert [worker.pid for worker in of_role(driver, "pairing")] == [spare]
            await until(lambda: ready_spares(driver))
            await pair(link, whatsapp)
            assert of_role(driver, "pairing") == []
            assert len(driver.workers()) == 2
            assert spare not in ready_spares(driver)
            pids = [worker.pid for worker in driver.workers()]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_an_idle_spare_ends(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    async with whatsapp.driver(spare_timeout=6.0) as driver:
        async with session("one").link(driver) as link:
            await until(lambda: spares(driver))
            await link.next(PairingOffered)
        await until(lambda: driver.workers() == ())
        assert set(children.read_text().split()) == before
        assert driver.worker_restarts == 0
        async with session("two").link(driver) as link:
            await link.next(PairingOffered)


async def test_a_spare_is_not_ended_while_it_pairs(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    async with whatsapp.driver(spare_timeout=10.0) as driver:
        async with session("one").link(driver):
            await until(lambda: spares(driver))
        [spare] = spares(driver)
        async with session("two").link(driver) as link:
            # The next spare is younger: when it has ended, the time of the first is over, too.
            await until(lambda: spares(driver) not in ([], [spare]))
            await until(lambda: spares(driver) == [])
            assert [worker.pid for worker in of_role(driver, "pairing")] == [spare]
            await pair(link, whatsapp)


async def test_a_spare_that_died_is_not_used(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    async with whatsapp.driver(respawn_delay=0.1) as driver:
        async with session("one").link(driver) as link:
            await link.next(PairingOffered)
            await until(lambda: ready_spares(driver))
        [spare] = ready_spares(driver)
        os.kill(spare, signal.SIGKILL)
        await until(lambda: driver.workers() == ())
        assert driver.worker_restarts == 1
        async with session("two").link(driver) as link:
            await pair(link, whatsapp)


async def test_pairings_wait_in_the_order_of_their_coming_and_spares_do_not_count(
    whatsapp: WhatsAppServer, session: SessionFactory
) -> None:
    links: dict[str, Link] = {}
    leave = {name: anyio.Event() for name in ("first", "second", "gone", "third")}

    async def hold(name: str) -> None:
        async with session(name).link(driver) as links[name]:
            await leave[name].wait()

    async with whatsapp.driver(max_pairings=1) as driver, anyio.create_task_group() as tasks:
        for name in leave:
            tasks.start_soon(hold, name)
            await until(lambda name=name: name in links)
            await links[name].next(PairingOffered if name == "first" else PairingQueued)
        await until(lambda: ready_spares(driver))
        assert len(of_role(driver, "pairing")) == 1
        leave["gone"].set()
        await pair(links["first"], whatsapp, "79001230001")
        await links["second"].next(PairingOffered)
        assert [type(event) for event in links["third"].events] == [PairingQueued]
        await pair(links["second"], whatsapp, "79001230002")
        await pair(links["third"], whatsapp, "79001230003")
        assert [type(event) for event in links["gone"].events] == [PairingQueued]
        for event in leave.values():
            event.set()
