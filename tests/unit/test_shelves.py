"""What the shelf in the session path does with its file; what every shelf has to keep is in its conformance suite."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from wasessionpool import SessionKey, SessionRecord, StorageError
from wasessionpool.shelves.directory import SWEEP, DirectoryShelf, _put_aside
from wasessionpool.stores.directory import DirectoryStore
from wasessionpool.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def rows(shelf: DirectoryShelf) -> int:
    with closing(sqlite3.connect(shelf.path)) as connection:
        count: int = connection.execute("select count(*) from shelf").fetchone()[0]
        return count


async def test_its_files_are_the_owners_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with DirectoryShelf(tmp_path / "sessions") as shelf:
            await shelf.put("key", b"value")
            assert shelf.path == tmp_path / "sessions" / ".pool" / "pool.db"
            files = list(shelf.path.parent.iterdir())
            assert {file.name for file in files} == {"pool.db", "pool.db-wal", "pool.db-shm"}
            assert {mode(file) for file in files} == {0o600}
            assert [mode(shelf.path.parents[1]), mode(shelf.path.parent)] == [0o700, 0o700]
    finally:
        os.umask(before)


async def test_a_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    async with DirectoryShelf(tmp_path) as shelf:
        pass
    shelf.path.chmod(0o644)
    async with DirectoryShelf(tmp_path) as shelf:
        assert mode(shelf.path) == 0o600


async def test_it_is_no_session(tmp_path: Path) -> None:
    async with DirectoryShelf(tmp_path / "sessions"), DirectoryStore(tmp_path / "sessions") as store:
        assert [record async for record in store.records()] == []
        assert list(store.known()) == []
        await store.delete(SessionKey("962302"))
        assert (store.path / ".pool" / "pool.db").is_file()


@pytest.mark.parametrize("damage", ["all", "a page"])
async def test_a_damaged_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    for number, aside in enumerate(["pool.db.damaged", "pool.db.damaged.1"], 1):
        async with DirectoryShelf(tmp_path) as shelf:
            for entry in range(200):
                await shelf.put(f"key {entry}", bytes(500))
        content = bytearray(shelf.path.read_bytes())
        assert len(content) > 10 * 4096
        start = 0 if damage == "all" else 2 * 4096
        content[start : start + 8 * 4096] = b"x" * (8 * 4096)
        shelf.path.write_bytes(content)
        async with DirectoryShelf(tmp_path) as shelf:
            [await shelf.get(f"key {entry}") for entry in range(200)]
            assert await shelf.put("key", b"value")
            assert [key async for key, _ in shelf.scan("")] == ["key"]
            assert (shelf.path.parent / aside).read_bytes() == content
            assert mode(shelf.path) == 0o600
        said = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(said) == number
        assert f"was put aside as {shelf.path.parent / aside}" in said[-1].getMessage()


async def test_of_two_that_find_it_damaged_one_puts_it_aside(tmp_path: Path) -> None:
    async with DirectoryShelf(tmp_path) as shelf:
        for entry in range(50):
            await shelf.put(f"key {entry}", bytes(500))
    async with DirectoryShelf(tmp_path) as first, DirectoryShelf(tmp_path) as second:
        with shelf.path.open("r+b") as file:
            file.write(b"x" * shelf.path.stat().st_size)
        async with anyio.create_task_group() as tasks:
            for each in (first, second):
                tasks.start_soon(each.get, "key 1")
        await first.put("first", b"value")
        await second.put("second", b"value")
        assert [key async for key, _ in first.scan("")] == ["first", "second"]
        assert {file.name for file in tmp_path.glob(".pool/*.damaged*")} >= {"pool.db.damaged"}
        assert not list(tmp_path.glob(".pool/*.damaged.1"))


def test_what_another_takes_along_is_not_missed_as_it_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = tmp_path / "pool.db", Path.rename
    for suffix in ("", "-wal"):
        path.with_name(path.name + suffix).touch()

    def rename_a_moment_later(file: Path, target: Path) -> Path:
        path.with_name("pool.db-wal").unlink(missing_ok=True)
        return rename(file, target)

    monkeypatch.setattr(Path, "rename", rename_a_moment_later)
    assert [file.name for file in (_put_aside(path), *tmp_path.iterdir())] == ["pool.db.damaged"] * 2


async def test_a_file_that_is_removed_is_begun_anew(tmp_path: Path) -> None:
    async with DirectoryShelf(tmp_path) as shelf, DirectoryShelf(tmp_path) as other:
        await shelf.put("old", b"value")
        for file in shelf.path.parent.iterdir():
            file.unlink()
        shelf.path.parent.rmdir()
        await shelf.put("new", b"value")
        assert [key async for key, _ in other.scan("")] == ["new"]


async def test_one_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with DirectoryShelf(tmp_path) as shelf:
        await shelf.put("key", b"value")
    with closing(sqlite3.connect(shelf.path)) as connection:
        connection.execute("pragma user_version = 99")
    with pytest.raises(StorageError, match="newer version of this library: upgrade it"):
        async with DirectoryShelf(tmp_path):
            pass
    assert rows(shelf) == 1


async def test_what_cannot_be_used_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot create the directory"):
        async with DirectoryShelf(tmp_path / "file"):
            pass
    async with DirectoryShelf(tmp_path) as shelf:
        shelf.path.unlink()
        shelf.path.mkdir()
        with pytest.raises(StorageError, match=r"pool\.db cannot be used: unable to open"):
            await shelf.get("key")
        shelf.path.rmdir()
        assert await shelf.get("key") is None
    with pytest.raises(StorageError, match="is not open"):
        await shelf.get("key")


async def test_another_processes_lock_is_waited_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasessionpool.shelves.directory.BUSY", 60.0)
    async with DirectoryShelf(tmp_path) as shelf:
        with closing(sqlite3.connect(shelf.path, isolation_level=None)) as connection:
            connection.execute("begin immediate")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(shelf.put, "key", b"value")
                await anyio.sleep(0.1)
                connection.execute("rollback")
        assert await shelf.delete("key")
    monkeypatch.setattr("wasessionpool.shelves.directory.BUSY", 0.01)
    async with DirectoryShelf(tmp_path) as shelf:
        with closing(sqlite3.connect(shelf.path, isolation_level=None)) as connection:
            connection.execute("begin immediate")
            with pytest.raises(StorageError, match="database is locked"):
                await shelf.put("key", b"value")
            assert await shelf.get("key") is None
        assert await shelf.put("key", b"value")


async def test_what_expired_is_swept_by_the_writes(tmp_path: Path) -> None:
    clock = FakeClock()
    async with DirectoryShelf(tmp_path, now=clock.now) as shelf:
        with closing(sqlite3.connect(shelf.path)) as connection, connection:
            expires_at = clock.now().timestamp() + 1
            connection.executemany(
                "insert into shelf values (?, ?, ?)", [(f"old {n}", b"", expires_at) for n in range(SWEEP + 10)]
            )
        await shelf.put("new", b"value")
        assert rows(shelf) == SWEEP + 11
        await clock.advance(1)
        await shelf.put("new", b"value")
        assert rows(shelf) == 11
        await shelf.delete("nothing")
        assert rows(shelf) == 1


async def test_what_a_killed_process_put_is_there(tmp_path: Path) -> None:
    script = """
