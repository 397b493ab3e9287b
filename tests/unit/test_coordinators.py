from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from filelock import FileLock

from wasessionpool import SessionKey, SessionLocked, SessionRecord, StorageError
from wasessionpool.abc import SessionStore
from wasessionpool.coordinators import local
from wasessionpool.coordinators.local import LocalCoordinator
from wasessionpool.stores.directory import DirectoryStore
from wasessionpool.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio
KEY = SessionKey("962302")
HOLD = """
import sys, anyio
from wasessionpool import SessionKey
from wasessionpool.coordinators.local import LocalCoordinator
async def main():
    async with LocalCoordinator(sys.argv[1]).own(SessionKey("962302")):
        print("held", flush=True)
        sys.stdin.readline()
anyio.run(main)
"""


async def test_two_owners_never(tmp_path: Path) -> None:
    first, second = LocalCoordinator(tmp_path), LocalCoordinator(tmp_path)
    async with first.own(KEY) as ownership:
        assert second.holder(KEY) is not None
        with pytest.raises(SessionLocked, match="962302 is run by process"):
            async with second.own(KEY):
                pass
        async with second.own(SessionKey("other")):
            pass
        (tmp_path / "962302" / "session.json").touch()
    assert first.holder(KEY) is None
    async with second.own(KEY) as later:
        assert later.fence > ownership.fence


async def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SessionLocked) as caught:
            async with LocalCoordinator(tmp_path).own(KEY):
                pass
        assert f"process {other.pid}" in caught.value.holder
        other.kill()
        other.wait()
        async with LocalCoordinator(tmp_path).own(KEY):
            pass


async def test_what_was_only_locked_leaves_nothing(tmp_path: Path) -> None:
    coordinator = LocalCoordinator(tmp_path)
    async with coordinator.own(SessionKey("962302", "sales")):
        assert (tmp_path / "962302" / "devices" / "sales" / "session.lock").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []


async def test_a_path_that_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "962302").write_text("")
    with pytest.raises(StorageError, match="cannot create the directory"):
        async with LocalCoordinator(tmp_path).own(KEY):
            pass


async def test_asking_for_the_holder_never_costs_an_owner_its_lock(tmp_path: Path) -> None:
    coordinator = LocalCoordinator(tmp_path)
    async with coordinator.own(KEY):
        (tmp_path / "962302" / "session.json").touch()
    asked, done = threading.Event(), threading.Event()

    def ask() -> None:
        while not done.is_set():
            LocalCoordinator(tmp_path).holder(KEY)
            asked.set()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert asked.wait(60)
        for _ in range(100):
            async with coordinator.own(KEY):
                pass
    finally:
        done.set()
        for thread in threads:
            thread.join()


@contextmanager
def held_by_an_asker(path: Path) -> Iterator[None]:
    """Hold the lock as one who asks for its holder, and is held up then."""
    with (path / "962302" / "session.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


async def test_who_asks_and_is_held_up_is_taken_for_no_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = LocalCoordinator(tmp_path)
    async with coordinator.own(KEY):
        (tmp_path / "962302" / "session.json").touch()
    owned = anyio.Event()

    async def own() -> None:
        async with coordinator.own(KEY):
            owned.set()

    monkeypatch.setattr(local, "PATIENCE", 60.0)
    async with anyio.create_task_group() as tasks:
        with held_by_an_asker(tmp_path):
            assert coordinator.holder(KEY) is None
            tasks.start_soon(own)
            await anyio.sleep(0.1)
            assert not owned.is_set()
    assert owned.is_set()
    monkeypatch.setattr(local, "PATIENCE", 0.0)
    with held_by_an_asker(tmp_path), pytest.raises(SessionLocked):
        async with coordinator.own(KEY):
            pass


async def own_and_write(coordinator: LocalCoordinator, store: SessionStore) -> int:
    async with coordinator.own(KEY) as ownership:
        record = SessionRecord(company_id="962302", created_at=datetime(2026, 1, 1, tzinfo=UTC))
        await store.put(record, ownership.fence)
    return ownership.fence


@pytest.mark.parametrize(
    "left",
    [
        None,
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"fence": null}',
        b'{"fence": "x"}',
        b'{"fence": []}',
        b'{"fence": 1e999}',
        b'{"fence": 2}',
    ],
    ids=["missing", "empty", "half", "no text", "deep", "null", "text", "list", "infinite", "older"],
)
async def test_a_fence_that_the_lock_file_lost_is_that_of_the_record(tmp_path: Path, left: bytes | None) -> None:
    coordinator, lock = LocalCoordinator(tmp_path), tmp_path / "962302" / "session.lock"
    async with DirectoryStore(tmp_path) as store:
        assert [await own_and_write(coordinator, store) for _ in range(5)] == [1, 2, 3, 4, 5]
        if left is None:
            lock.unlink()
        else:
            lock.write_bytes(left)
        assert await own_and_write(coordinator, store) == 6
        lock.with_name("session.json").write_bytes(b"")
        assert await own_and_write(coordinator, store) == 7


