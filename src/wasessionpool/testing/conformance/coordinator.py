"""What a ``Coordinator`` has to keep."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import cast

import anyio
from ulid import ULID

from ...abc import Coordinator, Ownership, SessionStore
from ...errors import SessionLocked
from ...models import SessionKey, SessionRecord
from .requirement import Make, opened, refused, require, run_all

AT_ONCE = 5.0
"""Seconds in which one that asks has to hear that the session is taken."""

CONTENDERS = 5


async def check_coordinator(make_coordinator: Make[Coordinator], *, store: SessionStore | None = None) -> None:
    """Check a ``Coordinator``; ``make_coordinator`` gives one of those that share the knowledge of who owns what.

    ``store`` is for one that remembers fences as long as a session is stored, as ours on disk does: the sessions of
    this check are put into it. Raises ``AssertionError``.
    """

    async def at_most_one_owns_a_session(first: Coordinator) -> None:
        async with opened(make_coordinator()) as second:
            key = _new_key()
            async with first.own(key) as ownership:
                await _refuses(second, key, "own() must raise SessionLocked where another coordinator owns the session")
                await _refuses(first, key, "own() must raise SessionLocked for an owner that asks again")
                require(not ownership.lost.is_set(), "an ownership must not be lost because others ask for it")
                for other in (_new_key(), SessionKey(key.company_id, "sales")):
                    async with second.own(other):
                        pass

    async def who_comes_later_has_a_higher_fence(first: Coordinator) -> None:
        async with opened(make_coordinator()) as second:
            key, last = _new_key(), None
            for coordinator in (first, second, first):
                async with coordinator.own(key) as ownership:
                    require(not ownership.lost.is_set(), "lost must not be set while the session is owned")
                    require(
                        last is None or ownership.fence > last,
                        f"the fence must rise with each owner; {ownership.fence} came after {last}",
                    )
                    last = ownership.fence
                    if store is not None:
                        await store.put(_record(key), last)
            if store is not None:
                async with second.own(key):
                    await store.delete(key)

    async def who_leaves_gives_it_back(first: Coordinator) -> None:
        async with opened(make_coordinator()) as second:
            key = _new_key()
            with refused(ZeroDivisionError, "own() must pass on what is raised in its body"):
                async with first.own(key):
                    raise ZeroDivisionError
            await _can_own(second, key, "an owner that fails must give the session back")
            async with anyio.create_task_group() as tasks:
                await tasks.start(_own_for_ever, first, key)
                await _refuses(second, key, "own() must hold as long as its body runs")
                tasks.cancel_scope.cancel()
            await _can_own(second, key, "an owner that is cancelled must give the session back")

    async def of_many_at_once_one_owns(first: Coordinator) -> None:
        key, owners, asked = _new_key(), 0, 0
        all_asked = anyio.Event()

        async def contend(coordinator: Coordinator) -> None:
            nonlocal owners, asked
            try:
                async with coordinator.own(key):
                    owners += 1
                    asked += 1
                    if asked == CONTENDERS:
                        all_asked.set()
                    await all_asked.wait()
            except SessionLocked:
                asked += 1
                if asked == CONTENDERS:
                    all_asked.set()

        async with AsyncExitStack() as stack:
            coordinators = [first]
            for _ in range(CONTENDERS - 1):
                other = await stack.enter_async_context(opened(make_coordinator()))
                coordinators.append(other)
            async with anyio.create_task_group() as tasks:
                for coordinator in coordinators:
                    tasks.start_soon(contend, coordinator)
        require(owners == 1, f"of {CONTENDERS} that ask at the same time one must own the session, not {owners}")

    await run_all(
        "Coordinator",
        make_coordinator,
        [
            at_most_one_owns_a_session,
            who_comes_later_has_a_higher_fence,
            who_leaves_gives_it_back,
            of_many_at_once_one_owns,
        ],
    )


def _new_key() -> SessionKey:
    """Return a key that nobody else uses, since coordinators of one kind may share their place with a real pool."""
    return SessionKey(f"check-{ULID()}")


def _record(key: SessionKey) -> SessionRecord:
    return SessionRecord(company_id=key.company_id, device=key.device, created_at=datetime(2026, 1, 1, tzinfo=UTC))


async def _refuses(coordinator: Coordinator, key: SessionKey, requirement: str) -> None:
    with anyio.move_on_after(AT_ONCE) as scope, refused(SessionLocked, requirement) as refusal:
        async with coordinator.own(key):
            pass
    require(not scope.cancelled_caught, "own() must raise SessionLocked at once, not wait for the owner to leave")
    holder = cast("SessionLocked", refusal.error).holder
    require(isinstance(holder, str) and holder, f"SessionLocked must say who holds the session, not {holder!r}")


async def _can_own(coordinator: Coordinator, key: SessionKey, requirement: str) -> None:
    try:
        async with coordinator.own(key) as ownership:
            require(isinstance(ownership, Ownership), f"own() must give an Ownership, not {ownership!r}")
    except SessionLocked as error:
        raise AssertionError(f"{requirement}; {error}") from error


async def _own_for_ever(coordinator: Coordinator, key: SessionKey, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    async with coordinator.own(key):
        task_status.started()
        await anyio.sleep_forever()
