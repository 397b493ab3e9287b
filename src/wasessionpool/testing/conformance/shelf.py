"""What a ``Shelf`` has to keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import anyio

from ...abc import Shelf
from ...errors import StorageError
from .requirement import Make, opened, refused, require, run_all

S = TypeVar("S", bound=Shelf)
KEY = "send/962302/1"
LONGEST = "".join(chr(32 + number % 95) for number in range(512))
BAD_KEYS = ("", LONGEST + "x", "clé", "a\nb", "a\0b", "a\x7fb")
VALUE = bytes(range(256))
TTL = 3600.0
MANY = 600


async def check_shelf(
    make_shelf: Make[S],
    *,
    reopen: Callable[[S], S | AbstractAsyncContextManager[S]] | None = None,
    pass_time: Callable[[float], Awaitable[None]] | None = None,
) -> None:
    """Check a ``Shelf``; ``make_shelf`` gives an empty one at each call.

    For one that outlives its process, ``reopen`` gives a second shelf of the same place, beside the first.
    ``pass_time`` lets seconds pass for it, where that is possible; then it is checked that things expire, too.
    Raises ``AssertionError``.
    """
    await run_all("Shelf", make_shelf, REQUIREMENTS)
    if reopen is not None:
        await run_all("Shelf", make_shelf, _across(reopen))
    if pass_time is not None:
        await run_all("Shelf", make_shelf, _over_time(pass_time))


async def _keys(shelf: Shelf, prefix: str = "") -> list[str]:
    return [key async for key, _ in shelf.scan(prefix)]


async def _an_empty_shelf_has_nothing(shelf: Shelf) -> None:
    require(await shelf.get(KEY) is None, "get() of what is not there must return None")
    require(await shelf.delete(KEY) is False, "delete() of what is not there must return False")
    require(await _keys(shelf) == [], "scan() of an empty shelf must give nothing")


async def _what_is_put_is_got(shelf: Shelf) -> None:
    for value in (VALUE, b"", b"another"):
        require(await shelf.put(KEY, value) is True, "put() must return True")
        found = await shelf.get(KEY)
        require(found == value, f"get() must return the bytes that were put last; it gave {found!r}")


async def _every_key_is_taken_as_it_is(shelf: Shelf) -> None:
    keys = [LONGEST, " ", "~", "a%b", "a_b", "a*b", "A", "a", "a ", "'", '"', "/../", "\\"]
    for number, key in enumerate(keys):
        await shelf.put(key, str(number).encode())
    for number, key in enumerate(keys):
        require(await shelf.get(key) == str(number).encode(), f"{key!r} must be a key of its own")
    require(await _keys(shelf) == sorted(keys), "scan() must give every key as it was put")


async def _what_is_no_key_is_refused(shelf: Shelf) -> None:
    for key in BAD_KEYS:
        what = f"a key is 1–512 printable ASCII characters: {ascii(key)[:20]} must raise StorageError in"
        with refused(StorageError, f"{what} put()"):
            await shelf.put(key, VALUE)
        with refused(StorageError, f"{what} get()"):
            await shelf.get(key)
        with refused(StorageError, f"{what} delete()"):
            await shelf.delete(key)
    require(await _keys(shelf) == [], "a put() that is refused must change nothing")


async def _if_absent_leaves_what_is_there(shelf: Shelf) -> None:
    require(await shelf.put(KEY, b"first", if_absent=True) is True, "put(if_absent=True) must take a free place")
    require(await shelf.put(KEY, b"second", if_absent=True) is False, "put(if_absent=True) must say what is there")
    require(await shelf.get(KEY) == b"first", "put(if_absent=True) must leave what is there")
    await shelf.delete(KEY)
    require(await shelf.put(KEY, b"third", if_absent=True) is True, "what was deleted must be absent")


async def _of_several_at_once_one_is_first(shelf: Shelf) -> None:
    await _race([shelf] * 10)


async def _delete_forgets_one(shelf: Shelf) -> None:
    for key in (KEY, KEY + "0", KEY[:-1]):
        await shelf.put(key, VALUE)
    require(await shelf.delete(KEY) is True, "delete() must return True where there was something")
    require(await shelf.delete(KEY) is False, "delete() must return False the second time")
    require(await shelf.get(KEY) is None, "get() after delete() must return None")
    require(await _keys(shelf) == [KEY[:-1], KEY + "0"], "delete() must leave other keys alone")


async def _scan_gives_a_prefix_in_order(shelf: Shelf) -> None:
    for key in ("b/2", "a", "b/10", "b", "b0", "B/1", "c/1", "b/", "b/~"):
        await shelf.put(key, key.encode())
    found = [entry async for entry in shelf.scan("b/")]
    expected = [(key, key.encode()) for key in ("b/", "b/10", "b/2", "b/~")]
    require(found == expected, f"scan() must give what begins with the prefix, by the order of the keys, not {found}")
    require(await _keys(shelf, "%") == [], "scan() must take the prefix as it is")


async def _scan_gives_all_of_many(shelf: Shelf) -> None:
    keys = [f"many/{number:05}" for number in range(MANY)]
    for key in keys:
        await shelf.put(key, b"")
    require(await _keys(shelf, "many/") == keys, f"scan() must give each of {MANY} once")


async def _a_scan_outlives_changes(shelf: Shelf) -> None:
    for number in range(10):
        await shelf.put(f"a{number}", b"")
    seen = []
    async for key, _ in shelf.scan("a"):
        seen.append(key)
        await shelf.delete(key)
        await shelf.put(f"b{key}", b"")
    require(
        seen == [f"a{number}" for number in range(10)], f"what a scan gave may be deleted meanwhile; it gave {seen}"
    )
    require(len(await _keys(shelf)) == 10, "what is put and deleted during a scan must be so afterwards")


REQUIREMENTS = (
    _an_empty_shelf_has_nothing,
    _what_is_put_is_got,
    _every_key_is_taken_as_it_is,
    _what_is_no_key_is_refused,
    _if_absent_leaves_what_is_there,
    _of_several_at_once_one_is_first,
    _delete_forgets_one,
    _scan_gives_a_prefix_in_order,
    _scan_gives_all_of_many,
    _a_scan_outlives_changes,
)


def _across(
    reopen: Callable[[S], S | AbstractAsyncContextManager[S]],
) -> list[Callable[[S], Awaitable[None]]]:
    async def what_one_puts_another_gets(shelf: S) -> None:
        await shelf.put(KEY, VALUE)
        async with opened(reopen(shelf)) as second:
            require(await second.get(KEY) == VALUE, "a second shelf of the same place must have what was put")
            await second.delete(KEY)
        require(await shelf.get(KEY) is None, "what a second shelf deletes must be gone in the first")

    async def of_several_in_several_shelves_one_is_first(shelf: S) -> None:
        async with opened(reopen(shelf)) as second:
            await _race([shelf, second] * 5)

    return [what_one_puts_another_gets, of_several_in_several_shelves_one_is_first]


async def _race(shelves: list[S]) -> None:
    succeeded: list[bytes] = []

    async def put(shelf: S, value: bytes) -> None:
        if await shelf.put(KEY, value, if_absent=True):
            succeeded.append(value)

    async with anyio.create_task_group() as tasks:
        for number, shelf in enumerate(shelves):
            tasks.start_soon(put, shelf, str(number).encode())
    many = len(shelves)
    require(
        len(succeeded) == 1, f"of {many} put(if_absent=True) at the same time one must succeed, not {len(succeeded)}"
    )
    require(await shelves[0].get(KEY) == succeeded[0], "what the first put() wrote must be there")


def _over_time(pass_time: Callable[[float], Awaitable[None]]) -> list[Callable[[Shelf], Awaitable[None]]]:
    async def what_is_older_than_its_ttl_is_gone(shelf: Shelf) -> None:
        await shelf.put(KEY, VALUE, ttl=TTL)
        await shelf.put("kept", VALUE)
        await pass_time(TTL - 1)
        require(await shelf.get(KEY) == VALUE, "what is younger than its ttl must be there")
        await pass_time(2)
        require(await shelf.get(KEY) is None, "what is older than its ttl must not be got")
        require(await shelf.delete(KEY) is False, "what is older than its ttl must not count as deleted")
        require(await _keys(shelf) == ["kept"], "scan() must not give what is older than its ttl")
        require(await shelf.put(KEY, b"new", if_absent=True), "what is older than its ttl must be absent")
        require(await shelf.get(KEY) == b"new", "what is put in place of the expired must be there")

    async def a_put_begins_a_new_ttl(shelf: Shelf) -> None:
        await shelf.put(KEY, b"old", ttl=TTL)
        await shelf.put("kept", b"old", ttl=TTL)
        await pass_time(TTL - 1)
        await shelf.put(KEY, VALUE, ttl=TTL)
        await shelf.put("kept", VALUE)
        await pass_time(TTL - 1)
        require(await shelf.get(KEY) == VALUE, "a put() must begin a ttl of its own")
        await pass_time(TTL)
        require(await _keys(shelf) == ["kept"], "a put() without ttl must take away that of the one before")

    return [what_is_older_than_its_ttl_is_gone, a_put_begins_a_new_ttl]
