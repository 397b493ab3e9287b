"""Workers that abort, wear out and are counted, as an application sees it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from wasessionpool import DisconnectReason, Status
from wasessionpool.drivers.neonize import WorkerLimits, connection
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, PATIENCE, PHONES, OpenApplication

pytestmark = pytest.mark.anyio
COMPANY, OTHER = PHONES
POISON = "poison"
POISONED_PHONE = "79681112233"


@pytest.mark.timeout(120)
async def test_a_poisonous_session_is_found_and_the_others_are_kept(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    bob, poison = whatsapp.contact(BOB), whatsapp.phone(POISONED_PHONE)
    options = {"respawn_delay": 0.1, "spare_timeout": 0}
    async with application(options, reconnect_base_delay=0.2, revive_interval=None) as app:
        for company_id, number in PHONES.items():
            await app.link(whatsapp.phone(number), company_id)
        await app.link(poison, POISON)
        assert len(app.shard_pids()) == 1
        app.heard.events.clear()
        poison.fail_login(413, times=100)
        await poison.drop()
        ended = await app.heard.wait_for(
            lambda e: e.type == "status" and e.company_id == POISON and e.current is Status.FAILED, timeout=60
        )
        assert ended.reason is DisconnectReason.POISONED
        for company_id in PHONES:
            await app.pool.wait_until_connected(company_id, timeout=PATIENCE)
            await app.pool.send_message(company_id, BOB, company_id)
            assert (await bob.next_message()).text == company_id
        metrics = await app.pool.get_metrics()
        assert metrics.worker_restarts == 3
        assert sorted(worker.sessions for worker in metrics.workers if worker.sessions) == [(COMPANY,), (OTHER,)]
        status = await app.pool.get_session_status(POISON)
        assert (status.status, status.disconnect_reason) == (Status.FAILED, DisconnectReason.POISONED)
        lost = [e.company_id for e in app.heard.events if e.type == "disconnected"]
        assert sorted(company_id for company_id in lost if company_id != POISON) == [COMPANY, OTHER]


async def test_one_that_starts_alone_takes_nobody_with_it_twice(
    whatsapp: WhatsAppServer, application: OpenApplication
) -> None:
    poison = whatsapp.phone(POISONED_PHONE)
    options = {"respawn_delay": 0.1, "spare_timeout": 0}
    async with application(options, reconnect_base_delay=0.2, revive_interval=None) as app:
        await app.link(whatsapp.phone(PHONES[COMPANY]))
        await app.link(poison, POISON)
        await app.pool.disconnect(POISON)
        poison.fail_login(413, times=100)
        app.heard.events.clear()
        await app.pool.create_session(POISON, timeout=0)
        await app.heard.wait_for(
            lambda e: e.type == "status" and e.company_id == POISON and e.current is Status.FAILED, timeout=40
        )
        await app.pool.wait_until_connected(COMPANY, timeout=PATIENCE)
        assert (await app.pool.get_metrics()).worker_restarts == 2
        lost = [e for e in app.heard.events if e.type == "disconnected" and e.company_id == COMPANY]
        assert len(lost) == 1


async def test_a_recycled_worker_is_not_noticed(
    whatsapp: WhatsAppServer, application: OpenApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_MOVE", PATIENCE)
    bob = whatsapp.contact(BOB)
    options: dict[str, Any] = {
        "limits": WorkerLimits(starts=3, min_age=0),
        "vitals_interval": 0.1,
        "spare_timeout": 0,
    }
    async with application(options) as app:
        await app.link(whatsapp.phone(PHONES[COMPANY]))
        [old] = app.shard_pids()
        app.heard.events.clear()
        received: list[str] = []

        async def send() -> None:
            for number in range(20):
                await app.pool.send_message(COMPANY, BOB, str(number))
                received.append((await bob.next_message()).text)
                await anyio.sleep(0.1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await app.link(whatsapp.phone(PHONES[OTHER]), OTHER)
            await app.pool.disconnect(OTHER)
            # The third start; the next worker gets two, so that it is not recycled as well.
            await app.link(whatsapp.phone("79681112244"), "962304")
        with anyio.fail_after(PATIENCE):
            while old in app.shard_pids():  # noqa: ASYNC110 - nothing tells of it, which is what is tested
                await anyio.sleep(0.05)
        await app.pool.send_message(COMPANY, BOB, "from the new worker")
        assert received == [str(number) for number in range(20)]
        types = {e.type for e in app.heard.events if e.company_id == COMPANY}
        assert types <= {"message_sent", "receipt"}
        metrics = await app.pool.get_metrics()
        assert (metrics.worker_restarts, metrics.reconnects, metrics.ignored_signals) == (1, 0, 0)
        assert (await app.pool.get_session_status(COMPANY)).reconnect_attempts == 0


async def test_metrics_show_the_workers(whatsapp: WhatsAppServer, application: OpenApplication) -> None:
    async with application({"vitals_interval": 0.1, "spare_timeout": 60.0}) as app:
        assert (await app.pool.get_metrics()).workers == ()
        await app.link(whatsapp.phone(PHONES[COMPANY]), device="sales")
        with anyio.fail_after(PATIENCE):
            while not all(worker.rss for worker in (await app.pool.get_metrics()).workers):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        spare, shard = sorted((await app.pool.get_metrics()).workers, key=lambda worker: worker.role, reverse=True)
        assert (shard.role, shard.sessions) == ("shard", (f"{COMPANY}:sales",))
        assert (spare.role, spare.sessions) == ("spare", ())
        for worker in (shard, spare):
            assert worker.rss > 10 * 1024**2
            assert worker.descriptors > 3
            assert worker.threads > 1
