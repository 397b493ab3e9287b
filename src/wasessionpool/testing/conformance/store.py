"""What a ``SessionStore`` has to keep."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio

from ...abc import SessionStore
from ...errors import StorageError
from ...models import DisconnectReason, ReachOut, SessionKey, SessionRecord, Status
from .requirement import Make, opened, refused, require, run_all

S = TypeVar("S", bound=SessionStore)
KEY = SessionKey("962302")
SALES = SessionKey("962302", "sales")
OTHER = SessionKey("other")


async def check_store(
    make_store: Make[S], *, reopen: Callable[[S], S | AbstractAsyncContextManager[S]] | None = None
) -> None:
    """Check a ``SessionStore``; ``make_store`` gives an empty one at each call.

    For one that outlives its process, ``reopen`` gives a second store of the same place, after the first was closed.
    Raises ``AssertionError``.
    """
    await run_all("SessionStore", make_store, REQUIREMENTS)
    if reopen is not None:

        async def what_was_put_is_there_after_a_restart(store: S) -> None:
            await store.put(_full(), 5)
            async with opened(reopen(store)) as second:
                require(await second.get(KEY) == _full(), "a store that was opened again must have the records it had")
                await _refuses(second, 4, "a store that was opened again must remember the fence of the last put()")

        await run_all("SessionStore", make_store, [what_was_put_is_there_after_a_restart])


def _record(key: SessionKey = KEY, **fields: Any) -> SessionRecord:
    return SessionRecord(
        company_id=key.company_id, device=key.device, created_at=datetime(2026, 1, 1, tzinfo=UTC), **fields
    )


def _full() -> SessionRecord:
    """Return a record in which every field has a value."""
    return _record(
        desired="stopped",
        status=Status.RESTRICTED,
        disconnect_reason=DisconnectReason.TEMPORARILY_BANNED,
        linked=True,
        jid="79686484488:1@s.whatsapp.net",
        lid="7779686484488:1@lid",
        phone_number="+79686484488",
        push_name="Café «Ёлка» 🎄",
        proxy="http://user:password@proxy:3128",
        metadata={"plan": "gold", "limits": [1, 2.5, None], "nested": {"naïve": True}},
        connected_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        restricted_until=datetime(2026, 1, 3, tzinfo=UTC),
        reach_out=ReachOut(
            recipient="79001234567@s.whatsapp.net",
            refused_at=datetime(2026, 1, 2, tzinfo=UTC),
            restricted=True,
            until=datetime(2026, 1, 4, tzinfo=UTC),
            tried_at=datetime(2026, 1, 2, 6, tzinfo=UTC),
        ),
    )


async def _refuses(store: SessionStore, fence: int, requirement: str) -> None:
    before = await store.get(KEY)
    with refused(StorageError, f"{requirement}, and raise StorageError for an older one"):
        await store.put(_record(push_name="an older owner's"), fence)
    require(await store.get(KEY) == before, "a put() that is refused must change nothing")


async def _keys(store: SessionStore) -> list[SessionKey]:
    return sorted([record.key async for record in store.records()])


async def _an_empty_store_knows_nobody(store: SessionStore) -> None:
    require(await store.get(KEY) is None, "get() of an unknown session must return None")
    require(await _keys(store) == [], "records() of an empty store must give none")


async def _what_is_put_is_got(store: SessionStore) -> None:
    for record in (_full(), _record(), _record(linked=True)):
        await store.put(record, 1)
        found = await store.get(KEY)
        require(found == record, f"get() must return the record that was put last, every field of it; it gave {found}")


async def _an_older_owner_is_refused(store: SessionStore) -> None:
    await store.put(_record(), 5)
    await _refuses(store, 4, "put() must remember the fence")
    await store.put(_record(linked=True), 5)
    await store.put(_full(), 6)
    require(await store.get(KEY) == _full(), "put() must take the fence of the last owner, and of a newer one")
    await _refuses(store, 5, "put() must remember the newest fence")
    await store.put(_record(OTHER), 1)


async def _all_sessions_are_listed(store: SessionStore) -> None:
    for key in (KEY, SALES, OTHER):
        await store.put(_record(key), 1)
        await store.put(_record(key, linked=True), 2)
    found = await _keys(store)
    require(found == [KEY, SALES, OTHER], f"records() must give each session once, devices too; it gave {found}")
    async for record in store.records():
        require(record == _record(record.key, linked=True), "records() must give the records that were put last")
        await store.put(_record(record.key), 3)


async def _delete_forgets_one_session(store: SessionStore) -> None:
    for key in (KEY, SALES, OTHER):
        await store.put(_record(key), 7)
    await store.delete(KEY)
    await store.delete(KEY)
    require(await store.get(KEY) is None, "get() after delete() must return None")
    require(await _keys(store) == [SALES, OTHER], "delete() must leave other companies and other devices alone")
    await store.put(_record(linked=True), 1)
    require(await store.get(KEY) == _record(linked=True), "a session that was deleted must begin anew, at any fence")


async def _a_device_has_a_place_of_its_own(store: SessionStore) -> None:
    places = []
    for key in (KEY, SALES, OTHER):
        async with store.device(key) as place:
            for file in (place.database, place.inbox):
                require(file.is_absolute(), f"device() must lend absolute paths, not {file}")
                require(file.parent.is_dir(), f"device() must make the directory {file.parent}")
                mode = file.parent.stat().st_mode & 0o777
                require(mode == 0o700, f"{file.parent} must be private (700): it holds keys; it is {mode:03o}")
                file.write_text(str(key))
            places.append(place)
    files = [file for place in places for file in (place.database, place.inbox)]
    require(len(set(files)) == len(files), "device() must lend each device a database and an inbox of its own")
    for key, place in zip((KEY, SALES, OTHER), places, strict=True):
        async with store.device(key) as again:
            require(again == place, "device() must lend the same place to the same device")
            require(again.database.read_text() == str(key), "what a driver left in its place must stay there")


async def _delete_erases_the_keys(store: SessionStore) -> None:
    for key in (KEY, SALES):
        await store.put(_record(key), 1)
        async with store.device(key) as place:
            for suffix in ("", "-wal", "-shm"):
                place.database.with_name(place.database.name + suffix).write_text("keys")
            place.inbox.write_text("messages")
    await store.delete(KEY)
    async with store.device(KEY) as place:
        left = [path.name for path in place.database.parent.glob(f"{place.database.name}*")]
        require(not left, f"delete() must erase the device's keys with the files that SQLite adds; it left {left}")
        require(not place.inbox.exists(), "delete() must erase the device's inbox")
    async with store.device(SALES) as place:
        require(place.database.exists(), "delete() must leave the keys of other devices alone")


async def _sessions_are_put_at_the_same_time(store: SessionStore) -> None:
    keys = [SessionKey(f"company-{number}") for number in range(10)]
    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(store.put, _record(key), 1)
    require(await _keys(store) == sorted(keys), "puts of several sessions at the same time must all be kept")


REQUIREMENTS = (
    _an_empty_store_knows_nobody,
    _what_is_put_is_got,
    _an_older_owner_is_refused,
    _all_sessions_are_listed,
    _delete_forgets_one_session,
    _a_device_has_a_place_of_its_own,
    _delete_erases_the_keys,
    _sessions_are_put_at_the_same_time,
)
