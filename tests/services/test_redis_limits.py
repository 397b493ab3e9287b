"""Limits that processes share, on a real Valkey."""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest

from wasessionpool import ConfigurationError, RateLimitExceeded, SessionKey, StorageError
from wasessionpool.abc import RateLimiter
from wasessionpool.limiters.redis import CONNECTIONS, RedisLimiter
from wasessionpool.testing import check_limiter

from .valkey import PASSWORD, Valkey, free_port

pytestmark = pytest.mark.anyio
A, SALES, B = SessionKey("a"), SessionKey("a", "sales"), SessionKey("b")
BOB, EVE = "79001234567@s.whatsapp.net", "79001234568@s.whatsapp.net"


@pytest.fixture
async def limiter(valkey: Valkey) -> AsyncIterator[RedisLimiter]:
    async with RedisLimiter(valkey.url, limit=3, recipient_limit=2, window=60) as limiter:
        yield limiter


async def spend(limiter: RateLimiter, key: SessionKey, to: str) -> None:
    await (await limiter.acquire(key, to)).commit()


async def test_it_is_a_limiter(valkey: Valkey, pass_time: Callable[[float], Awaitable[None]]) -> None:
    def make() -> RedisLimiter:
        valkey.forget_limits()
        return RedisLimiter(valkey.url, limit=3, recipient_limit=2, window=60)

    await check_limiter(make, limit=3, recipient_limit=2, pass_time=pass_time)


async def test_two_processes_share_a_limit_and_so_do_devices(valkey: Valkey, limiter: RedisLimiter) -> None:
    async with RedisLimiter(valkey.url, limit=3, recipient_limit=2, window=60) as other:
        begin = time.monotonic()
        await spend(limiter, A, BOB)
        await spend(other, SALES, BOB)
        for each in (limiter, other):
            with pytest.raises(RateLimitExceeded) as caught:
                await each.acquire(A, BOB)
            wait = caught.value.retry_after
            assert 60 - (time.monotonic() - begin) <= wait <= 60.01
            assert caught.value.message == f"company a may send again in {wait:.1f} s"
        reserved = await other.acquire(A, EVE)
        with pytest.raises(RateLimitExceeded):
            await limiter.acquire(A, EVE)
        await reserved.release()
        await reserved.release()
        await spend(limiter, A, EVE)
        await spend(limiter, B, BOB)


async def test_overrides_hold(valkey: Valkey) -> None:
    async with RedisLimiter(valkey.url, limit=1, recipient_limit=9, overrides={"b": 2}) as limiter:
        for key, most in ((A, 1), (B, 2)):
            for _ in range(most):
                await spend(limiter, key, BOB)
            with pytest.raises(RateLimitExceeded):
                await limiter.acquire(key, BOB)


async def test_what_is_over_leaves_the_server(valkey: Valkey) -> None:
    with valkey.client as client:
        async with RedisLimiter(valkey.url, window=60) as limiter:
            await spend(limiter, A, BOB)
            keys = sorted(client.keys())
            assert keys == [b"wasessionpool:limit:{a}", b"wasessionpool:limit:{a}:" + BOB.encode()]
            assert all(0 < client.pttl(key) <= 60_000 for key in keys)
        client.flushall()
        async with RedisLimiter(valkey.url, window=1) as limiter:
            await spend(limiter, A, BOB)
            await anyio.sleep(1.05)
            assert client.keys() == []


async def test_the_servers_clock_decides_also_when_it_was_set_back(valkey: Valkey, limiter: RedisLimiter) -> None:
    """A replica with another time takes over: what it says of the future is taken for now."""
    for to in (BOB, BOB, EVE):
        await spend(limiter, A, to)
    with valkey.client as client:
        for key in client.scan_iter():
            for member, score in client.zrange(key, 0, -1, withscores=True):
                client.zadd(key, {member: score + 3_600_000_000})
    with pytest.raises(RateLimitExceeded) as caught:
        await limiter.acquire(A, EVE)
    assert 59 < caught.value.retry_after <= 60.01


