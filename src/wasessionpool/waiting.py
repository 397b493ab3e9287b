"""Waiting: for how long, and for the first of several things."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio

from .errors import ConfigurationError


def check_timeout(timeout: float | None) -> None:
    """Raise ``ConfigurationError`` for what is no number of seconds."""
    if timeout is not None and (not isinstance(timeout, int | float) or math.isnan(timeout)):
        raise ConfigurationError(f"a timeout is a number of seconds or None, not {ascii(timeout)[:64]}")


async def first(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return when the first of ``waits`` does; the others are cancelled."""
    async with anyio.create_task_group() as tasks:

        async def wait(one: Callable[[], Awaitable[object]]) -> None:
            await one()
            tasks.cancel_scope.cancel()

        for one in waits:
            tasks.start_soon(wait, one)
