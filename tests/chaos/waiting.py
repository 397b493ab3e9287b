"""Waits for what nobody tells of: it is at the server, on disk, or known to the kernel."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def until(condition: Callable[[], object], timeout: float, every: float = 0.1) -> bool:
    """Look until it holds, at most so many seconds; return whether it does."""
    with anyio.move_on_after(timeout):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(every)
        return True
    return False