async def test_where_the_store_is_elsewhere_the_lock_file_counts(tmp_path: Path) -> None:
    first, second = LocalCoordinator(tmp_path), LocalCoordinator(tmp_path)
    async with MemoryStore() as store:
        async with first.own(KEY):
            (tmp_path / "962302" / "inbox").touch()
        assert [await own_and_write(each, store) for each in (second, first, second)] == [2, 3, 4]


@contextmanager
def full_disk() -> Iterator[None]:
    """Let every write into a file fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_lock_that_cannot_be_written_keeps_its_fence(tmp_path: Path) -> None:
    coordinator, lock = LocalCoordinator(tmp_path), tmp_path / "962302" / "session.lock"
    async with coordinator.own(KEY):
        lock.with_name("inbox").touch()
    lock.write_text(json.dumps({"pid": 10**15, "host": "h" * 300, "fence": 30}))
    with full_disk(), pytest.raises(StorageError, match=r"cannot lock .*session\.lock: File too large"):
        async with coordinator.own(KEY):
            pass
    async with coordinator.own(KEY) as ownership:
        assert ownership.fence == 31
        assert str(coordinator.holder(KEY)).startswith(f"process {os.getpid()} on ")


async def test_an_owner_that_leaves_may_take_its_directories_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two steps of ours: between two directories, and between the directories and the file."""
    mkdir, acquire = Path.mkdir, FileLock.acquire
    leaves = ["lock", "mkdir", "lock", "mkdir"]

    def make(path: Path, *args: Any, **options: Any) -> None:
        if path.name == "sales" and leaves[-1:] == ["mkdir"]:
            leaves.pop()
            path.parent.rmdir()
        mkdir(path, *args, **options)

    def take(lock: FileLock) -> None:
        if leaves[-1:] == ["lock"]:
            leaves.pop()
            Path(lock.lock_file).parent.rmdir()
            raise FileNotFoundError(2, "No such file or directory")
        acquire(lock)

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(FileLock, "acquire", take)
    async with LocalCoordinator(tmp_path).own(SessionKey("962302", "sales")) as ownership:
        assert ownership.fence == 1
    assert leaves == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_lock_that_comes_after_asyncio_cancelled_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, begun, goes_on = LocalCoordinator(tmp_path), threading.Event(), threading.Event()
    acquire = coordinator._acquire

    def acquire_slowly(key: SessionKey, lock: FileLock) -> int:
        fence = acquire(key, lock)
        begun.set()
        assert goes_on.wait(60)
        return fence

    async def own() -> None:
        async with coordinator.own(KEY):
            raise AssertionError("it was cancelled")

    monkeypatch.setattr(coordinator, "_acquire", acquire_slowly)
    owner = asyncio.create_task(own())
    assert await run_sync(begun.wait, 60)
    owner.cancel()
    await anyio.wait_all_tasks_blocked()
    assert not owner.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await owner
    assert list(tmp_path.iterdir()) == []
