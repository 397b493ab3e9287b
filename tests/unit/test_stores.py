"""Every store keeps the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wasessionpool import SessionKey, SessionRecord, StorageError
from wasessionpool.abc import SessionStore
from wasessionpool.stores.directory import DirectoryStore
from wasessionpool.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio
KEY = SessionKey("962302")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(company_id: str = "962302", device: str = "main", **fields: object) -> SessionRecord:
    return SessionRecord(company_id=company_id, device=device, created_at=NOW, **fields)  # type: ignore[arg-type]


@pytest.fixture(params=["directory", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SessionStore]:
    if request.param == "memory":
        async with MemoryStore() as memory:
            yield memory
    else:
        async with DirectoryStore(tmp_path / "sessions") as directory:
            yield directory


async def test_what_is_put_is_got(store: SessionStore) -> None:
    assert await store.get(KEY) is None
    first = record(linked=True, jid="79686484488:1@s.whatsapp.net", metadata={"plan": "gold"}, proxy="http://p:1")
    await store.put(first, 1)
    assert await store.get(KEY) == first
    second = record(linked=False)
    await store.put(second, 1)
    assert await store.get(KEY) == second


async def test_an_older_owner_is_refused(store: SessionStore) -> None:
    await store.put(record(), 5)
    with pytest.raises(StorageError, match="newer owner"):
        await store.put(record(linked=True), 4)
    assert await store.get(KEY) == record()


async def test_all_records_are_listed_devices_too(store: SessionStore) -> None:
    records = [record("a"), record("b"), record("b", "sales")]
    for each in records:
        await store.put(each, 1)
    assert sorted([r.key async for r in store.records()]) == [r.key for r in records]


async def test_delete_forgets_one_session_only(store: SessionStore) -> None:
    for each in (record(), record("other"), record("962302", "sales")):
        await store.put(each, 1)
    await store.delete(KEY)
    await store.delete(KEY)
    assert await store.get(KEY) is None
    assert sorted([str(r.key) async for r in store.records()]) == ["962302:sales", "other"]


async def test_a_device_has_a_private_place(store: SessionStore) -> None:
    async with store.device(KEY) as place:
        assert place.database.parent.stat().st_mode & 0o777 == 0o700
        place.database.touch()
    async with store.device(SessionKey("other")) as other:
        assert other.database.parent != place.database.parent


async def test_the_layout_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    async with DirectoryStore(path) as store:
        await store.put(record(), 1)
        await store.put(record("962302", "sales"), 1)
        async with store.device(KEY) as place:
            assert place.database == path / "962302" / "auth_info" / "device.db"
    assert (path / "962302" / "devices" / "sales" / "session.json").is_file()
    for file in path.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file
    assert sorted(p.name for p in (path / "962302").iterdir()) == ["auth_info", "devices", "session.json"]


async def test_a_damaged_record_harms_no_other_and_keeps_its_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store:
        await store.put(record("good"), 1)
        await store.put(record("bad"), 1)
        async with store.device(SessionKey("bad")) as place:
            place.database.write_bytes(b"keys")
        (tmp_path / "sessions" / "bad" / "session.json").write_text('{"fence": 1, "rec')
        assert [r.company_id async for r in store.records()] == ["good"]
        with pytest.raises(StorageError, match="damaged"):
            await store.get(SessionKey("bad"))
        assert place.database.read_bytes() == b"keys"
    assert "session bad is left out" in caplog.text


async def test_a_record_moved_by_hand_is_refused(tmp_path: Path) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store:
        await store.put(record("mine"), 1)
        (tmp_path / "sessions" / "mine").rename(tmp_path / "sessions" / "theirs")
        with pytest.raises(StorageError, match="belongs to session mine"):
            await store.get(SessionKey("theirs"))


async def test_a_file_in_place_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot create the directory"):
            async with DirectoryStore(path):
                pass


async def test_a_path_open_to_all_is_refused_with_the_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sessions"
    path.mkdir()
    path.chmod(0o755)
    with pytest.raises(StorageError, match=f"chmod 700 {path}"):
        async with DirectoryStore(path):
            pass
    path.chmod(0o750)
    async with DirectoryStore(path):
        assert "open to its group" in caplog.text


async def test_a_crash_in_mid_write_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store:
        await store.put(record(), 1)

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            with pytest.raises(StorageError, match="No space left"):
                await store.put(record(linked=True), 1)
        assert await store.get(KEY) == record()
        assert [p.name for p in (tmp_path / "sessions" / "962302").iterdir()] == ["session.json"]
