"""What an application can ask of one session."""

from __future__ import annotations

from typing import Any

import pytest

from wasessionpool import (
    AuthenticationRequired,
    ConfigurationError,
    InvalidMessage,
    InvalidRecipient,
    PayloadTooLarge,
    Session,
    SessionNotConnected,
    SessionNotFound,
    Status,
    WhatsAppSessionPool,
)
from wasessionpool.operations import CheckNumbers, MarkRead, React, ShowTyping
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver

from .conftest import OpenPool

pytestmark = pytest.mark.anyio
COMPANY, BOB, GROUP = "962302", "79001234567@s.whatsapp.net", "120363000000000000@g.us"


async def linked(pool: WhatsAppSessionPool, driver: FakeDriver) -> Session:
    await pool.create_session(COMPANY)
    driver.link.up()
    await pool.wait_until_connected(COMPANY, timeout=5)
    return pool.session(COMPANY)


async def test_operations_reach_the_link_as_they_are_meant(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        session = await linked(pool, driver)
        assert (session.company_id, session.device, session.linked) == (COMPANY, "main", True)
        assert session.status().status is (await session.wait_until_connected()).status is Status.CONNECTED
        assert (await session.send("+7 900 123-45-67", "hi")).to == BOB
        assert (await session.reply("79001234567", "hi again")).to == BOB
        await session.typing("+79001234567")
        await session.typing(GROUP, "recording")
        await session.mark_read("A", "B", chat="+79001234567")
        await session.mark_read("C", chat=GROUP, sender="79001234567")
        await session.mark_read(chat=BOB)
        await session.react("A", "👍", chat="+79001234567")
        await session.react("B", "", chat=GROUP, from_me=True)
        await session.react("C", "👍", chat=GROUP, sender=BOB)
        assert [message.text for _, message in driver.link.sent] == ["hi", "hi again"]
        assert driver.link.operations == [
            CheckNumbers(numbers=("79001234567",)),
            ShowTyping(chat=BOB, state="composing"),
            ShowTyping(chat=GROUP, state="recording"),
            MarkRead(message_ids=("A", "B"), chat=BOB, sender=BOB),
            MarkRead(message_ids=("C",), chat=GROUP, sender=BOB),
            React(message_id="A", emoji="👍", chat=BOB, sender=BOB),
            React(message_id="B", emoji="", chat=GROUP, sender=GROUP, from_me=True),
            React(message_id="C", emoji="👍", chat=GROUP, sender=BOB),
        ]


async def test_numbers_are_answered_as_they_were_written(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        session = await linked(pool, driver)
        driver.link.results[CheckNumbers] = ("79001234567",)
        asked = ("+7 900 123-45-67", "79001234567", "79001234568")
        assert await session.is_on_whatsapp(*asked) == {asked[0]: True, asked[1]: True, asked[2]: False}
        assert driver.link.operations == [CheckNumbers(numbers=("79001234567", "79001234568"))]
        assert await session.is_on_whatsapp() == {}
        with pytest.raises(PayloadTooLarge) as caught:
            await session.is_on_whatsapp(*map(str, range(79000000000, 79000000051)))
        assert caught.value.limit == 50
        assert len(driver.link.operations) == 1


async def test_what_makes_no_sense_is_refused_before_the_session_is_looked_at(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY)
        session = pool.session(COMPANY)
        with pytest.raises(InvalidMessage):
            await session.send("nobody", "")
        with pytest.raises(InvalidMessage):
            await session.reply("nobody", "")
        with pytest.raises(InvalidRecipient):
            await session.typing("nobody")
        state: Any = "shouting"
        with pytest.raises(ConfigurationError, match="composing, recording, paused"):
            await session.typing(BOB, state)
        with pytest.raises(InvalidRecipient, match="sender="):
            await session.mark_read("A", chat=GROUP)
        with pytest.raises(InvalidRecipient, match="sender="):
            await session.react("A", "👍", chat=GROUP)
        with pytest.raises(InvalidMessage, match="one emoji"):
            await session.react("A", "👍" * 33, chat=BOB)
        with pytest.raises(InvalidRecipient):
            await session.is_on_whatsapp("79001234567", "nobody")


async def test_without_a_live_link(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY)
        session = pool.session(COMPANY)
        for call in (session.typing(BOB), session.mark_read("A", chat=BOB), session.is_on_whatsapp("79001234567")):
            with pytest.raises(AuthenticationRequired):
                await call
        driver.link.up()
        await session.wait_until_connected(timeout=5)
        await pool.disconnect(COMPANY)
        with pytest.raises(SessionNotConnected):
            await session.react("A", "👍", chat=BOB)


async def test_a_handle_stands_for_its_name(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        with pytest.raises(SessionNotFound):
            pool.session(COMPANY)
        session = await linked(pool, driver)
        assert repr(session) == "<Session 962302>"
        await pool.delete_session(COMPANY)
        with pytest.raises(SessionNotFound):
            await session.send(BOB, "hi")
        await linked(pool, driver)
        await session.send(BOB, "hi")
        assert [message.text for _, message in driver.link.sent] == ["hi"]


async def test_a_message_can_be_answered_read_and_reacted_to(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:

        @pool.on("message")
        async def answer(event: Any) -> None:
            await event.react("👍")
            await event.mark_read()
            await event.reply("Thank you!")

        await linked(pool, driver)
        driver.link.receive("Hello", sender="+79001234567")
        await clock.advance()
        message_id = driver.link.operations[0].message_id  # type: ignore[union-attr]
        assert driver.link.operations == [
            React(message_id=message_id, emoji="👍", chat=BOB, sender=BOB),
            MarkRead(message_ids=(message_id,), chat=BOB, sender=BOB),
        ]
        assert [(str(to), message.text) for to, message in driver.link.sent] == [(BOB, "Thank you!")]
