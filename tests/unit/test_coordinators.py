from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from wasessionpool import SessionKey, SessionLocked, StorageError
from wasessionpool.coordinators import local
from wasessionpool.coordinators.local import LocalCoordinator

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
