"""Workers that are worn: their sessions go on elsewhere, and nobody notices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise

import anyio.lowlevel
import pytest

from wasessionpool.addresses import Address
from wasessionpool.drivers.neonize import NeonizeDriver, WorkerLimits, connection
from wasessionpool.errors import SessionNotConnected
from wasessionpool.links import LinkEnded, LinkLost, LinkUp
from wasessionpool.messages import Text
from wasessionpool.models import DisconnectReason, InboundMessage
from wasessionpool.testing.whatsapp.connection import Connection
from wasessionpool.testing.whatsapp.server import WhatsAppServer

from .conftest import OTHER, PATIENCE, Link, SessionFactory, of_role, pair, paired, until

pytestmark = pytest.mark.anyio
OPTIONS = {"vitals_interval": 0.1, "spare_timeout": 0}
NUMBERS = {name: f"7900000000{number}" for number, name in enumerate(["one", "two", "three"])}


@asynccontextmanager
async def held(
    driver: NeonizeDriver, whatsapp: WhatsAppServer, session: SessionFactory, *names: str
) -> AsyncIterator[dict[str, Link]]:
    """Pair sessions one after another, and hold them."""
    links: dict[str, Link] = {}
    done = anyio.Event()

    async def hold(name: str) -> None:
        async with session(name).link(driver) as link:
            await pair(link, whatsapp, NUMBERS[name])
            links[name] = link
            await done.wait()

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(hold, name)
            await until(lambda name=name: name in links)
        yield links
        done.set()


def hosts(driver: NeonizeDriver) -> dict[int, tuple[str, ...]]:
    return {worker.pid: worker.sessions for worker in of_role(driver, "shard")}


async def test_the_sessions_of_a_worn_worker_move_one_at_a_time(
    whatsapp: WhatsAppServer, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_MOVE", PATIENCE)
    other = whatsapp.contact(OTHER)
    async with (
        whatsapp.driver(limits=WorkerLimits(starts=4, min_age=0), **OPTIONS) as driver,
        held(driver, whatsapp, session, *NUMBERS) as links,
    ):
        [old] = hosts(driver)
        await paired(session("last"), driver, whatsapp)
        seen: list[dict[int, tuple[str, ...]]] = []

        def moved() -> bool:
            if not seen or hosts(driver) != seen[-1]:
                seen.append(hosts(driver))
            return old not in seen[-1] and len(sum(seen[-1].values(), ())) == 3

        await until(moved)
        await until(lambda: driver.worker_restarts == 1)
        for before, after in pairwise(seen):
            assert len(before.get(old, ())) - len(after.get(old, ())) <= 1
            assert len(sum(after.values(), ())) >= 2, "two were without a client at once"
        for name, link in links.items():
            await link.connection.send(Address(OTHER), Text(text=name))
            await other.send(NUMBERS[name], name)
            assert (await link.next(InboundMessage)).text == name
            assert not any(isinstance(event, LinkLost | LinkEnded) for event in link.events)
            assert sum(isinstance(event, LinkUp) for event in link.events) == 1
            assert whatsapp.phone(NUMBERS[name]).logins == 3, "pairing, old and new worker"


async def test_a_send_that_runs_is_waited_for_and_the_next_waits(
    whatsapp: WhatsAppServer, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_MOVE", PATIENCE)
    acks: list[Callable[[], None]] = []
    monkeypatch.setattr(Connection, "send_later", lambda line, ack, _seconds: acks.append(partial(line.send, ack)))
    other = whatsapp.contact(OTHER)
    async with (
        whatsapp.driver(limits=WorkerLimits(starts=2, min_age=0), **OPTIONS) as driver,
        held(driver, whatsapp, session, "one") as links,
    ):
        [old] = hosts(driver)
        phone, link = whatsapp.phone(NUMBERS["one"]), links["one"].connection
        phone.delay_acks(1)
        sent = []

        async def send(text: str) -> None:
            await link.send(Address(OTHER), Text(text=text))
            sent.append((text, old in hosts(driver)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, "before")
            assert (await other.next_message()).text == "before"
            await paired(session("last"), driver, whatsapp)
            await until(lambda: link._left)  # it waits for the send; no part of what a connection shows
            phone.end_faults()
            tasks.start_soon(send, "meanwhile")
            await anyio.lowlevel.checkpoint()
            assert sent == []
            for acknowledge in acks:
                acknowledge()
        assert [text for text, _ in sent] == ["before", "meanwhile"]
        assert sent[0] == ("before", True)
        assert [message.text for message in other.received] == ["before", "meanwhile"]
        await until(lambda: old not in hosts(driver))
        assert not any(isinstance(event, LinkLost | LinkEnded) for event in links["one"].events)


async def test_a_move_that_takes_long_is_told(
    whatsapp: WhatsAppServer, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_MOVE", 0.3)
    whatsapp.contact(OTHER)
    async with (
        whatsapp.driver(limits=WorkerLimits(starts=2, min_age=0), **OPTIONS) as driver,
        held(driver, whatsapp, session, "one") as links,
    ):
        link = links["one"]
        whatsapp.phone(NUMBERS["one"]).withhold_iq("passive")
        await paired(session("last"), driver, whatsapp)
        lost = await link.next(LinkLost)
        with pytest.raises(SessionNotConnected):
            await link.connection.send(Address(OTHER), Text(text="x"))
        whatsapp.phone(NUMBERS["one"]).end_faults()
        await whatsapp.drop(NUMBERS["one"])
        await link.next(LinkUp, after=lost)


async def test_a_move_that_fails_ends_the_link(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    last = session("last")
    async with whatsapp.driver(limits=WorkerLimits(starts=3, min_age=0), **OPTIONS) as driver:
        await paired(last, driver, whatsapp)
        async with held(driver, whatsapp, session, "one") as links:
            whatsapp.refuse()
            async with last.link(driver) as link:
                await link.next(LinkEnded)
            ended = await links["one"].next(LinkEnded)
            assert ended.reason is DisconnectReason.NETWORK
            await until(lambda: not any(hosts(driver).values()))


async def test_a_young_worker_is_full_and_not_drained(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    one, two = session("one"), session("two")
    async with whatsapp.driver(limits=WorkerLimits(rss=1), **OPTIONS) as driver:
        await paired(two, driver, whatsapp, NUMBERS["two"])
        await until(lambda: driver.workers() == ())
        async with one.link(driver) as link:
            await pair(link, whatsapp, NUMBERS["one"])
            [old] = hosts(driver)
            await until(lambda: driver.workers()[0].rss)
            async with two.link(driver) as second:
                await second.next(LinkUp)
                assert sorted(hosts(driver).values()) == [("one",), ("two",)]
                assert hosts(driver)[old] == ("one",)
            await until(lambda: list(hosts(driver)) == [old])
        await until(lambda: hosts(driver) == {})
