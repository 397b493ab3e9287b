"""Waiting for the first of several things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio


async def first(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return when the first of ``waits`` does; the others are cancelled."""
    async with anyio.create_task_group() as tasks:

        async def wait(one: Callable[[], Awaitable[object]]) -> None:
            await one()
            tasks.cancel_scope.cancel()

        for one in waits:
            tasks.start_soon(wait, one)
