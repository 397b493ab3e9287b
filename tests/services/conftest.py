from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from wasessionpool.limiters import redis
from wasessionpool.testing import FakeClock

from .valkey import PASSWORD, Valkey, free_port

AS_EVER, PATIENT = redis.DEADLINE, 20.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def _patience(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let limiters wait for a server that runs, however slow the machine is, and for a frozen one as long as ever."""

    def wait(frozen: bool) -> None:
        monkeypatch.setattr(redis, "DEADLINE", AS_EVER if frozen else PATIENT)

    wait(False)
    server.on_frozen = wait


@pytest.fixture
def valkey(server: Valkey, _patience: None) -> Iterator[Valkey]:
    """An empty Valkey that runs; the test may stop it."""
    with server.client as client:
        client.flushall()
    yield server
    server.kill()
    server.start()


@pytest.fixture
def node(server: Valkey, tmp_path: Path, _patience: None) -> Iterator[Valkey]:
    """A Valkey in cluster mode that has no slots."""
    node = Valkey(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    node.url = f"redis+cluster://:{PASSWORD}@127.0.0.1:{node.port}"
    node.on_frozen = server.on_frozen
    node.start()
    yield node
    node.kill()


@pytest.fixture
def cluster(node: Valkey) -> Valkey:
    """A Valkey that is a whole cluster alone; the test may stop it, and start it as one."""
    node.become_a_cluster()
    return node


@pytest.fixture
def either(request: pytest.FixtureRequest) -> Valkey:
    """The fixture of this name: ``valkey`` or ``cluster``."""
    server: Valkey = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The time of this process's limiters: of their windows in memory, and of what they remember of Redis' places."""
    clock = FakeClock()
    wall = SimpleNamespace(time=lambda: clock.now().timestamp())
    monotonic = SimpleNamespace(monotonic=lambda: time.monotonic() + clock.monotonic())
    monkeypatch.setattr("limits.storage.memory.time", wall)
    monkeypatch.setattr("wasessionpool.limiters.memory.time", wall)
    monkeypatch.setattr("wasessionpool.limiters.fallback.time", monotonic)
    monkeypatch.setattr("wasessionpool.limiters.redis.time", monotonic)
    return clock


@pytest.fixture
def pass_time(valkey: Valkey, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Awaitable[None]]:
    """Let time pass on the server, too, where it stands still otherwise: it is an entry there."""
    for script in ("TAKE", "REMEMBER"):
        at_a_time = getattr(redis, script).replace("redis.call('TIME')", "{0, redis.call('GET', 'now')}")
        monkeypatch.setattr(redis, script, at_a_time)

    def tell() -> None:
        with valkey.client as client:
            client.set("now", round(clock.now().timestamp() * 1_000_000))

    async def pass_time(seconds: float) -> None:
        await clock.advance(seconds)
        tell()

    tell()
    return pass_time
