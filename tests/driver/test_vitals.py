"""What workers tell of themselves, and what follows when they do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio.lowlevel
import pytest

from wasessionpool.addresses import Address
from wasessionpool.drivers.neonize import NeonizeDriver, WorkerLimits
from wasessionpool.drivers.neonize.process import CALLS_OPEN, LOOKS
from wasessionpool.drivers.neonize.wire import Vitals
from wasessionpool.errors import ConfigurationError, DriverError
from wasessionpool.links import LinkDoubted, LinkEnded, LinkLost, LinkUp
from wasessionpool.messages import Text
from wasessionpool.models import DisconnectReason
from wasessionpool.testing.whatsapp.server import WhatsAppServer

from .conftest import OTHER, OWN, SessionFactory, of_role, pair, until

pytestmark = pytest.mark.anyio
QUICK = {"vitals_interval": 0.1, "silence_timeout": 5.0, "spare_timeout": 0, "respawn_delay": 0.1}
MEASURED = """
import sys, threading
from wasessionpool.drivers.neonize.vitals import measure

before = measure()
stay = threading.Event()
for _ in range(5):
    threading.Thread(target=stay.wait, daemon=True).start()
files = [open(sys.argv[1] + str(number), "w") for number in range(7)]
after = measure()
print(before.model_dump_json(), after.model_dump_json(), sep="\\n")
"""


def test_measures_this_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURED, f"{tmp_path}/"]
    said = subprocess.check_output(command, text=True, timeout=30)
    before, after = map(Vitals.model_validate_json, said.splitlines())
    assert after.descriptors - before.descriptors == 7
    assert after.threads - before.threads == 5
    assert 10 * 1024**2 < after.rss < 10 * 1024**3
    assert after.descriptor_limit > after.descriptors


@pytest.mark.parametrize(
    ("starts", "vitals", "wear"),
    [
        (500, {}, "500 starts"),
        (1, {"descriptors": 601}, "601 of 1000 descriptors"),
        (1, {"descriptors": 601, "descriptor_limit": -1}, None),
        (1, {"rss": 1024**3 + 1}, "1024 MiB"),
        (1, {"threads": 2001}, "2001 threads"),
        (499, {"descriptors": 600, "rss": 1024**3, "threads": 2000}, None),
    ],
)
def test_limits(starts: int, vitals: dict[str, int], wear: str | None) -> None:
    usual = {"rss": 64 * 1024**2, "descriptors": 20, "descriptor_limit": 1000, "threads": 12}
    assert WorkerLimits().passed_by(starts, Vitals(**usual | vitals)) == wear
    assert WorkerLimits().passed_by(1, None) is None


def test_intervals_that_make_no_sense() -> None:
    for interval, timeout in ((5.0, 14.0), (0.0, 30.0)):
        with pytest.raises(ConfigurationError):
            NeonizeDriver(vitals_interval=interval, silence_timeout=timeout)


async def test_workers_tell_what_they_cost(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    async with whatsapp.driver(**QUICK) as driver, session().link(driver) as link:
        await pair(link, whatsapp)
        await until(lambda: driver.workers()[0].rss)
        [worker] = driver.workers()
        assert (worker.role, worker.sessions) == ("shard", ("962302",))
        assert worker.rss is not None
        assert abs(worker.rss / resident(worker.pid) - 1) < 0.5
        assert worker.descriptors
        assert worker.threads
        whatsapp.phone(OWN).withhold_iq("blocklist")
        async with anyio.create_task_group() as tasks:
            # Each hangs in a thread of its own.
            for _ in range(3):
                tasks.start_soon(link.connection.probe)
            await until(lambda: driver.workers()[0].threads > worker.threads)
            tasks.cancel_scope.cancel()


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_frozen_worker_is_replaced(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    one = session()
    async with whatsapp.driver(**QUICK) as driver:
        async with one.link(driver) as link:
            await pair(link, whatsapp)
            [worker] = driver.workers()
            os.kill(worker.pid, signal.SIGSTOP)
            ended = await link.next(LinkEnded, after=await link.next(LinkDoubted))
            assert ended.reason is DisconnectReason.WORKER_CRASHED
            assert ended.detail == "signal 9 (SIGKILL): said nothing for 5 s"
        async with one.link(driver) as link:
            await link.next(LinkUp)
        assert driver.worker_restarts == 1
        assert [one.pid for one in of_role(driver, "shard")] != [worker.pid]


async def test_what_is_asked_of_a_frozen_worker_does_not_pile_up(
    whatsapp: WhatsAppServer, session: SessionFactory
) -> None:
    async with whatsapp.driver(spare_timeout=0) as driver, session().link(driver) as link:
        await pair(link, whatsapp)
        [worker] = driver.workers()
        refused: list[str] = []

        async def ask() -> None:
            try:
                await link.connection.probe()
            except DriverError as error:
                refused.append(error.message)

        os.kill(worker.pid, signal.SIGSTOP)
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(CALLS_OPEN + 7):
                    tasks.start_soon(ask)
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert refused == ["too many calls of this session"] * 7


async def test_a_blocked_loop_takes_no_worker_for_frozen(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    async with whatsapp.driver(**QUICK) as driver, session().link(driver) as link:
        await pair(link, whatsapp)
        [worker] = driver.workers()
        for _ in range(LOOKS + 1):
            time.sleep(5.5)  # noqa: ASYNC251 - to block this loop is what it is for
            await anyio.lowlevel.checkpoint()
        whatsapp.contact(OTHER)
        await link.connection.send(Address(OTHER), Text(text="still here"))
        assert [one.pid for one in driver.workers()] == [worker.pid]
        assert not any(isinstance(event, LinkLost | LinkEnded) for event in link.events)
