from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wasessionpool import SessionKey, SessionLocked, StorageError
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
    coordinator, asked = LocalCoordinator(tmp_path), 0
    async with coordinator.own(KEY):
        (tmp_path / "962302" / "session.json").touch()
    done = threading.Event()

    def ask() -> None:
        nonlocal asked
        while not done.is_set():
            coordinator.holder(KEY)
            asked += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(100):
            async with coordinator.own(KEY):
                pass
    finally:
        done.set()
        thread.join()
    assert asked
