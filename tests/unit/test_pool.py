from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from wasessionpool import (
    ConfigurationError,
    InvalidCompanyId,
    InvalidMessage,
    InvalidRecipient,
    PayloadTooLarge,
    PoolClosed,
    PoolFull,
    PoolSettings,
    SessionKey,
    SessionLocked,
    SessionNotFound,
    SessionRecord,
    Status,
    StorageError,
    WhatsAppSessionPool,
)
from wasessionpool.coordinators.local import LocalCoordinator
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver

from .conftest import OpenPool

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("bad", ["../x", "", "a" * 65, "компания", "a\0b", ".pool", "-rf"])
async def test_bad_ids_reach_nothing(tmp_path: Path, driver: FakeDriver, bad: str) -> None:
    async with WhatsAppSessionPool(PoolSettings(session_path=tmp_path / "s"), driver=driver) as pool:
        before = sorted(tmp_path.rglob("*"))
        for call in (pool.create_session, pool.get_session_status, pool.delete_session, pool.wait_until_connected):
            with pytest.raises(InvalidCompanyId):
                await call(bad)
        with pytest.raises(InvalidCompanyId):
            await pool.send_message(bad, "79001234567", "")
        assert sorted(tmp_path.rglob("*")) == before
    assert driver.links == []


async def test_the_order_of_the_checks_of_a_send(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        with pytest.raises(InvalidMessage):
            await pool.send_message("962302", "nobody", "")
        with pytest.raises(PayloadTooLarge):
            await pool.send_message("962302", "nobody", "x" * 70_000)
        with pytest.raises(InvalidRecipient):
            await pool.send_message("962302", "nobody", "hi")
        with pytest.raises(SessionNotFound, match="Session not found for company 962302"):
            await pool.send_message("962302", "79001234567", "hi")


async def test_ids_that_differ_only_in_case_are_refused(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        await pool.create_session("Acme")
        await pool.create_session("Acme", device="Sales")
        for company_id, device in (("acme", "main"), ("ACME", "other"), ("Acme", "sales")):
            with pytest.raises(InvalidCompanyId, match="only in case"):
                await pool.create_session(company_id, device=device)
        await pool.create_session("Acme", device="support")
        assert [s.device for s in await pool.get_sessions("Acme")] == ["Sales", "main", "support"]


async def test_a_full_pool_says_so(open_pool: OpenPool) -> None:
    async with open_pool(max_sessions=1) as pool:
        await pool.create_session("a")
        await pool.create_session("a")
        with pytest.raises(PoolFull, match="max_sessions"):
            await pool.create_session("b")


async def test_metadata_and_proxy_are_checked(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        for metadata in ({"x": "y" * 5000}, {"x": object()}):
            with pytest.raises(ConfigurationError, match="metadata"):
                await pool.create_session("a", metadata=metadata)
        for proxy in ("ftp://user:secret@host", "http://[secret", "http://host:secret", "socks5://", "host:8080", ""):
            with pytest.raises(ConfigurationError, match="socks5") as caught:
                await pool.create_session("a", proxy=proxy)
            assert "secret" not in caught.value.message
        assert await pool.get_sessions() == []


async def test_two_companies_at_the_same_time_are_one_session_each(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(pool.create_session, "a")
                tasks.start_soon(pool.create_session, "b")
        assert len(await pool.get_sessions()) == 2
        assert len(driver.links) == 2


async def test_a_session_held_by_another_pool(tmp_path: Path, driver: FakeDriver) -> None:
    path = tmp_path / "sessions"
    async with LocalCoordinator(path).own(SessionKey("962302")):
        path.chmod(0o700)
        async with WhatsAppSessionPool(PoolSettings(session_path=path), driver=driver) as pool:
            with pytest.raises(SessionLocked, match=rf"is run by process {os.getpid()} on "):
                await pool.create_session("962302")
            assert await pool.get_sessions() == []
    assert driver.links == []


async def test_a_file_in_place_of_the_session_path(tmp_path: Path, driver: FakeDriver) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="cannot create the directory"):
        async with WhatsAppSessionPool(PoolSettings(session_path=tmp_path / "file"), driver=driver):
            pass
    assert (tmp_path / "file").read_text() == "mine"


async def test_a_file_in_place_of_a_company(tmp_path: Path, driver: FakeDriver) -> None:
    async with WhatsAppSessionPool(PoolSettings(session_path=tmp_path / "s"), driver=driver) as pool:
        (tmp_path / "s" / "962302").write_text("mine")
        with pytest.raises(StorageError):
            await pool.create_session("962302")
        assert (await pool.create_session("962303")).status is Status.PAIRING
    assert (tmp_path / "s" / "962302").read_text() == "mine"


async def test_delete_leaves_nothing_on_disk(tmp_path: Path, driver: FakeDriver) -> None:
    path = tmp_path / "sessions"
    async with WhatsAppSessionPool(PoolSettings(session_path=path), driver=driver) as pool:
        await pool.create_session("962302")
        driver.link.up()
        await pool.wait_until_connected("962302", timeout=5)
        await pool.create_session("962302", device="sales")
        await pool.delete_session("962302")
        assert sorted(p.name for p in (path / "962302").iterdir()) == ["devices"]
        await pool.delete_session("962302", device="sales")
        assert [p.name for p in path.iterdir()] == [".pool"]


async def test_the_errors_of_the_application_pass_as_they_are(open_pool: OpenPool) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_pool() as pool:
            await pool.create_session("a")
            raise ZeroDivisionError


async def test_a_pool_that_is_not_open(driver: FakeDriver, clock: FakeClock) -> None:
    pool = WhatsAppSessionPool(driver=driver, clock=clock)
    with pytest.raises(PoolClosed, match="async with"):
        await pool.create_session("a")
    with pytest.raises(PoolClosed, match="async with"):
        _ = pool.backends
    assert not Path("whatsapp_sessions").exists()


async def test_what_the_sessions_share_is_there_for_adapters(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        assert pool.backends.driver is driver
        assert pool.backends.settings is pool.settings


class FullDisk(MemoryStore):
    async def put(self, record: SessionRecord, fence: int) -> None:  # noqa: ARG002 - it takes nothing
        raise StorageError("cannot write: no space left on device")


async def test_a_store_that_cannot_write_is_told_as_it_is(open_pool: OpenPool) -> None:
    async with FullDisk() as store, open_pool(store) as pool:
        with pytest.raises(StorageError, match="no space left"):
            await pool.create_session("962302")
        assert await pool.get_sessions() == []
