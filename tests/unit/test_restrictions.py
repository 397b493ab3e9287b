"""What WhatsApp's refusals of messages to strangers mean for the next ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from wasessionpool import (
    AccountRestricted,
    DisconnectReason,
    MessageRejected,
    RecipientRestricted,
    SentMessage,
    SessionKey,
    Status,
    WhatsAppSessionPool,
)
from wasessionpool.addresses import Address
from wasessionpool.events import Event
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool
from .test_sending import after, linked

pytestmark = pytest.mark.anyio
COMPANY, KNOWN, GROUP = "962302", "79001234567", "120363000000000000@g.us"
ANN, BOB, EVE = "79000000001", "79000000002", "79000000003"
HOUR, LONG = 3600.0, 6 * 3600.0


async def send(pool: WhatsAppSessionPool, to: str) -> SentMessage:
    return await pool.send_message(COMPANY, to, "hi")


def to_strangers(error: Callable[[], Exception]) -> Callable[[Address, Any], Awaitable[None]]:
    """Refuse what goes to anybody but the known recipient and groups."""

    async def on_send(to: Address, _: Any) -> None:
        if to.user != KNOWN and not to.is_group:
            raise error()

    return on_send


refused = to_strangers(lambda: RecipientRestricted("server returned error 463"))


def told(seen: list[Event]) -> list[Any]:
    return [
        event.code if event.type == "error" else (event.kind, event.until)
        for event in seen
        if event.type in ("error", "restricted")
    ]


async def restricted(pool: WhatsAppSessionPool, driver: FakeDriver, clock: FakeClock) -> FakeLink:
    """Link a session, let it write to the known recipient, and then be refused by two strangers."""
    link = await linked(pool, driver, clock)
    await send(pool, KNOWN)
    link.on_send = refused
    with pytest.raises(RecipientRestricted):
        await send(pool, ANN)
    with pytest.raises(AccountRestricted):
        await send(pool, BOB)
    return link


async def test_the_second_stranger_within_an_hour_restricts_the_account(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(rate_limit_max=4) as pool:
        link = await linked(pool, driver, clock)
        await send(pool, KNOWN)
        link.on_send = refused
        with pytest.raises(RecipientRestricted):
            await send(pool, ANN)
        assert (await pool.get_session_status(COMPANY)).restriction is None
        await clock.advance(HOUR)
        with pytest.raises(AccountRestricted, match=r"WhatsApp does not say until when\); answers go out") as caught:
            await send(pool, BOB)
        assert caught.value.until is None
        await clock.advance()
        assert told(seen) == ["recipient_restricted", "account_restricted", ("reach_out", None)]
        status = await pool.get_session_status(COMPANY)
        assert (status.status, status.restriction, status.restricted_until) == (Status.CONNECTED, "reach_out", None)
        assert "each 6 h one message is let through" in await pool.explain(COMPANY)
        link.on_send = None
        with pytest.raises(AccountRestricted):
            await send(pool, EVE)
        assert [str(to) for to, _ in link.sent] == [f"{KNOWN}@s.whatsapp.net"]
        await clock.advance()
        assert len(told(seen)) == 3
        for to in (KNOWN, KNOWN, GROUP):
            await send(pool, to)


async def test_one_stranger_alone_restricts_nothing(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.on_send = refused
        for _ in range(3):
            with pytest.raises(RecipientRestricted):
                await send(pool, ANN)
            await clock.advance(HOUR / 2)
        await clock.advance(HOUR / 2 + 1)
        with pytest.raises(RecipientRestricted):
            await send(pool, BOB)
        await clock.advance()
        assert told(seen) == ["recipient_restricted"] * 4
        assert (await pool.get_session_status(COMPANY)).restriction is None


async def test_a_refusal_by_who_is_known_does_not_count(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.receive("hello", f"+{ANN}")
        await send(pool, BOB)
        await clock.advance()
        link.on_send = refused
        for to in (ANN, BOB, EVE, BOB, ANN):
            with pytest.raises(RecipientRestricted):
                await send(pool, to)


async def test_other_refusals_are_the_messages(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.on_send = to_strangers(lambda: MessageRejected("server returned error 479", server_code=479))
        for to in (ANN, BOB):
            with pytest.raises(MessageRejected) as caught:
                await send(pool, to)
            assert caught.value.server_code == 479
        await clock.advance()
        assert told(seen) == ["message_rejected"] * 2


async def test_who_writes_to_a_restricted_account_is_answered(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:

        @pool.on("message")
        async def answer(event: Any) -> None:
            await event.reply("Thank you!")

        link = await restricted(pool, driver, clock)
        link.on_send = None
        link.receive("hello", f"+{EVE}")
        await clock.advance()
        assert str(link.sent[-1][0]) == f"{EVE}@s.whatsapp.net"
        assert (await pool.get_session_status(COMPANY)).restriction == "reach_out"


async def test_every_six_hours_one_is_let_through_and_a_success_lifts_it(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    tried: list[str] = []

    async def refuse(to: Address, _: Any) -> None:
        tried.append(to.user)
        raise RecipientRestricted("server returned error 463")

    async with open_pool() as pool:
        link = await restricted(pool, driver, clock)
        link.on_send = refuse
        await clock.advance(LONG - 1)
        with pytest.raises(AccountRestricted):
            await send(pool, ANN)
        assert tried == []
        await clock.advance(1)
        for to in (ANN, BOB, EVE):
            with pytest.raises(AccountRestricted):
                await send(pool, to)
        assert tried == [ANN]
        await clock.advance(LONG)
        link.on_send = None
        await send(pool, BOB)
        await send(pool, EVE)
        await clock.advance()
        assert (await pool.get_session_status(COMPANY)).restriction is None
        assert "WhatsApp lets it answer" not in await pool.explain(COMPANY)
        assert told(seen).count(("reach_out", None)) == 1


async def test_of_two_that_may_find_out_one_does(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await restricted(pool, driver, clock)
        await clock.advance(LONG)
        refuse_later = after(clock, 10, RecipientRestricted("server returned error 463"))
        outcomes: list[Any] = []
        tried: list[str] = []

        async def refuse(to: Address, _: Any) -> None:
            tried.append(to.user)
            await refuse_later()

        link.on_send = refuse

        async def try_(to: str) -> None:
            with pytest.raises(AccountRestricted) as caught:
                await send(pool, to)
            outcomes.append((to, caught.value.until))

        for to in (ANN, BOB, EVE):
            tasks.start_soon(try_, to)
        await clock.advance(20)
        assert sorted(outcomes) == [(to, None) for to in (ANN, BOB, EVE)]
        assert len(tried) == 1


async def test_a_driver_that_says_until_when_is_believed(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        until = clock.now() + timedelta(days=1)
        link.on_send = after(clock, 0, AccountRestricted("told so", until=until))
        for to in (ANN, BOB):
            with pytest.raises(AccountRestricted, match="until 2026-01-02 00:00 UTC") as caught:
                await send(pool, to)
            assert caught.value.until == until
        await clock.advance()
        assert told(seen) == ["account_restricted", ("reach_out", until)]
        assert (await pool.get_session_status(COMPANY)).restricted_until == until
        await clock.advance(LONG)
        link.on_send = None
        with pytest.raises(AccountRestricted):
            await send(pool, ANN)
        await clock.advance(86400 - LONG)
        status = await pool.get_session_status(COMPANY)
        assert (status.restriction, status.restricted_until) == (None, None)
        await send(pool, ANN)


async def test_it_outlives_a_restart_and_a_kill_and_ends_with_the_account(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    shelf = MemoryShelf(now=clock.now)
    async with MemoryStore() as store:
        async with open_pool(store, shelf) as pool:
            await restricted(pool, driver, clock)
            await clock.advance()
            # What a kill at this moment would leave behind.
            [saved] = [record async for record in store.records()]
            assert saved.restriction(clock.now()) is not None
        async with open_pool(store, shelf) as pool:
            await clock.advance()
            assert (await pool.get_session_status(COMPANY)).restriction == "reach_out"
            with pytest.raises(AccountRestricted):
                await send(pool, EVE)
            await send(pool, KNOWN)
            await pool.logout(COMPANY)
            assert (await pool.get_session_status(COMPANY)).restriction is None
            await pool.delete_session(COMPANY)
            await clock.advance()
            assert [record async for record in store.records()] == []


@pytest.mark.parametrize("reason", [DisconnectReason.LOGGED_OUT, DisconnectReason.BANNED])
async def test_the_next_number_is_neither_restricted_nor_known(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, reason: DisconnectReason
) -> None:
    shelf = MemoryShelf(now=clock.now)
    async with open_pool(shelf=shelf) as pool:
        link = await restricted(pool, driver, clock)
        link.end(reason)
        await clock.advance()
        assert (await pool.get_session_status(COMPANY)).restriction is None
        await pool.create_session(COMPANY)
        driver.link.up("+79111111111")
        await clock.advance()
        assert [key async for key, _ in shelf.scan("recipient/")] == []
        await send(pool, EVE)


async def test_a_clock_that_was_ahead_does_not_prolong_it(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        link = await restricted(pool, driver, clock)
        link.on_send = None
        held = pool._sessions[SessionKey(COMPANY)].standing
        assert held.record.reach_out is not None
        year = timedelta(days=365)
        held.update(reach_out=held.record.reach_out.model_copy(update={"refused_at": clock.now() + year}))
        await send(pool, EVE)


async def test_the_first_refusal_outlives_a_restart_too(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    shelf = MemoryShelf(now=clock.now)
    async with MemoryStore() as store:
        async with open_pool(store, shelf) as pool:
            link = await linked(pool, driver, clock)
            link.on_send = refused
            with pytest.raises(RecipientRestricted):
                await send(pool, ANN)
        async with open_pool(store, shelf) as pool:
            await clock.advance()
            driver.link.on_send = refused
            with pytest.raises(AccountRestricted):
                await send(pool, BOB)


async def test_a_refused_key_is_free_again(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        link = await restricted(pool, driver, clock)
        link.on_send = None
        with pytest.raises(AccountRestricted):
            await pool.send_message(COMPANY, EVE, "hi", idempotency_key="1")
        link.receive("hello", f"+{EVE}")
        await clock.advance()
        assert await pool.send_message(COMPANY, EVE, "hi", idempotency_key="1")
