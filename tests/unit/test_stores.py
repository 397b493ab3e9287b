"""Every store keeps the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wasessionpool import InvalidCompanyId, SessionKey, SessionRecord, StorageError
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


WHOLE = '{"fence":1,"record":{"company_id":"bad","created_at":"2026-01-01T00:00:00Z"}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x00" * 700,
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        WHOLE[:60].encode(),
        b'{"record":{"version":0}}',
    ],
    ids=["empty", "begun", "zeros", "no text", "list", "null", "deep", "half", "of no version"],
)
async def test_a_damaged_record_harms_no_other_and_comes_back_with_its_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "sessions" / "bad" / "session.json"
    async with DirectoryStore(tmp_path / "sessions") as store:
        await store.put(record("good"), 1)
        await store.put(record("bad", proxy="http://p:1"), 7)
        async with store.device(SessionKey("bad")) as place:
            place.database.write_bytes(b"keys")
        assert store.fault(SessionKey("bad")) is None
        path.write_bytes(content)
        bad, good = [r async for r in store.records()]
        assert good == record("good")
        assert (bad.key, bad.linked, bad.desired, bad.proxy) == (SessionKey("bad"), True, "stopped", None)
        assert bad.disconnect_reason == "storage"
        assert "session bad: " in caplog.text
        assert "is damaged; what it said is lost" in str(store.fault(SessionKey("bad")))
        assert path.read_bytes() == content, "to read changes nothing"

        await store.put(bad, 1)
        assert await store.get(SessionKey("bad")) == bad
        aside = path.with_name("session.json.damaged")
        assert (aside.read_bytes(), aside.stat().st_mode & 0o777) == (content, 0o600)
        assert place.database.read_bytes() == b"keys"
        await store.delete(SessionKey("bad"))
        assert list(path.parent.iterdir()) == []


async def test_a_damaged_record_without_keys_is_not_linked(tmp_path: Path) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store:
        await store.put(record(linked=True), 1)
        (tmp_path / "sessions" / "962302" / "session.json").write_text("")
        found = await store.get(KEY)
        assert found is not None
        assert not found.linked


async def test_a_record_of_a_newer_version_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sessions" / "962302" / "session.json"
    async with DirectoryStore(tmp_path / "sessions") as store:
        await store.put(record(), 1)
        path.write_text(newer := path.read_text().replace('"version": 1', '"version": 2,"more":1'))
        assert [r async for r in store.records()] == []
        assert "session 962302 is left out: " in caplog.text
        for attempt in (store.get(KEY), store.put(record(), 2)):
            with pytest.raises(StorageError, match="newer version of this library: upgrade it"):
                await attempt
    assert path.read_text() == newer


async def test_a_session_whose_id_differs_only_in_case_from_one_on_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store:
        await store.put(record("shop"), 1)
        await store.put(record("shop", "sales"), 1)
        for key in (SessionKey("Shop"), SessionKey("Shop", "other"), SessionKey("shop", "SALES")):
            with pytest.raises(InvalidCompanyId, match="differs only in case from what is in "):
                await store.get(key)
        assert await store.get(SessionKey("shop", "other")) is None

        linked = record("Shop", linked=True)
        await DirectoryStore(tmp_path / "elsewhere").put(linked, 1)
        (tmp_path / "elsewhere" / "Shop").rename(tmp_path / "sessions" / "Shop")
        assert [r async for r in store.records()] == [linked]
        assert "session shop is left out: it differs only in case from Shop" in caplog.text
        assert "session shop:sales is left out" in caplog.text


async def test_what_interrupted_writes_left_is_swept_at_the_sessions_start(tmp_path: Path) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store:
        for each in (record(), record("962302", "sales")):
            await store.put(each, 1)
        left = [
            tmp_path / "sessions" / key.directory / ".session.json.abc" for key in (KEY, SessionKey("962302", "sales"))
        ]
        for file in left:
            file.write_text("half")
        async with store.device(KEY):
            assert [file.exists() for file in left] == [False, True]
        assert await store.get(KEY) == record()


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


async def test_a_deletion_that_was_cut_off_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with DirectoryStore(tmp_path / "sessions") as store:
        await store.put(record(), 1)
        directory = tmp_path / "sessions" / "962302"
        for name in ("inbox", "inbox-wal", "debug.log", "session.json.damaged", ".session.json.abc"):
            (directory / name).write_text("secret")
        unlink = Path.unlink

        def unlink_one(path: Path, *, missing_ok: bool = False) -> None:
            unlink(path, missing_ok=missing_ok)
            raise OSError(5, "cut off", str(path))

        while len(list(directory.iterdir())) > 1:
            assert [r.key async for r in store.records()] == [KEY]
            with monkeypatch.context() as patch, pytest.raises(StorageError, match="cut off"):
                patch.setattr(Path, "unlink", unlink_one)
                await store.delete(KEY)
        await store.delete(KEY)
        assert [r.key async for r in store.records()] == []
