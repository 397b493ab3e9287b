"""What health costs: the CPU of idle sessions in one pool, with the scheduler and without it.

`python benchmarks/health.py` (two minutes; `--quick`: seconds). The sessions are a fake driver's, so that nothing else
works meanwhile, and time runs at its own pace.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from unittest import mock

# Its neighbour limits.py would hide the library of that name.
sys.path.pop(0)

import anyio

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.health import Health
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.coordinator import FakeCoordinator
from wasessionpool.testing.driver import FakeDriver, FakeLink


async def up(link: FakeLink) -> None:
    link.up()


async def cpu(sessions: int, seconds: float, interval: float, *, watched: bool) -> float:
    """Return the seconds of CPU that the sessions need while they are idle."""
    settings = PoolSettings(max_sessions=sessions, start_rate=10_000, health_check_interval=interval)
    run = Health.run if watched else mock.AsyncMock()
    with mock.patch.object(Health, "run", run):
        async with MemoryStore() as store:
            pool = WhatsAppSessionPool(
                settings, driver=FakeDriver(up), store=store, shelf=MemoryShelf(), coordinator=FakeCoordinator()
            )
            async with pool:
                async with anyio.create_task_group() as tasks:
                    for number in range(sessions):
                        tasks.start_soon(pool.create_session, f"company-{number}")
                assert len(await pool.get_active_sessions()) == sessions
                begin = time.process_time()
                await anyio.sleep(seconds)
                return time.process_time() - begin


async def main(sessions: int, seconds: float, interval: float) -> None:
    """Print what it cost, as JSON."""
    without = await cpu(sessions, seconds, interval, watched=False)
    with_ = await cpu(sessions, seconds, interval, watched=True)
    print(
        json.dumps(
            {
                "sessions": sessions,
                "seconds": seconds,
                "interval": interval,
                "cpu_percent_without": round(100 * without / seconds, 3),
                "cpu_percent_with": round(100 * with_ / seconds, 3),
                "cpu_percent_of_health": round(100 * (with_ - without) / seconds, 3),
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interval", type=float, default=30.0)
    parser.add_argument("--quick", action="store_true", help="few seconds, an interval of one")
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.interval = 5.0, 1.0
    anyio.run(main, given.sessions, given.seconds, given.interval)
