"""API keys: configured ones, and ones that are made, listed, used and revoked."""

from __future__ import annotations

import hashlib
import hmac
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from wasessionpool import ConfigurationError, InvalidCompanyId, StorageError
from wasessionpool.http.keys import ConfiguredKeys, StoredKeys, digest
from wasessionpool.http.rights import ALL_RIGHTS, NEEDED, Grant
from wasessionpool.shelves.directory import DirectoryShelf
from wasessionpool.shelves.memory import MemoryShelf

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = ["first-key-of-three", "second-key-of-three", "third-key-of-three"]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What was compared in constant time."""
    pairs = []
    compare = hmac.compare_digest

    def note(one: Any, other: Any) -> bool:
        pairs.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", note)
    return pairs


@pytest.mark.parametrize("key", [*PLAIN, "none-of-the-three", "", "é", "\udcff"])
def test_a_key_is_compared_with_every_configured_one(compared: list[tuple[Any, Any]], key: str) -> None:
    keys = ConfiguredKeys(PLAIN)
    found = keys.find(key)
    assert compared == [(digest(plain), digest(key)) for plain in PLAIN]
    assert found == (Grant(f"configured:{PLAIN.index(key) + 1}") if key in PLAIN else None)


def test_a_configured_key_may_be_hashed() -> None:
    hashed = hashlib.sha256(b"the-key-itself-in-plain").hexdigest()
    keys = ConfiguredKeys([f"sha256:{hashed.upper()}", "another-key-in-plain"])
    found = keys.find("the-key-itself-in-plain")
    assert found is not None
    assert (found.rights, found.companies) == (ALL_RIGHTS, None)
    assert keys.find(f"sha256:{hashed}") is None
    assert keys.find(hashed) is None


@pytest.mark.parametrize("key", ["sha256:abc", "sha256:", "with blank", "with\nline", "ключ", "", "a,b"])
def test_what_is_no_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError, match="place 2") as caught:
        ConfiguredKeys(["a-key-that-is-right", key])
    assert key in ("", "sha256:") or key not in str(caught.value)


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("WHATSAPP_API_KEYS", raising=False)
    assert not ConfiguredKeys.from_env()
    monkeypatch.setenv("WHATSAPP_API_KEYS", f" {PLAIN[0]} ,, short")
    keys = ConfiguredKeys.from_env()
    assert len(keys) == 2
    assert keys.find(PLAIN[0])
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "place 2" in record.getMessage()
    assert "short" not in record.getMessage()


async def test_a_made_key_is_shown_once_and_kept_as_a_hash() -> None:
    shelf = MemoryShelf()
    keys = StoredKeys(shelf, now=lambda: NOW)
    key, kept = await keys.create(rights={"send", "read"}, companies=["962303", "962302"], name="shop")
    assert key.startswith(f"wsp_{kept.id}_")
    assert (kept.name, kept.created_at) == ("shop", NOW)
    assert (kept.rights, kept.companies) == (("read", "send"), ("962302", "962303"))
    secret = key.rpartition("_")[2]
    stored = b"".join([value async for _, value in shelf.scan("")])
    assert secret.encode() not in stored
    assert kept.sha256 not in repr(kept)
    assert await keys.list() == [kept]
    assert await keys.find(key) == Grant(f"key:{kept.id}", frozenset({"read", "send"}), frozenset({"962302", "962303"}))


async def test_keys_are_never_alike() -> None:
    keys = StoredKeys(MemoryShelf())
    made = [await keys.create(rights=["read"]) for _ in range(20)]
    assert len({key for key, _ in made}) == len({kept.id for _, kept in made}) == 20
    assert all(len(key) == len("wsp_") + 16 + 1 + 43 for key, _ in made)


async def test_a_wrong_secret_is_compared_as_the_right_one_is(compared: list[tuple[Any, Any]]) -> None:
    keys = StoredKeys(MemoryShelf())
    key, kept = await keys.create(rights=["read"])
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert await keys.find(wrong) is None
    assert compared == [(kept.sha256, digest(wrong))]
    for unknown in (key.replace(kept.id, "0" * 16), "wsp_", "wsp_../../etc_x", "", f"{key}x", key.upper()):
        compared.clear()
        assert await keys.find(unknown) is None
        [(known, given)] = compared
        assert given == digest(unknown)
        assert len(known) == len(given)


async def test_a_revoked_key_is_refused_at_once_in_every_process(tmp_path: Path) -> None:
    async with DirectoryShelf(tmp_path) as shelf, DirectoryShelf(tmp_path) as of_another_process:
        key, kept = await StoredKeys(of_another_process).create(rights=["manage"])
        keys = StoredKeys(shelf)
        grant = await keys.find(key)
        assert grant is not None
        assert grant.companies is None
        assert await StoredKeys(of_another_process).revoke(kept.id) is True
        assert await keys.find(key) is None
        assert await keys.revoke(kept.id) is False
        assert await keys.revoke("../" + kept.id) is False
        assert await keys.list() == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"rights": []}, ConfigurationError),
        ({"rights": ["admin"]}, ConfigurationError),
        ({"rights": ["read"], "companies": []}, ConfigurationError),
        ({"rights": ["read"], "companies": ["../etc"]}, InvalidCompanyId),
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(asked: dict[str, Any], error: type[Exception]) -> None:
    keys = StoredKeys(MemoryShelf())
    with pytest.raises(error):
        await keys.create(**asked)
    assert await keys.list() == []


async def test_an_entry_that_cannot_be_read_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    shelf = MemoryShelf()
    keys = StoredKeys(shelf)
    key, kept = await keys.create(rights=["read"])
    await shelf.put(f"api_keys/{kept.id}", b"{}")
    with pytest.raises(StorageError):
        await keys.find(key)
    assert await keys.list() == []
    assert kept.id in caplog.text


def test_every_right_is_needed_somewhere() -> None:
    assert set(NEEDED.values()) == {*ALL_RIGHTS, None}