import anyio, os, signal, sys
from wasessionpool.shelves.directory import DirectoryShelf
async def main():
    async with DirectoryShelf(sys.argv[1]) as shelf:
        for number in range(50):
            await shelf.put(f"key {number:02}", b"value")
        os.kill(os.getpid(), signal.SIGKILL)
anyio.run(main)
"""
    process = await anyio.run_process([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert process.returncode == -9
    async with DirectoryShelf(tmp_path) as shelf:
        assert [key async for key, _ in shelf.scan("")] == [f"key {number:02}" for number in range(50)]


def test_processes_share_it(tmp_path: Path) -> None:
    script = """
import anyio, sys
from wasessionpool.shelves import directory
directory.BUSY = 60.0
async def main():
    async with directory.DirectoryShelf(sys.argv[1]) as shelf:
        print(sum([await shelf.put(f"key {number}", b"value", if_absent=True) for number in range(100)]))
anyio.run(main)
"""
    arguments = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(map(int, said)) == 100


async def test_a_record_and_the_shelf_share_a_path(tmp_path: Path) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store, DirectoryShelf(tmp_path / "sessions") as shelf:
        record = SessionRecord(company_id="962302", created_at=FakeClock().now())
        await store.put(record, 1)
        await shelf.put("key", b"value")
        assert [each async for each in store.records()] == [record]
