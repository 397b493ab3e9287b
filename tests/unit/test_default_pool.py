"""The process's default pool."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasessionpool import ConfigurationError, PoolClosed, WhatsAppSessionPool, get_pool
from wasessionpool.pool import _default_pool

pytestmark = pytest.mark.anyio


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A process in which nobody has asked for the default pool yet."""
    monkeypatch.setenv("WHATSAPP_SESSION_PATH", str(tmp_path / "sessions"))
    _default_pool.cache_clear()
    yield
    _default_pool.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_it_is_the_same_everywhere_and_does_nothing_before_it_is_opened(tmp_path: Path) -> None:
    pools: list[WhatsAppSessionPool] = []
    threads = [threading.Thread(target=lambda: pools.append(get_pool())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(pool) for pool in pools}) == 1
    assert pools[0].settings.session_path == tmp_path / "sessions"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("fresh")
def test_an_environment_that_is_wrong_is_named_and_can_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("WHATSAPP_RATE_LIMIT_MAX", "0")
        with pytest.raises(ConfigurationError, match="WHATSAPP_RATE_LIMIT_MAX"):
            get_pool()
    assert get_pool().settings.rate_limit_max == 30


@pytest.fixture
def made_before_the_loop(fresh: None) -> WhatsAppSessionPool:
    return get_pool()


async def test_it_is_opened_once(made_before_the_loop: WhatsAppSessionPool) -> None:
    with pytest.raises(PoolClosed, match="not open"):
        await get_pool().get_sessions()
    async with get_pool() as pool:
        assert pool is get_pool() is made_before_the_loop
        assert await get_pool().get_sessions() == []
        with pytest.raises(PoolClosed, match="opened once"):
            async with get_pool():
                pass
        assert await pool.get_sessions() == []
    for use in (get_pool().get_sessions(), get_pool().create_session("962302")):
        with pytest.raises(PoolClosed, match="not open"):
            await use
    with pytest.raises(PoolClosed, match="opened once"):
        await get_pool().__aenter__()
