"""A device that is linked by a code typed into the phone."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from wasessionpool import (
    AuthenticationRequired,
    DisconnectReason,
    InvalidRecipient,
    PairingCodeEvent,
    PairingFailed,
    PairingTimeout,
    Status,
)
from wasessionpool.events import Event
from wasessionpool.links import PairingAccepted, PairingStarted
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver

from .conftest import OpenPool, told

pytestmark = pytest.mark.anyio
COMPANY, NUMBER = "962302", "79686484488"


async def test_a_code_is_shown_instead_of_a_qr(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_pool() as pool:
        first = await pool.create_session(COMPANY, phone_number="+7 968 648-44-88")
        assert (first.status, first.qr, first.pairing_code) == (Status.PAIRING, None, "ABCD1234")
        assert driver.link.record.pairing_number == NUMBER
        for again in (await pool.create_session(COMPANY), await pool.create_session(COMPANY, phone_number=NUMBER)):
            assert again.pairing_code == first.pairing_code
        with pytest.raises(AuthenticationRequired, match="type the pairing code") as caught:
            await pool.send_message(COMPANY, NUMBER, "hi")
        assert (caught.value.qr, caught.value.pairing_code) == (None, "ABCD1234")
        driver.link.report(PairingAccepted(jid=f"{NUMBER}:1@s.whatsapp.net"))
        driver.link.up()
        now = await pool.wait_until_connected(COMPANY, timeout=5)
        assert now.pairing_code is None
        await clock.advance()
    assert len(driver.links) == 1
    assert told(seen)[:5] == ["status", "status", "pairing_code", "status", "connected"]
    [offer] = [event for event in seen if event.type == "pairing_code"]
    assert isinstance(offer, PairingCodeEvent)
    assert (offer.code, (offer.expires_at - offer.time).total_seconds()) == ("ABCD1234", 160)
    assert "ABCD1234" not in caplog.text + repr(seen) + repr(first) + repr(caught.value)


async def test_a_newer_code_replaces_the_older(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY, phone_number=NUMBER)
        driver.link.offer_code("WXYZ6789")
        await clock.advance()
        assert (await pool.get_session_status(COMPANY)).pairing_code == "WXYZ6789"


async def test_a_number_that_is_none_starts_nothing(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        for number in ("", "12345", "0123456789", "79686484488@s.whatsapp.net", "call me"):
            with pytest.raises(InvalidRecipient, match="phone number"):
                await pool.create_session(COMPANY, phone_number=number)
        assert (await pool.get_sessions(), driver.links) == ([], [])


async def test_another_number_begins_anew(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        assert (await pool.create_session(COMPANY)).qr is not None
        assert (await pool.create_session(COMPANY, phone_number=NUMBER)).pairing_code == "ABCD1234"
        await pool.create_session(COMPANY, phone_number="79001234567")
        assert [link.record.pairing_number for link in driver.links] == [None, NUMBER, "79001234567"]
        assert driver.open_links == 1


async def test_a_linked_device_stays_linked(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY, phone_number=NUMBER)
        driver.link.up()
        await pool.wait_until_connected(COMPANY, timeout=5)
        assert (await pool.create_session(COMPANY, phone_number="79001234567")).status is Status.CONNECTED
        await pool.disconnect(COMPANY)
        assert (await pool.create_session(COMPANY, phone_number="79001234567")).status is Status.CONNECTED
        assert [link.record.linked for link in driver.links] == [False, True]


@pytest.mark.parametrize(
    ("reason", "error", "text"),
    [
        (DisconnectReason.PAIRING_FAILED, PairingFailed, "no code: server returned error 429"),
        (DisconnectReason.PAIRING_TIMEOUT, PairingTimeout, "nobody confirmed"),
    ],
)
async def test_a_code_that_led_nowhere(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    seen: list[Event],
    reason: DisconnectReason,
    error: Any,
    text: str,
) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY, phone_number=NUMBER)
        driver.link.end(reason, "no code: server returned error 429")
        with pytest.raises(error, match=text):
            await pool.wait_until_connected(COMPANY)
        now = await pool.get_session_status(COMPANY)
        assert (now.status, now.disconnect_reason, now.pairing_code) == (Status.DISCONNECTED, reason, None)
        await clock.advance(10_000)
        assert len(driver.links) == 1
        assert (await pool.create_session(COMPANY)).qr is not None
        await clock.advance()
        assert [event.code for event in seen if event.type == "error"] == [error.code]


async def test_a_code_outlives_its_lifetime_by_no_more_than_a_connect(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(connect_timeout=30) as pool:
        await pool.create_session(COMPANY, phone_number=NUMBER)
        await clock.advance(189)
        assert (await pool.get_session_status(COMPANY)).status is Status.PAIRING
        await clock.advance(2)
        assert (await pool.get_session_status(COMPANY)).disconnect_reason is DisconnectReason.PAIRING_TIMEOUT


async def test_a_restart_of_the_application_asks_for_a_code_again(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with MemoryStore() as store:
        async with open_pool(store) as pool:
            await pool.create_session(COMPANY, phone_number=NUMBER)
        async with open_pool(store) as pool:
            await clock.advance(1)
            assert (await pool.get_session_status(COMPANY)).pairing_code == "ABCD1234"


async def test_a_phone_that_confirmed_is_connected_however_long_it_takes(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY, phone_number=NUMBER)
        driver.link.report(PairingAccepted(jid=f"{NUMBER}:1@s.whatsapp.net"))
        await clock.advance()
        settled: list[Any] = []

        async def create() -> None:
            settled.append(await pool.create_session(COMPANY, timeout=None))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            await clock.advance(29)
            assert settled == []
            await clock.advance(10)
            assert (await pool.get_session_status(COMPANY)).disconnect_reason is None
        assert settled[0].status is Status.CONNECTED
        assert [link.record.linked for link in driver.links] == [False, True]


async def test_a_device_that_waits_for_its_code_is_given_up_and_tried_again(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def silent(link: Any) -> None:
        link.report(PairingStarted())

    driver.script = silent
    async with open_pool(connect_timeout=30) as pool:
        now = await create_while(clock, pool, timeout=31)
        assert (now.status, now.disconnect_reason) == (Status.RECONNECTING, DisconnectReason.NETWORK)


async def create_while(clock: FakeClock, pool: Any, *, timeout: float) -> Any:
    """Create the session while time passes."""
    found: list[Any] = []

    async def create() -> None:
        found.append(await pool.create_session(COMPANY, phone_number=NUMBER, timeout=timeout))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(create)
        await clock.advance(timeout)
    return found[0]
