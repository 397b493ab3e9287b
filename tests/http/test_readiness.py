"""Whether the service says that it can do its work only when it can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import DisconnectReason, PoolClosed, RateLimitExceeded, SessionKey, Status, StorageError
from wasessionpool.http import readiness
from wasessionpool.limiters.windows import WindowLimiter
from wasessionpool.stores.directory import DirectoryStore
from wasessionpool.testing import FakeLink

from .conftest import COMPANY, OTHER, OpenService, Service

pytestmark = pytest.mark.anyio


async def reasons(service: Service) -> list[str]:
    """Return what the service says keeps it from its work."""
    answer = await service.get("/health/ready", key=None)
    body = answer.json()
    if answer.status_code == 200:
        assert body == {"success": True, "status": "ok"}
        return []
    assert answer.status_code == 503
    said: list[str] = body.pop("reasons")
    assert body == {"success": False, "status": "unavailable", "error": "Not ready", "code": "not_ready"}
    assert not any(word in answer.text for word in (COMPANY, OTHER, "+796", "/"))
    return said


async def test_an_empty_service_is_ready(service: Service) -> None:
    assert await reasons(service) == []
    assert (await service.client.get("/health/ready")).status_code == 200


async def test_alive_is_not_ready(service: Service) -> None:
    await service.connect()
    service.driver.script = _never
    service.driver.link.end(DisconnectReason.NETWORK)
    await service.driver.link.closed.wait()
    assert await reasons(service) == ["sessions: none of those that should be connected is"]
    assert (await service.get("/health", key=None)).json() == {"success": True, "status": "ok"}


async def _never(link: FakeLink) -> None:
    """Say nothing on the new link."""


async def test_one_session_that_is_connected_is_enough(service: Service) -> None:
    await service.connect()
    await service.connect(OTHER)
    service.driver.script = _never
    service.driver.link.end(DisconnectReason.NETWORK)
    await service.driver.link.closed.wait()
    assert await reasons(service) == []


async def test_what_was_stopped_or_never_linked_is_no_fault(service: Service) -> None:
    await service.connect()
    await service.pool.disconnect(COMPANY)
    await service.pool.create_session(OTHER)
    assert await reasons(service) == []


@pytest.mark.parametrize("revive_interval", [None, 900.0])
async def test_a_session_that_gave_up_is_a_fault(open_service: OpenService, revive_interval: float | None) -> None:
    settings = {"max_reconnect_attempts": 0, "reconnect_grace": 0.0, "revive_interval": revive_interval}
    async with open_service(settings=settings) as service:
        await service.connect()
        service.driver.link.end(DisconnectReason.NETWORK)
        with anyio.fail_after(10):
            while (status := await service.pool.get_session_status(COMPANY)).status is not Status.FAILED:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        assert (status.next_retry_at is None) == (revive_interval is None)
        assert await reasons(service) == ["sessions: none of those that should be connected is"]
        await service.connect(OTHER)
        assert await reasons(service) == []


async def test_a_worker_that_ended(service: Service) -> None:
    await service.connect()
    await service.connect(OTHER)
    service.driver.script = _never
    service.driver.link.end(DisconnectReason.WORKER_CRASHED)
    await service.driver.link.closed.wait()
    assert await reasons(service) == ["workers: a worker process ended, and not all of its sessions are back"]


async def test_an_outdated_client(service: Service) -> None:
    await service.connect()
    service.driver.link.end(DisconnectReason.OUTDATED)
    await service.driver.link.closed.wait()
    outdated, down = await reasons(service)
    assert outdated.startswith("client_outdated: ")
    assert down == "sessions: none of those that should be connected is"
    answer = await service.post("/sessions", json={"companyId": OTHER})
    assert (answer.status_code, answer.json()["code"]) == (503, "client_outdated")


async def test_a_store_that_is_gone(open_service: OpenService, tmp_path: Path) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store, open_service(backends={"store": store}) as service:
        assert await reasons(service) == []
        (tmp_path / "sessions").rename(tmp_path / "gone")
        [reason] = await reasons(service)
        assert reason.startswith("store: ")
        (tmp_path / "gone").rename(tmp_path / "sessions")
        assert await reasons(service) == []


class Stuck(WindowLimiter):
    """A limiter that does what ``instead`` says."""

    instead: Any = None

    async def acquire(self, key: SessionKey, recipient: str) -> Any:
        if self.instead is not None:
            await self.instead()
        return await super().acquire(key, recipient)


async def test_the_limits(open_service: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    async def storage() -> None:
        raise StorageError("redis://user:password@host")

    async def bug() -> None:
        raise KeyError("odd")

    async def spent() -> None:
        raise RateLimitExceeded("later", retry_after=1.0)

    monkeypatch.setattr(readiness, "PROBE_TIMEOUT", 0.05)
    limiter = Stuck(limit=1, recipient_limit=1)
    async with open_service(backends={"limiter": limiter}) as service:
        for _ in range(3):
            assert await reasons(service) == []
        for instead, reason in (
            (storage, "limiter: storage_error"),
            (bug, "limiter: it failed"),
            (anyio.sleep_forever, "limiter: no answer within 0.05 s"),
        ):
            limiter.instead = instead
            assert await reasons(service) == [reason]
        limiter.instead = spent
        assert await reasons(service) == []


async def test_a_shelf_that_fails(open_service: OpenService) -> None:
    class Failing:
        async def get(self, key: str) -> bytes | None:
            raise StorageError(f"disk full: {key}")

        async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
            return
            yield prefix, b""

    async with open_service(backends={"shelf": Failing()}) as service:
        assert await reasons(service) == ["shelf: storage_error"]


async def test_a_pool_that_was_closed(service: Service) -> None:
    await service.pool.__aexit__(None, None, None)
    with pytest.raises(PoolClosed):
        await service.pool.get_sessions()
    assert await reasons(service) == ["pool_closed: the pool is not open"]
