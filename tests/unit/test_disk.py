"""A disk that hangs, which a FIFO in place of a file does really: it opens once another opens its other end."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from wasessionpool import PoolSettings, SessionKey, Status, StorageError, WhatsAppSessionPool, disk
from wasessionpool.coordinators.local import LocalCoordinator
from wasessionpool.shelves.directory import DirectoryShelf
from wasessionpool.stores.directory import DirectoryStore
from wasessionpool.testing import FakeDriver

pytestmark = pytest.mark.anyio
KEY, OTHER = SessionKey("962302"), SessionKey("other")


@contextmanager
def impatient() -> Iterator[None]:
    patience, disk.PATIENCE = disk.PATIENCE, 0.1
    try:
        yield
    finally:
        disk.PATIENCE = patience


@contextmanager
def hangs(file: Path) -> Iterator[None]:
    """Let who opens the file wait, and then find what was in it."""
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    try:
        yield
    finally:
        with file.open("r+b", buffering=0):
            # Who waits is let in, and finds nothing; who comes later finds the file.
            file.unlink()
            file.write_bytes(content)


async def test_a_session_whose_files_hang_holds_up_no_other(tmp_path: Path) -> None:
    settings = PoolSettings(session_path=tmp_path, shutdown_timeout=5.0)
    driver = FakeDriver()
    async with DirectoryStore(tmp_path) as store, WhatsAppSessionPool(settings, driver=driver, store=store) as pool:
        for key in (KEY, OTHER):
            assert (await pool.create_session(key.company_id)).status is Status.PAIRING
        with hangs(tmp_path / "962302" / "session.json"):
            with (
                impatient(),
                pytest.raises(StorageError, match=r"962302 .* did not answer within 0\.1 s"),
            ):
                await pool.disconnect("962302")
            assert (await pool.get_session_status("962302")).status is Status.PAIRING
            await pool.disconnect("other")
            assert (await pool.get_session_status("other")).status is Status.DISCONNECTED
        await pool.disconnect("962302")
        record = await store.get(KEY)
        assert record is not None
        assert record.desired == "stopped"


async def test_a_pool_is_closed_though_a_sessions_files_hang(tmp_path: Path) -> None:
    settings = PoolSettings(session_path=tmp_path)
    driver = FakeDriver()
    async with DirectoryStore(tmp_path) as store:
        async with WhatsAppSessionPool(settings, driver=driver, store=store) as pool:
            await pool.create_session("962302")
            with hangs(tmp_path / "962302" / "session.json"), impatient():
                await pool.__aexit__(None, None, None)
                # Its lock is held until what was left behind is over.
                assert LocalCoordinator(tmp_path).holder(KEY) is not None
        await disk.on_disk(tmp_path / "962302", lambda: None)
        assert LocalCoordinator(tmp_path).holder(KEY) is None


async def test_a_lock_that_hangs(tmp_path: Path) -> None:
    coordinator = LocalCoordinator(tmp_path)
    async with coordinator.own(KEY):
        (tmp_path / "962302" / "inbox").touch()
        (tmp_path / "962302" / "session.json").touch()
    with (
        hangs(tmp_path / "962302" / "session.json"),
        impatient(),
        pytest.raises(StorageError, match="the disk did not answer"),
    ):
        async with coordinator.own(KEY):
            raise AssertionError("nobody owns it")
    async with coordinator.own(KEY) as ownership:
        assert ownership.fence == 3
    assert coordinator.holder(KEY) is None


async def test_a_shelf_that_hangs(tmp_path: Path) -> None:
    async with DirectoryShelf(tmp_path) as shelf:
        with closing(sqlite3.connect(shelf.path, isolation_level=None)) as other, impatient():
            other.execute("begin immediate")
            with pytest.raises(StorageError, match=r"pool\.db cannot be used: the disk did not answer"):
                await shelf.put("a", b"1")
            with pytest.raises(StorageError, match=r"pool\.db cannot be used: the disk did not answer"):
                await shelf.put("b", b"2")
        # What had begun ended later; what had not never does.
        assert (await shelf.get("a"), await shelf.get("b")) == (b"1", None)
