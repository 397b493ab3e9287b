"""What may be asked of sessions in any state, and again: creating, ending and waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from wasessionpool import (
    AuthenticationRequired,
    ConfigurationError,
    DisconnectReason,
    InvalidCompanyId,
    LoggedOut,
    RateLimitExceeded,
    SessionFailed,
    SessionNotConnected,
    SessionNotFound,
    SessionStatus,
    Status,
    WhatsAppPoolError,
    WhatsAppSessionPool,
)
from wasessionpool.events import Event
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool

pytestmark = pytest.mark.anyio
COMPANY, BOB = "962302", "79001234567"
ENDINGS = ["disconnect", "restart", "logout", "delete_session"]


async def linked(pool: WhatsAppSessionPool, driver: FakeDriver, company_id: str = COMPANY, **fields: Any) -> FakeLink:
    await pool.create_session(company_id, **fields)
    link = driver.link
    link.up()
    await pool.wait_until_connected(company_id, timeout=5, device=fields.get("device", "main"))
    return link


async def status(pool: WhatsAppSessionPool) -> SessionStatus:
    return await pool.get_session_status(COMPANY)


@pytest.mark.parametrize("name", ENDINGS)
async def test_on_an_unknown_company_they_do_nothing(open_pool: OpenPool, driver: FakeDriver, name: str) -> None:
    async with open_pool() as pool:
        end: Callable[..., Any] = getattr(pool, name)
        await end(COMPANY)
        await end(COMPANY, device="sales")
        await linked(pool, driver)
        await end(COMPANY, device="sales")
        assert [now.status for now in await pool.get_sessions()] == [Status.CONNECTED]
        with pytest.raises(InvalidCompanyId):
            await end("../x")
        with pytest.raises(InvalidCompanyId, match="reserved"):
            await end(COMPANY, device="any")


async def test_what_needs_a_session_says_that_there_is_none(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        for call in (
            pool.get_session_status(COMPANY),
            pool.wait_until_connected(COMPANY),
            pool.send_message(COMPANY, BOB, "hi"),
            pool.explain(COMPANY),
        ):
            with pytest.raises(SessionNotFound, match=f"Session not found for company {COMPANY}"):
                await call
        assert await pool.get_sessions(COMPANY) == []
        with pytest.raises(InvalidCompanyId):
            await pool.get_sessions("../x")


@pytest.mark.parametrize(
    ("name", "ended"),
    [
        ("disconnect", Status.DISCONNECTED),
        ("restart", Status.CONNECTED),
        ("logout", Status.LOGGED_OUT),
        ("delete_session", None),
    ],
)
async def test_they_can_be_repeated(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, name: str, ended: Status | None
) -> None:
    async with open_pool() as pool:
        await linked(pool, driver)
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(getattr(pool, name), COMPANY)
                tasks.start_soon(getattr(pool, name), COMPANY)
                await clock.advance(1)
            assert [now.status for now in await pool.get_sessions()] == ([] if ended is None else [ended])
        assert driver.open_links == (name == "restart")


@pytest.mark.parametrize(
    ("reason", "was"),
    [
        (DisconnectReason.REPLACED, Status.FAILED),
        (DisconnectReason.STORAGE, Status.FAILED),
        (DisconnectReason.LOGGED_OUT, Status.LOGGED_OUT),
        (DisconnectReason.BANNED, Status.LOGGED_OUT),
        (DisconnectReason.REQUESTED, Status.DISCONNECTED),
    ],
)
async def test_create_starts_anew_what_has_ended(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, reason: DisconnectReason, was: Status
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver)
        if reason is DisconnectReason.REQUESTED:
            await pool.disconnect(COMPANY)
        else:
            link.end(reason)
        await clock.advance()
        assert (await status(pool)).status is was
        now = await pool.create_session(COMPANY)
        wanted = Status.PAIRING if was is Status.LOGGED_OUT else Status.CONNECTED
        assert (now.status, now.qr is not None, len(driver.links)) == (wanted, was is Status.LOGGED_OUT, 2)


async def test_create_changes_nothing_of_what_runs(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        await pool.create_session(COMPANY, metadata={"plan": "gold"}, proxy="socks5://user:secret@127.0.0.1:9")
        await linked(pool, driver)
        before = await status(pool)
        assert await pool.create_session(COMPANY) == before
        now = await pool.create_session(COMPANY, metadata={})
        assert now.metadata == {}
        assert len(driver.links) == 1
        driver.link.end(DisconnectReason.NETWORK)
        await clock.advance(10)
        assert driver.link.record.proxy == "socks5://user:secret@127.0.0.1:9"
        assert len(driver.links) == 2


async def test_create_returns_what_was_reached_and_raises_for_no_network(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def fail(link: FakeLink) -> None:
        link.end(DisconnectReason.NETWORK, "no route to host")

    driver.script = fail
    found: list[SessionStatus] = []

    async def create() -> None:
        found.append(await pool.create_session(COMPANY, timeout=30))

    async with open_pool() as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(create)
        await clock.advance(29)
        assert found == []
        await clock.advance(1)
        assert (found[0].status, found[0].last_error) == (Status.RECONNECTING, "no route to host")


async def test_what_is_asked_at_the_same_time_is_done_one_after_another(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with MemoryStore() as store, open_pool(store) as pool:
        for last in ENDINGS:
            async with anyio.create_task_group() as tasks:
                for name in ("create_session", "restart", "disconnect", last):
                    tasks.start_soon(getattr(pool, name), COMPANY)
                await clock.advance(40)
            assert driver.open_links == len([s for s in await pool.get_sessions() if s.status is Status.PAIRING])
            known = [record.key.company_id async for record in store.records()]
            assert known == [now.company_id for now in await pool.get_sessions()]


async def test_a_delete_and_a_create_leave_a_session_that_works(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        for _ in range(3):
            await linked(pool, driver)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pool.delete_session, COMPANY)
                tasks.start_soon(pool.create_session, COMPANY)
                tasks.start_soon(pool.delete_session, COMPANY)
                tasks.start_soon(pool.create_session, COMPANY)
                await clock.advance(40)
            assert (await status(pool)).status is Status.PAIRING
            assert driver.open_links == 1


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (DisconnectReason.REPLACED, SessionFailed),
        (DisconnectReason.LOGGED_OUT, LoggedOut),
        (DisconnectReason.LEASE_LOST, SessionNotConnected),
    ],
)
async def test_waiting_ends_at_once_where_no_link_will_come(
    open_pool: OpenPool,
    driver: FakeDriver,
    clock: FakeClock,
    reason: DisconnectReason,
    error: type[WhatsAppPoolError],
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver)
        link.end(DisconnectReason.NETWORK)
        await clock.advance()
        caught: list[Any] = []

        async def wait() -> None:
            with pytest.raises(error) as raised:
                await pool.wait_until_connected(COMPANY)
            caught.append(raised.value)

        async def end_it(link: FakeLink) -> None:
            link.end(reason)

        driver.script = end_it
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await clock.advance(4)
            assert caught == []
            await clock.advance(1)
        await wait()
        assert [raised.reason for raised in caught] == [reason, reason]


async def test_waiting_outlasts_a_ban_and_a_loss(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    arrived: list[SessionStatus] = []

    async def wait() -> None:
        arrived.append(await pool.wait_until_connected(COMPANY))

    async with open_pool() as pool:
        link = await linked(pool, driver)
        link.lose()
        await clock.advance()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await clock.advance(1)
            assert (arrived, (await status(pool)).status) == ([], Status.RECONNECTING)
            link.end(DisconnectReason.TEMPORARILY_BANNED)
            await clock.advance(3599)
            assert (arrived, (await status(pool)).status) == ([], Status.RESTRICTED)
            await clock.advance(10)
        assert arrived[0].status is Status.CONNECTED
        driver.link.lose()
        await clock.advance()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.advance, 3)
            with pytest.raises(TimeoutError):
                await pool.wait_until_connected(COMPANY, timeout=2)


async def test_a_send_is_checked_for_its_link_before_its_limit(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(rate_limit_max=1) as pool:
        await pool.create_session(COMPANY)
        with pytest.raises(AuthenticationRequired):
            await pool.send_message(COMPANY, BOB, "hi")
        link = await linked(pool, driver)
        await pool.send_message(COMPANY, BOB, "hi")
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, BOB, "hi")
        link.lose()
        await clock.advance()
        with pytest.raises(SessionNotConnected) as caught:
            await pool.send_message(COMPANY, BOB, "hi")
        assert (caught.value.status, caught.value.reason) == (Status.RECONNECTING, DisconnectReason.NETWORK)
        link.end(DisconnectReason.LOGGED_OUT)
        await clock.advance()
        with pytest.raises(AuthenticationRequired):
            await pool.send_message(COMPANY, BOB, "hi")


async def test_the_devices_of_a_company_are_sessions_of_their_own(open_pool: OpenPool, driver: FakeDriver) -> None:
    async with open_pool() as pool:
        await linked(pool, driver)
        sales = await linked(pool, driver, device="sales")
        await linked(pool, driver, "other")
        assert [str(now.device) for now in await pool.get_sessions(COMPANY)] == ["main", "sales"]
        await pool.send_message(COMPANY, BOB, "hi", device="sales")
        assert len(sales.sent) == 1
        await pool.disconnect(COMPANY)
        assert [(now.company_id, now.device) for now in await pool.get_active_sessions()] == [
            (COMPANY, "sales"),
            ("other", "main"),
        ]


async def test_metadata_is_the_sessions_own(open_pool: OpenPool, driver: FakeDriver, seen: list[Event]) -> None:
    metadata: dict[str, Any] = {"plan": {"name": "gold"}}
    async with open_pool() as pool:
        await pool.create_session(COMPANY, metadata=metadata)
        metadata["plan"]["name"] = "lead"
        assert (await status(pool)).metadata == {"plan": {"name": "gold"}}
        wrong: Any
        for wrong in ([1], "x", {"x": float("nan")}, {"x": "я" * 2049}):
            with pytest.raises(ConfigurationError, match="metadata"):
                await pool.create_session(COMPANY, metadata=wrong)
        await pool.create_session(COMPANY, metadata={"x": "y" * 4086})
        driver.link.offer_pairing("2@next")
        await anyio.wait_all_tasks_blocked()
    assert [len(event.metadata.get("x", "")) for event in seen if event.type == "qr"] == [0, 4086]


async def test_handlers_and_streams_hear_what_they_asked_for(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        heard: dict[str, list[str]] = {"all": [], "qr": [], "sales": [], "stream": []}

        @pool.on()
        async def everything(event: Event) -> None:
            heard["all"].append(f"{event.key} {event.type}")

        @pool.on("qr", "connected", company_id=COMPANY)
        async def some(event: Event) -> None:
            heard["qr"].append(f"{event.key} {event.type}")

        @pool.on("qr", company_id=COMPANY, device="sales")
        async def of_a_device(event: Event) -> None:
            heard["sales"].append(f"{event.key} {event.type}")

        for nonsense in (lambda: pool.on("message_deleted"), lambda: pool.events("messages")):
            with pytest.raises(ConfigurationError, match="no such event"):
                nonsense()
        async with pool.events("connected", company_id="other") as events:
            await linked(pool, driver)
            await linked(pool, driver, device="sales")
            await linked(pool, driver, "other")
            heard["stream"].append(f"{(await anext(events)).key}")
        await clock.advance()
        assert heard["qr"] == [f"{COMPANY}{device} {kind}" for device in ("", ":sales") for kind in ("qr", "connected")]
        assert (heard["sales"], heard["stream"]) == ([f"{COMPANY}:sales qr"], ["other"])
        assert {"other qr", "other status", f"{COMPANY} status"} <= set(heard["all"])


async def test_a_handler_that_was_added_twice_is_removed_at_once(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        heard: list[str] = []

        async def once(event: Any) -> None:
            heard.append(event.text)
            pool.off(once)

        pool.on("message")(once)
        pool.on("message", company_id=COMPANY)(once)
        link = await linked(pool, driver)
        link.receive("first")
        link.receive("second")
        await clock.advance()
        # Both were called for the first before either could say that it has enough.
        assert heard in (["first"], ["first", "first"])
        pool.off(once)
        link.receive("third")
        await clock.advance()
        assert set(heard) == {"first"}
