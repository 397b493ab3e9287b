"""Whom a session knows, and what it asks WhatsApp about strangers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from wasessionpool import (
    DriverError,
    PacingPolicy,
    RateLimitExceeded,
    RecipientNotOnWhatsapp,
    SentMessage,
    SessionNotConnected,
    Status,
    StorageError,
    WhatsAppSessionPool,
)
from wasessionpool.events import Event
from wasessionpool.operations import CheckNumbers
from wasessionpool.recipients import ASKING, KEPT, REMEMBERED, Acquaintance
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink, link_at_once

from .conftest import OpenPool
from .test_sending import Caller, linked

pytestmark = pytest.mark.anyio
COMPANY, BOB, GROUP = "962302", "79001234567", "120363000000000000@g.us"
ON_WHATSAPP = (BOB,)


class CountingShelf(MemoryShelf):
    reads = 0

    async def get(self, key: str) -> bytes | None:
        self.reads += 1
        return await super().get(key)


@pytest.fixture
def shelf(clock: FakeClock) -> CountingShelf:
    return CountingShelf(now=clock.now)


async def send(pool: WhatsAppSessionPool, to: str = BOB) -> SentMessage:
    return await pool.send_message(COMPANY, to, "hi")


def asked(*links: FakeLink) -> list[str]:
    return [op.numbers[0] for link in links for op in link.operations if isinstance(op, CheckNumbers)]


async def test_a_stranger_is_asked_about_once_and_a_known_recipient_never(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: CountingShelf
) -> None:
    async with open_pool(shelf=shelf, rate_limit_max=1000, rate_limit_recipient_max=1000) as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers] = ON_WHATSAPP
        await send(pool)
        reads = shelf.reads
        for _ in range(100):
            await send(pool)
        assert asked(link) == [BOB]
        assert shelf.reads == reads
        assert len(link.sent) == 101


async def test_a_number_without_an_account_is_refused_before_anything_is_sent(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(rate_limit_max=1) as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers] = ()
        for _ in range(3):
            with pytest.raises(RecipientNotOnWhatsapp, match=r"962302: \+79001234567 has no WhatsApp account"):
                await send(pool)
        assert (link.sent, asked(link)) == ([], [BOB])
        await clock.advance(KEPT[Acquaintance.ABSENT])
        link.results[CheckNumbers] = ON_WHATSAPP
        await send(pool)
        assert asked(link) == [BOB, BOB]
        with pytest.raises(RateLimitExceeded):
            await send(pool)


async def test_over_the_limit_nobody_is_asked_about(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool(rate_limit_max=1) as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers] = ON_WHATSAPP
        await send(pool)
        with pytest.raises(RateLimitExceeded):
            await send(pool, "79001234568")
        assert asked(link) == [BOB]


async def test_an_answer_is_kept_where_the_send_fails(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def fail(*_: object) -> None:
        raise SessionNotConnected("the line is lost", status="reconnecting")  # type: ignore[arg-type]

    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers], link.on_send = ON_WHATSAPP, fail
        for _ in range(2):
            with pytest.raises(SessionNotConnected):
                await send(pool)
        assert asked(link) == [BOB]


@pytest.mark.parametrize("to", [GROUP, "7779001234567@lid"])
async def test_only_numbers_are_asked_about(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, to: str) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers] = ()
        await send(pool, to)
        assert (len(link.sent), asked(link)) == (1, [])


async def test_it_can_be_switched_off(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool(check_recipients=False) as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers] = ()
        await send(pool)
        assert (len(link.sent), asked(link)) == (1, [])


@pytest.mark.parametrize("writer", ["a person", "this account's phone"])
async def test_who_wrote_to_us_is_no_stranger(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: CountingShelf, writer: str
) -> None:
    async with MemoryStore() as store:
        async with open_pool(store, shelf) as pool:
            link = await linked(pool, driver, clock)
            link.results[CheckNumbers] = ()
            link.receive("hello", f"+{BOB}")
            if writer != "a person":
                [item] = link.inbox.items
                mine = item.message.model_copy(update={"from_me": True})
                link.inbox._items[item.number] = item.model_copy(update={"message": mine})
            await clock.advance()
            await send(pool)
            assert asked(link) == []
        async with open_pool(store, shelf) as pool:
            await clock.advance()
            driver.link.results[CheckNumbers] = ()
            await send(pool)
            assert asked(*driver.links) == []


async def test_who_wrote_in_a_group_is_a_stranger(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers] = ()
        link.receive("hello", f"+{BOB}")
        [item] = link.inbox.items
        group = item.message.model_copy(
            update={"is_group": True, "chat": item.message.chat.model_copy(update={"id": GROUP, "phone_number": None})}
        )
        link.inbox._items[item.number] = item.model_copy(update={"message": group})
        await clock.advance()
        with pytest.raises(RecipientNotOnWhatsapp):
            await send(pool)


async def test_a_contact_is_known_by_all_its_names(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: CountingShelf
) -> None:
    async with open_pool(shelf=shelf) as pool:
        link = await linked(pool, driver, clock)
        link.receive("hello", f"+{BOB}")
        [item] = link.inbox.items
        chat = item.message.chat.model_copy(update={"id": "777@lid", "lid": "777@lid"})
        link.inbox._items[item.number] = item.model_copy(
            update={"message": item.message.model_copy(update={"chat": chat})}
        )
        await clock.advance()
        known = [key async for key, _ in shelf.scan("recipient/")]
        assert known == ["recipient/962302/main/777@lid", f"recipient/962302/main/{BOB}@s.whatsapp.net"]


async def test_a_known_recipient_is_known_after_a_restart_for_ninety_days(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: CountingShelf
) -> None:
    async with MemoryStore() as store:
        async with open_pool(store, shelf) as pool:
            await linked(pool, driver, clock)
            await send(pool)
            await clock.advance()
        await clock.advance(KEPT[Acquaintance.KNOWN] - 1)
        async with open_pool(store, shelf) as pool:
            await clock.advance()
            await send(pool)
            await clock.advance()
            assert asked(driver.link) == []
        await clock.advance(KEPT[Acquaintance.KNOWN])
        async with open_pool(store, shelf) as pool:
            await clock.advance()
            await send(pool)
            assert asked(driver.link) == [BOB]


async def test_memory_is_bounded_and_the_shelf_has_the_rest(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: CountingShelf
) -> None:
    numbers = [f"7900{number:07}" for number in range(REMEMBERED + 1)]
    async with open_pool(shelf=shelf, rate_limit_max=10_000) as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers] = numbers
        for number in numbers:
            await send(pool, number)
            await anyio.lowlevel.checkpoint()
        await clock.advance()
        reads = shelf.reads
        await send(pool, numbers[-1])
        assert shelf.reads == reads
        await send(pool, numbers[0])
        assert shelf.reads == reads + 1
        assert len(asked(link)) == REMEMBERED + 1


async def refuse(_: Any) -> None:
    raise DriverError("the server did not say")


async def hang(_: Any) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize(("call", "seconds"), [(refuse, 0.0), (hang, ASKING)], ids=["fails", "hangs"])
async def test_a_check_that_fails_refuses_no_send(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Any], Any],
    seconds: float,
) -> None:
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        monkeypatch.setattr(link, "call", call)
        caller = Caller(pool)
        tasks.start_soon(caller.send)
        await clock.advance(seconds)
        assert isinstance(caller.outcome, SentMessage)


async def test_a_caller_who_is_in_a_hurry_does_not_wait_for_the_check(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pool(rate_limit_max=1) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        with monkeypatch.context() as patch:
            patch.setattr(link, "call", hang)
            caller = Caller(pool, 2)
            tasks.start_soon(caller.send)
            await clock.advance(2)
        assert isinstance(caller.outcome, SessionNotConnected)
        assert "nothing was sent" in caller.outcome.message
        await send(pool)
        assert len(link.sent) == 1


class Broken(MemoryShelf):
    error: Exception

    async def get(self, key: str) -> bytes | None:  # noqa: ARG002
        raise self.error

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:  # noqa: ARG002
        raise self.error


@pytest.mark.parametrize("error", [StorageError("no disk"), RuntimeError("a bug of a shelf")], ids=["storage", "bug"])
async def test_a_shelf_that_fails_refuses_no_send_and_has_nobody_asked_about(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, error: Exception
) -> None:
    shelf = Broken()
    shelf.error = error
    async with open_pool(shelf=shelf) as pool:
        link = await linked(pool, driver, clock)
        link.results[CheckNumbers] = ()
        await send(pool)
        await send(pool)
        await clock.advance()
        assert (len(link.sent), asked(link)) == (2, [])


@pytest.mark.parametrize("error", [StorageError("the disk is full"), ZeroDivisionError()])
async def test_a_shelf_that_cannot_forget_the_last_account_keeps_no_session_down(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    shelf: CountingShelf,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    async def fail(_: str) -> bool:
        raise error

    monkeypatch.setattr(shelf, "delete", fail)
    async with open_pool(shelf=shelf, pacing=PacingPolicy()) as pool:
        await linked(pool, driver, clock)
        assert (await pool.get_session_status(COMPANY)).status is Status.CONNECTED


async def test_who_could_not_be_kept_is_kept_with_the_next_message(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: CountingShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> bool:
        raise StorageError("the disk is full")

    async with open_pool(shelf=shelf) as pool:
        link = await linked(pool, driver, clock)
        with monkeypatch.context() as patch:
            patch.setattr(shelf, "put", fail)
            link.receive("hello", "+79001234568")
            await clock.advance()
        link.receive("hello?", "+79001234568")
        await clock.advance()
        assert [value async for _, value in shelf.scan("recipient/")] == [b"known"]


async def test_a_check_that_waited_for_its_turn_asks_the_link_of_that_moment(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    pacing = PacingPolicy(min_gap=60, gap_jitter=0, typing_speed=0, reconnect_ramp=0)
    async with open_pool(pacing=pacing, reconnect_grace=0, reconnect_base_delay=0) as pool:
        link = await linked(pool, driver, clock)
        await send(pool)
        driver.script = link_at_once
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(pool.send_message, COMPANY, "79001234569", "hi", wait=True))
            await clock.advance(1)
            link.lose()
            await clock.advance(300)
        assert driver.link is not link
        assert [type(operation) for operation in driver.link.operations] == [CheckNumbers]


@pytest.mark.parametrize("act", ["logout", "delete_session"])
async def test_an_account_that_is_left_takes_its_recipients_along(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: CountingShelf, act: str
) -> None:
    async with open_pool(shelf=shelf) as pool:
        link = await linked(pool, driver, clock)
        link.receive("hello", "+79001234568")
        await send(pool)
        await clock.advance()
        assert len([key async for key, _ in shelf.scan("recipient/962302/")]) == 2
        await getattr(pool, act)(COMPANY)
        await clock.advance()
        assert [key async for key, _ in shelf.scan("")] == []
