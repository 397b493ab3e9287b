"""What a ``Clock`` has to keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio

from ...abc import Clock
from .requirement import Make, require, run_all

A_WHILE = 0.05
"""Seconds that the checks let pass."""

AT_ONCE = 5.0
"""Seconds within which comes what has to come at once, also on a busy machine."""

COARSE = 0.02
"""Seconds by which a computer's clock may be off."""


async def check_clock(
    make_clock: Make[Clock], *, advance: Callable[[Clock, float], Awaitable[None]] | None = None
) -> None:
    """Check a ``Clock``; ``advance`` lets seconds pass on one that does not go by itself.

    Raises ``AssertionError``.
    """

    async def let_pass(clock: Clock, seconds: float) -> None:
        if advance is not None:
            await anyio.wait_all_tasks_blocked()
            await advance(clock, seconds)

    async def it_tells_the_time(clock: Clock) -> None:
        now, ticks = clock.now(), clock.monotonic()
        require(now.utcoffset() == timedelta(0), f"now() must be aware and in UTC, not {now!r}")
        require(isinstance(ticks, float), f"monotonic() must be seconds as a float, not {ticks!r}")
        require(clock.monotonic() >= ticks, "monotonic() must never go back")

    async def sleep_lasts_as_long_as_it_says(clock: Clock) -> None:
        now, ticks = clock.now(), clock.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep, A_WHILE)
            await let_pass(clock, A_WHILE)
        slept = clock.monotonic() - ticks
        require(slept >= A_WHILE - COARSE, f"sleep({A_WHILE}) must last that long by monotonic(), not {slept}")
        passed = (clock.now() - now).total_seconds()
        require(passed >= A_WHILE - COARSE, f"now() must go on while sleep({A_WHILE}) lasts; it went by {passed}")

    async def sleep_of_nothing_returns(clock: Clock) -> None:
        with anyio.move_on_after(AT_ONCE) as scope:
            await clock.sleep(0)
            await clock.sleep(-1)
        require(not scope.cancelled_caught, "sleep() of no seconds, or of fewer, must return while time stands still")

    async def sleep_can_be_cancelled(clock: Clock) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep, 3600)
            await anyio.wait_all_tasks_blocked()
            began = anyio.current_time()
            tasks.cancel_scope.cancel()
        require(anyio.current_time() - began < AT_ONCE, "sleep() must end when it is cancelled")

    async def a_deadline_that_passes_cancels(clock: Clock) -> None:
        cancelled = None

        async def wait() -> None:
            nonlocal cancelled
            with clock.move_on_after(A_WHILE) as scope:
                await anyio.sleep_forever()
            cancelled = scope.cancelled_caught

        with anyio.move_on_after(AT_ONCE) as outer:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await let_pass(clock, A_WHILE)
        require(not outer.cancelled_caught, f"move_on_after({A_WHILE}) must cancel its body when its time is over")
        require(cancelled is True, "the scope of move_on_after() must say that it was cancelled")

    async def a_deadline_in_the_future_does_not_cancel(clock: Clock) -> None:
        for seconds in (3600.0, None):
            finished = False

            async def work(seconds: float | None) -> None:
                nonlocal finished
                with clock.move_on_after(seconds):
                    await clock.sleep(A_WHILE)
                    finished = True

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work, seconds)
                await let_pass(clock, A_WHILE)
            require(finished, f"move_on_after({seconds}) must not cancel a body that takes {A_WHILE} s")

    await run_all(
        "Clock",
        make_clock,
        [
            it_tells_the_time,
            sleep_lasts_as_long_as_it_says,
            sleep_of_nothing_returns,
            sleep_can_be_cancelled,
            a_deadline_that_passes_cancels,
            a_deadline_in_the_future_does_not_cancel,
        ],
    )