HAMMER = """
import asyncio, sys, time

url, skew, times = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
true_time = time.time
time.time = lambda: true_time() + skew

from wasessionpool import RateLimitExceeded, SessionKey
from wasessionpool.limiters import redis

redis.DEADLINE = 20.0

async def main():
    granted = 0
    async with redis.RedisLimiter(url, limit=20, recipient_limit=1000, window=1) as limiter:
        await limiter.check()
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.monotonic() + 60
        while granted < times and time.monotonic() < end:
            asked = time.monotonic()
            try:
                await (await limiter.acquire(SessionKey("a"), "b")).commit()
            except RateLimitExceeded as error:
                await asyncio.sleep(min(error.retry_after, 0.02))
            else:
                granted += 1
                print(asked, time.monotonic(), flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("skews", [(0, 0, 0), (0, 5, -5)], ids=["in time", "skewed clocks"])
def test_three_processes_never_exceed_one_budget(valkey: Valkey, skews: tuple[float, ...]) -> None:
    times, limit = 17, 20
    hammers = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, valkey.url, str(skew), str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for skew in skews
    ]
    for hammer in hammers:
        assert hammer.stdout is not None
        assert hammer.stdout.readline() == "ready\n"
    for hammer in hammers:
        assert hammer.stdin is not None
        hammer.stdin.write("\n")
        hammer.stdin.flush()
    said = [line.split() for hammer in hammers for line in hammer.communicate(timeout=90)[0].splitlines()]
    assert [hammer.returncode for hammer in hammers] == [0, 0, 0]
    # Each was let through at some moment between these two.
    granted = [(float(asked), float(answered)) for asked, answered in said]
    assert len(granted) == 3 * times > 2 * limit
    assert max(answered for _, answered in granted) - min(asked for asked, _ in granted) > 2
    for begin, _ in granted:
        assert sum(begin <= asked and answered < begin + 1 for asked, answered in granted) <= limit


async def test_a_turn_that_was_waited_for_comes_at_once(valkey: Valkey) -> None:
    taken = waited = 0
    async with RedisLimiter(valkey.url, limit=5, recipient_limit=9, window=2) as limiter:
        with anyio.fail_after(60):
            while taken < 9 or not waited:
                try:
                    await limiter.acquire(A, BOB)
                except RateLimitExceeded as error:
                    waited += 1
                    await anyio.sleep(error.retry_after)
                    await limiter.acquire(A, BOB)
                taken += 1


async def test_who_is_cancelled_takes_nothing(limiter: RedisLimiter) -> None:
    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(limiter.acquire, A, EVE)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    await spend(limiter, A, EVE)
    await spend(limiter, A, EVE)
    await spend(limiter, A, BOB)


@pytest.mark.parametrize("broken", ["killed", "frozen"])
async def test_a_server_that_is_gone_is_told_within_a_second(
    valkey: Valkey, limiter: RedisLimiter, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    await spend(limiter, A, BOB)
    valkey.kill() if broken == "killed" else valkey.freeze()
    with anyio.fail_after(5), pytest.raises(StorageError, match=r"^Redis at 127\.0\.0\.1:\d+ cannot be") as caught:
        await limiter.acquire(A, EVE)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value)) + caplog.text
    valkey.thaw() if broken == "frozen" else valkey.start()
    await spend(limiter, A, EVE)


async def test_more_calls_than_connections_wait_for_one(valkey: Valkey) -> None:
    async with RedisLimiter(valkey.url, limit=1000, recipient_limit=1000) as limiter:
        async with anyio.create_task_group() as tasks:
            for _ in range(300):
                tasks.start_soon(limiter.acquire, A, BOB)
        with valkey.client as client:
            assert client.zcard("wasessionpool:limit:{a}") == 300
            assert len(client.client_list()) <= CONNECTIONS + 1


async def test_a_cluster_keeps_a_companys_windows_together(cluster: Valkey) -> None:
    async with RedisLimiter(f"{cluster.url},127.0.0.1:{free_port()}", limit=3, recipient_limit=2) as limiter:
        await limiter.check()
        for key in (A, B):
            await spend(limiter, key, BOB)
            await (await limiter.acquire(key, BOB)).release()
            await spend(limiter, key, BOB)
            with pytest.raises(RateLimitExceeded):
                await limiter.acquire(key, BOB)
    assert PASSWORD not in repr(limiter)


async def test_a_cluster_without_its_slots_cannot_be_asked(node: Valkey) -> None:
    async with RedisLimiter(node.url) as limiter:
        with pytest.raises(StorageError, match=r"^Redis at 127\.0\.0\.1:\d+ cannot be asked \(RedisCluster"):
            await limiter.check()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
@pytest.mark.parametrize("credentials", [":wrong@", ""])
async def test_a_password_that_is_refused_is_said_at_once(valkey: Valkey, scheme: str, credentials: str) -> None:
    async with RedisLimiter(f"{scheme}://{credentials}127.0.0.1:{valkey.port}") as limiter:
        with pytest.raises(ConfigurationError, match=r"^redis_url: Redis at .* cannot be asked \(Auth") as caught:
            await limiter.check()
    assert "wrong" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_rights_that_are_not_enough_are_said_at_once(valkey: Valkey, scheme: str) -> None:
    with valkey.client as client:
        client.acl_setuser("few", enabled=True, passwords=[f"+{PASSWORD}"], commands=["+hello", "+ping"])
    async with RedisLimiter(f"{scheme}://few:{PASSWORD}@127.0.0.1:{valkey.port}") as limiter:
        with pytest.raises(ConfigurationError, match=r"^redis_url: Redis at .* cannot be asked \(NoPermission"):
            await limiter.check()


async def test_a_server_that_is_no_cluster_is_said_at_once(valkey: Valkey) -> None:
    async with RedisLimiter(f"redis+cluster://:{PASSWORD}@127.0.0.1:{valkey.port}") as limiter:
        with pytest.raises(ConfigurationError, match=r"^redis_url: .* \(it is no cluster: begin with redis://"):
            await limiter.check()
