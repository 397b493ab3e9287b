from __future__ import annotations

import subprocess
import sys

import pytest

from wasessionpool import ConfigurationError, PoolSettings, WhatsAppSessionPool
from wasessionpool.limiters.address import RedisAddress
from wasessionpool.limiters.redis import RedisLimiter
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing import FakeCoordinator, FakeDriver


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://localhost", "localhost:6379"),
        ("redis://:hush@localhost:7/2", "localhost:7"),
        ("rediss://me:hush@10.0.0.1:7?ssl_cert_reqs=none", "10.0.0.1:7"),
        ("redis://[::1]:7/0", "::1:7"),
        ("redis+cluster://me:hush%40@a:1,b,[::1]:3", "a:1,b:6379,::1:3"),
        ("rediss+cluster://a?ssl_cert_reqs=none", "a:6379"),
        ("redis://a?socket_timeout=3&health_check_interval=30&protocol=3", "a:6379"),
        ("redis+cluster://a?socket_timeout=3&health_check_interval=30&protocol=3", "a:6379"),
    ],
)
def test_an_address_prints_its_hosts_only(url: str, hosts: str) -> None:
    address = RedisAddress.parse(url)
    assert repr(address) == str(address) == hosts
    assert repr(RedisLimiter(url)) == f"<RedisLimiter {hosts}>"
    assert address.password == (None if "hush" not in url else "hush@" if "%40" in url else "hush")
    assert "hush" not in repr(address.client(1.0))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://:hush@a", "has to begin with one of redis://, rediss://, redis"),
        ("redis://:hush@", "is not of the form redis://user:password@host:port"),
        ("redis://:hush@a:port", "is not of the form"),
        ("redis://:hush@a:70000", "is not of the form"),
        ("redis://:hush@a:hush:7", "is not of the form"),
        ("redis://:hush@a,b", "is not of the form"),
        ("redis+cluster://:hush@a,,b", "is not of the form"),
        *(
            (f"{scheme}://:hush@a?client_name=me&{option}=hush", f"has the option {option}, .* leave it out$")
            for scheme in ("redis", "rediss", "redis+cluster", "rediss+cluster")
            for option in ("foo", "db", "socket_timeout", "protocol", "path")
        ),
    ],
)
def test_a_bad_address_is_said_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^redis_url .*{says}") as caught:
        RedisAddress.parse(url)
    assert "hush" not in caught.value.message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_options_are_given_to_a_cluster_as_to_one_server() -> None:
    query = "socket_timeout=3&health_check_interval=30&socket_keepalive=no"
    (node,) = RedisAddress.parse(f"redis+cluster://a?{query}").client(1.0).nodes_manager.startup_nodes.values()
    one = RedisAddress.parse(f"redis://a?{query}").client(1.0).connection_pool
    given = [
        [pool.connection_kwargs[name] for name in ("socket_timeout", "health_check_interval", "socket_keepalive")]
        for pool in (node, one)
    ]
    assert given == [[3.0, 30, False]] * 2


@pytest.mark.anyio
async def test_on_trio_it_is_refused_at_once(anyio_backend: str) -> None:
    if anyio_backend == "asyncio":
        return
    async with MemoryStore() as store:
        pool = WhatsAppSessionPool(
            PoolSettings(session_path="/nonexistent", redis_url="redis://127.0.0.1:1"),
            driver=FakeDriver(),
            store=store,
            coordinator=FakeCoordinator(),
        )
        with pytest.raises(ConfigurationError, match=r"^redis_url works on asyncio only"):
            await pool.__aenter__()


def test_a_client_that_is_missing_is_named_with_the_line_that_installs_it() -> None:
    script = """
import sys
sys.modules["redis"] = None
from wasessionpool import ConfigurationError, PoolSettings
from wasessionpool.defaults import make_limiter
try:
    make_limiter(PoolSettings(redis_url="redis://:hush@a"))
except ConfigurationError as error:
    print(error)
"""
    said = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert said == "redis_url needs Redis' client: pip install 'wasessionpool[redis]'\n"
