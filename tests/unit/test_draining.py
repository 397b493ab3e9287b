"""Leaving a pool: no send begins any more, and those under way end, or fail clearly."""

from __future__ import annotations

import anyio
import pytest

from wasessionpool import PoolClosed, SendTimeout, SentMessage, WhatsAppPoolError
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool

pytestmark = pytest.mark.anyio
COMPANY, BOB = "962302", "79001234567"


async def up(link: FakeLink) -> None:
    link.up()


async def test_what_is_under_way_ends_and_what_waits_is_not_sent(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    driver.script = up
    outcomes: dict[str, SentMessage | WhatsAppPoolError] = {}
    acknowledged = anyio.Event()

    async def hold(*_message: object) -> None:
        await acknowledged.wait()

    async with anyio.create_task_group() as tasks, open_pool(rate_limit_max=3) as pool:
        await pool.create_session(COMPANY)
        await clock.advance()
        await pool.send_message(COMPANY, BOB, "first")
        driver.link.on_send = hold

        async def send(text: str, wait: bool = False) -> None:
            try:
                outcomes[text] = await pool.send_message(COMPANY, BOB, text, wait=wait)
            except WhatsAppPoolError as error:
                outcomes[text] = error

        for text in ("under way", "in line"):
            tasks.start_soon(send, text)
            await clock.advance()
        tasks.start_soon(send, "over the limit", True)
        await clock.advance()

        async def acknowledge() -> None:
            await send("too late")
            acknowledged.set()

        tasks.start_soon(acknowledge)
    assert isinstance(outcomes.pop("under way"), SentMessage)
    assert {text: type(outcome) for text, outcome in outcomes.items()} == dict.fromkeys(
        ("in line", "over the limit", "too late"), PoolClosed
    )
    assert len(driver.link.sent) == 2


async def test_what_does_not_end_in_time_is_unknown(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    driver.script = up
    raised: list[SendTimeout] = []

    async def hang(*_message: object) -> None:
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks, open_pool(shutdown_timeout=0.2) as pool:
        await pool.create_session(COMPANY)
        await clock.advance()
        driver.link.on_send = hang

        async def send() -> None:
            with pytest.raises(SendTimeout, match="the link ended") as caught:
                await pool.send_message(COMPANY, BOB, "hi")
            raised.append(caught.value)

        tasks.start_soon(send)
        await clock.advance()
    assert len(raised) == 1
