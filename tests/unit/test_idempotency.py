"""A message is sent once by a key, whoever asks how often, and whatever happens in between."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from wasessionpool import (
    DisconnectReason,
    DriverError,
    InvalidMessage,
    InvalidRecipient,
    MessageRejected,
    RateLimitExceeded,
    SendTimeout,
    SentMessage,
    SessionNotConnected,
    StorageError,
    WhatsAppPoolError,
    WhatsAppSessionPool,
    statistics,
)
from wasessionpool.events import Event
from wasessionpool.idempotency import KEPT
from wasessionpool.patience import SHELF_PATIENCE as PATIENCE
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing.clock import FakeClock
from wasessionpool.testing.driver import FakeDriver, FakeLink

from .conftest import OpenPool, told
from .test_sending import after, linked

pytestmark = pytest.mark.anyio
COMPANY, BOB, EVE = "962302", "79001234567", "79001234568"


@pytest.fixture
def shelf(clock: FakeClock) -> MemoryShelf:
    return MemoryShelf(now=clock.now)


class Call:
    """A call of ``send_message`` by a key, and how it ended."""

    def __init__(self, pool: WhatsAppSessionPool, key: str = "order 1", **options: Any) -> None:
        self.outcome: SentMessage | Exception | None = None
        self.scope = anyio.CancelScope()
        self._pool = pool
        self._options = {"idempotency_key": key} | options

    async def __call__(self) -> None:
        with self.scope:
            try:
                self.outcome = await self._pool.send_message(COMPANY, BOB, "hi", **self._options)
            except WhatsAppPoolError as error:
                self.outcome = error


async def send(pool: WhatsAppSessionPool, key: str = "order 1", to: str = BOB, text: str = "hi", **options: Any) -> Any:
    return await pool.send_message(COMPANY, to, text, idempotency_key=key, **options)


async def test_an_acknowledged_send_is_not_made_again(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event]
) -> None:
    async with open_pool(rate_limit_max=1) as pool:
        link = await linked(pool, driver, clock)
        first = await send(pool)
        assert await send(pool) == first
        assert await send(pool, resend=True) == first
        assert await pool.session(COMPANY).send("+7 900 123-45-67", "hi", idempotency_key="order 1") == first
        assert len(link.sent) == 1
        await clock.advance()
        assert told(seen).count("message_sent") == 1
        with pytest.raises(RateLimitExceeded):
            await send(pool, "order 2")


async def test_a_key_is_known_for_a_day(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        first = await send(pool)
        await clock.advance(KEPT - 1)
        assert await send(pool) == first
        await clock.advance(1)
        assert await send(pool) != first
        assert len(link.sent) == 2


@pytest.mark.parametrize("options", [{}, {"resend": True}], ids=["again", "resend"])
async def test_another_message_by_the_same_key_is_refused(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, options: dict[str, bool]
) -> None:
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 10)
        call = Call(pool)
        tasks.start_soon(call)
        await clock.advance(5)
        for what in ({"text": "hello"}, {"to": EVE}):
            with pytest.raises(InvalidMessage, match="that of another recipient or message"):
                await send(pool, **what, **options)
        await clock.advance(5)
        assert isinstance(call.outcome, SentMessage)
        for what in ({"text": "hello"}, {"to": EVE}):
            with pytest.raises(InvalidMessage, match="that of another recipient or message"):
                await send(pool, **what, **options)
        assert len(link.sent) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "clé", "a\nb", 7])
async def test_what_is_no_key_is_named(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, key: Any) -> None:
    async with open_pool() as pool:
        for recipient in (BOB, "nobody"):
            with pytest.raises(InvalidMessage, match=r"^idempotency_key .* is not 1–255 printable ASCII characters"):
                await send(pool, key, to=recipient)
        with pytest.raises(InvalidRecipient):
            await send(pool, "x" * 255, to="nobody")


async def test_sessions_have_keys_of_their_own(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool:
        await linked(pool, driver, clock)
        await pool.create_session(COMPANY, device="sales")
        driver.link.up()
        await clock.advance()
        await send(pool)
        await send(pool, device="sales")
        assert [len(link.sent) for link in driver.links] == [1, 1]


async def test_what_is_kept_tells_neither_key_nor_text(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: MemoryShelf
) -> None:
    async with open_pool(shelf=shelf) as pool:
        await linked(pool, driver, clock)
        await send(pool, "a secret key", text="a secret text")
        kept = [(key, value.decode()) async for key, value in shelf.scan("send/962302/")]
        assert len(kept) == 1
        assert "secret" not in str(kept)


async def test_duplicates_wait_for_the_first(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 10)
        calls = [Call(pool), Call(pool), Call(pool, resend=True), Call(pool, timeout=4)]
        for call in calls:
            tasks.start_soon(call)
        await clock.advance(4)
        assert isinstance(calls[-1].outcome, SendTimeout)
        assert calls[-1].outcome.send_id is not None
        await clock.advance(6)
        outcomes = [call.outcome for call in calls[:-1]]
        assert isinstance(outcomes[0], SentMessage)
        assert outcomes == [outcomes[0]] * 3
        assert len(link.sent) == 1


async def test_duplicates_share_the_firsts_error(open_pool: OpenPool, driver: FakeDriver, clock: FakeClock) -> None:
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 10, MessageRejected("server returned error 479", server_code=479))
        calls = [Call(pool), Call(pool)]
        for call in calls:
            tasks.start_soon(call)
        await clock.advance(10)
        assert [type(call.outcome) for call in calls] == [MessageRejected] * 2
        link.on_send = None
        assert isinstance(await send(pool), SentMessage)
        assert len(link.sent) == 1


async def test_a_first_that_would_not_wait_leaves_it_to_the_next(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 10)
        ahead, hasty, patient = Call(pool, "ahead"), Call(pool, timeout=2), Call(pool)
        for call in (ahead, hasty, patient):
            tasks.start_soon(call)
            await clock.advance()
        await clock.advance(20)
        assert isinstance(hasty.outcome, SessionNotConnected)
        assert isinstance(patient.outcome, SentMessage)
        assert len(link.sent) == 2


async def test_whatever_says_that_nothing_was_sent_frees_the_key(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 0, DriverError("you're not participating in that group"))
        with pytest.raises(DriverError):
            await send(pool)
        link.on_send = None
        assert isinstance(await send(pool), SentMessage)


async def test_a_first_that_is_cancelled_before_its_turn_leaves_it_to_the_next(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 10)
        ahead, first, second = Call(pool, "ahead"), Call(pool), Call(pool)
        for call in (ahead, first, second):
            tasks.start_soon(call)
            await clock.advance()
        first.scope.cancel()
        await clock.advance(20)
        assert first.outcome is None
        assert isinstance(second.outcome, SentMessage)
        assert len(link.sent) == 2


async def test_a_first_that_is_cancelled_after_its_turn_is_followed(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 10)
        first, second = Call(pool), Call(pool)
        for call in (first, second):
            tasks.start_soon(call)
            await clock.advance()
        first.scope.cancel()
        await clock.advance(10)
        assert isinstance(second.outcome, SentMessage)
        assert await send(pool) == second.outcome
        assert len(link.sent) == 1


async def test_what_was_certainly_not_sent_frees_the_key(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: MemoryShelf
) -> None:
    async with open_pool(shelf=shelf, rate_limit_max=1, rate_limit_window=60) as pool:
        await pool.create_session(COMPANY)
        with pytest.raises(WhatsAppPoolError, match="not linked"):
            await send(pool)
        link = await linked(pool, driver, clock)
        for error in (
            MessageRejected("server returned error 479", server_code=479),
            SessionNotConnected("the line is lost", status="reconnecting"),  # type: ignore[arg-type]
        ):
            link.on_send = after(clock, 0, error)
            with pytest.raises(type(error)):
                await send(pool)
            assert [entry async for entry in shelf.scan("send/")] == []
        link.on_send = None
        await pool.send_message(COMPANY, BOB, "the limit's last")
        with pytest.raises(RateLimitExceeded):
            await send(pool)
        with pytest.raises(RateLimitExceeded):
            await send(pool, text="another message")


async def test_an_unknown_outcome_stays_unknown_until_it_is_sent_again(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async def up(link: FakeLink) -> None:
        link.up()

    async with open_pool(send_timeout=30) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 1000)
        driver.script = up
        call = Call(pool)
        tasks.start_soon(call)
        await clock.advance(40)
        assert isinstance(call.outcome, SendTimeout)
        for _ in range(2):
            with pytest.raises(SendTimeout, match="was begun, whether the message went out is unknown") as again:
                await send(pool)
            assert again.value.send_id == call.outcome.send_id
        assert driver.link.sent == []
        sent = await send(pool, resend=True)
        assert isinstance(sent, SentMessage)
        assert await send(pool) == sent
        assert len(driver.link.sent) == 1


async def test_it_is_unknown_also_while_there_is_no_link(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    """``SessionNotConnected`` would say that nothing was sent."""
    async with open_pool() as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        sent = await send(pool, "acknowledged")
        link.on_send = after(clock, 1000)
        tasks.start_soon(Call(pool))
        await clock.advance(1)
        link.end(DisconnectReason.NETWORK)
        await clock.advance(1)
        with pytest.raises(SendTimeout):
            await send(pool)
        with pytest.raises(SessionNotConnected):
            await send(pool, resend=True)
        with pytest.raises(SendTimeout):
            await send(pool)
        assert await send(pool, "acknowledged") == sent


@pytest.mark.parametrize("refused", [False, True], ids=["acknowledged", "refused"])
async def test_the_late_answer_settles_it(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, refused: bool
) -> None:
    async def answer_on_leaving(*_: object) -> None:
        with anyio.CancelScope(shield=True):
            await driver.links[0].closed.wait()
            if refused:
                raise MessageRejected("server returned error 479", server_code=479)

    async def up(link: FakeLink) -> None:
        link.up()

    async with open_pool(send_timeout=30) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send, driver.script = answer_on_leaving, up
        call = Call(pool)
        tasks.start_soon(call)
        await clock.advance(40)
        assert isinstance(call.outcome, SendTimeout)
        sent = await send(pool)
        assert len(driver.links) == 2
        assert (len(link.sent), len(driver.link.sent)) == ((0, 1) if refused else (1, 0))
        assert await send(pool) == sent


async def test_a_retry_during_the_send_gets_its_late_answer(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(send_timeout=30) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 20)
        first, retry = Call(pool, timeout=5), Call(pool)
        tasks.start_soon(first)
        await clock.advance(5)
        assert isinstance(first.outcome, SendTimeout)
        tasks.start_soon(retry)
        await clock.advance(15)
        assert isinstance(retry.outcome, SentMessage)
        assert len(link.sent) == 1


async def test_a_refused_resend_leaves_the_first_unknown(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    async with open_pool(send_timeout=30) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        link.on_send = after(clock, 0, ZeroDivisionError())
        call = Call(pool)
        tasks.start_soon(call)
        await clock.advance()
        assert isinstance(call.outcome, SendTimeout)
        link.on_send = after(clock, 0, MessageRejected("server returned error 479", server_code=479))
        with pytest.raises(MessageRejected):
            await send(pool, resend=True)
        link.on_send = None
        with pytest.raises(SendTimeout) as again:
            await send(pool)
        assert again.value.send_id == call.outcome.send_id
        assert await send(pool, resend=True)


async def test_a_restart_forgets_nothing(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: MemoryShelf
) -> None:
    async with MemoryStore() as store:
        async with anyio.create_task_group() as tasks:
            async with open_pool(store, shelf) as pool:
                link = await linked(pool, driver, clock)
                sent = await send(pool, "acknowledged")
                link.on_send = after(clock, 1000)
                call = Call(pool)
                tasks.start_soon(call)
                await clock.advance(1)
            await clock.advance()
        assert isinstance(call.outcome, SendTimeout)
        async with open_pool(store, shelf) as pool:
            await clock.advance()
            assert await send(pool, "acknowledged") == sent
            with pytest.raises(SendTimeout) as again:
                await send(pool)
            assert again.value.send_id == call.outcome.send_id
            assert await send(pool, resend=True)
            assert len(driver.link.sent) == 1


async def test_a_session_that_is_deleted_leaves_no_keys(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: MemoryShelf
) -> None:
    async with open_pool(shelf=shelf) as pool:
        await linked(pool, driver, clock)
        await send(pool)
        await pool.delete_session(COMPANY)
        assert [entry async for entry in shelf.scan("")] == []


class Failing(MemoryShelf):
    """A shelf whose disk is full once it has taken ``room`` values; then it still says what it has."""

    room = 0

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        if self.room <= 0:
            raise StorageError("no space left on device")
        self.room -= 1
        return await super().put(key, value, if_absent=if_absent, ttl=ttl)


async def test_nothing_is_sent_where_the_shelf_fails_before(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    shelf = Failing(now=clock.now)
    async with open_pool(shelf=shelf, rate_limit_max=1) as pool:
        link = await linked(pool, driver, clock)
        with pytest.raises(StorageError, match="no space left"):
            await send(pool)
        assert link.sent == []
        shelf.room = 2
        assert await send(pool)


async def test_what_was_sent_is_told_where_the_shelf_fails_after(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, seen: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Failing(now=clock.now)
    async with open_pool(shelf=shelf) as pool:
        link = await linked(pool, driver, clock)
        shelf.room = 1
        assert isinstance(await send(pool), SentMessage)
        await clock.advance()
        [error] = [event for event in seen if event.type == "error"]
        assert (error.code, error.detail) == (
            "storage_error",
            "what became of a send could not be kept: no space left on device",
        )
        assert [record.levelno for record in caplog.records if "could not be kept" in record.getMessage()] == [
            logging.ERROR
        ]
        with pytest.raises(SendTimeout):
            await send(pool)
        assert len(link.sent) == 1


class Hanging(MemoryShelf):
    """A shelf that does not answer."""

    async def get(self, key: str) -> bytes | None:  # noqa: ARG002
        await anyio.sleep_forever()

    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        await anyio.sleep_forever()
        yield prefix, b""


async def test_a_shelf_that_hangs_is_given_up(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "AT_CLOSE", 0.0)
    async with open_pool(shelf=Hanging()) as pool, anyio.create_task_group() as tasks:
        link = await linked(pool, driver, clock)
        patient, hasty = Call(pool), Call(pool, "order 2", timeout=1)
        tasks.start_soon(patient)
        tasks.start_soon(hasty)
        await clock.advance(1)
        assert isinstance(hasty.outcome, SendTimeout)
        await clock.advance(PATIENCE)
        assert str(patient.outcome) == f"the shelf did not answer within {PATIENCE:g} s"
        assert isinstance(patient.outcome, StorageError)
        assert link.sent == []


async def test_what_the_shelf_has_of_another_version_sends_nothing(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, shelf: MemoryShelf
) -> None:
    async with open_pool(shelf=shelf) as pool:
        link = await linked(pool, driver, clock)
        await send(pool)
        [name] = [key async for key, _ in shelf.scan("send/")]
        await shelf.put(name, b'{"version": 2}')
        with pytest.raises(StorageError, match="not from this version of the library"):
            await send(pool)
        assert len(link.sent) == 1
