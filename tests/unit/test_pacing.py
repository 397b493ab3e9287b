"""A human's pace: what a policy says beforehand is what a session then does."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from wasessionpool import (
    AuthenticationRequired,
    ConfigurationError,
    PacingPolicy,
    PoolClosed,
    RateLimitExceeded,
    StorageError,
    WhatsAppPoolError,
    WhatsAppSessionPool,
)
from wasessionpool.operations import CheckNumbers, ShowTyping
from wasessionpool.pace import KEPT
from wasessionpool.pacing import DAY, Age, Planned, Trail, Why
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing import FakeClock, FakeDriver

from .conftest import OpenPool
from .test_places import linked, opened

pytestmark = pytest.mark.anyio
COMPANY, BOB, GROUP = "962302", "79001234567", "120363000000000001@g.us"
START = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = {"gap_jitter": 0, "typing_speed": 0, "warm_up_days": 0, "reconnect_ramp": 0}


PACE = f"pace/{COMPANY}/main/sent"


class SteppedClock(FakeClock):
    """A clock whose wall time can be set."""

    step = timedelta()

    def now(self) -> datetime:
        return super().now() + self.step


class PaceShelf(MemoryShelf):
    """A shelf that raises ``broken``, and takes ``takes`` seconds, for what concerns a pace alone."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(now=clock.now)
        self.clock = clock
        self.broken: Exception | None = None
        self.takes = 0.0

    async def get(self, key: str) -> bytes | None:
        await self._begin(key)
        return await super().get(key)

    async def put(self, key: str, value: bytes, *, if_absent: bool = False, ttl: float | None = None) -> bool:
        await self._begin(key)
        return await super().put(key, value, if_absent=if_absent, ttl=ttl)

    async def sent(self) -> int | None:
        """Return how many messages the kept trail has."""
        content = await super().get(PACE)
        return None if content is None else len(json.loads(content))

    async def _begin(self, key: str) -> None:
        if key == PACE:
            await self.clock.sleep(self.takes)
            if self.broken is not None:
                raise self.broken


class Sends:
    """Sends whose outcomes are noted, with when they came: a message's number, or an error."""

    def __init__(self, pool: WhatsAppSessionPool, clock: FakeClock) -> None:
        self.went: list[tuple[str, float]] = []
        self.errors: list[WhatsAppPoolError] = []
        self._pool, self._clock = pool, clock

    async def send(self, to: str = GROUP, message: str = "x", *, wait: bool = False) -> None:
        try:
            await self._pool.send_message(COMPANY, to, message, wait=wait)
            self.went.append((to, self._clock.monotonic()))
        except WhatsAppPoolError as error:
            self.errors.append(error)


@asynccontextmanager
async def opened_again(clock: FakeClock, driver: FakeDriver, **settings: Any) -> AsyncIterator[WhatsAppSessionPool]:
    """Open a pool whose sessions are linked already, so that what is kept of them is theirs."""
    async with MemoryStore() as store:
        async with opened(clock, FakeDriver(linked), store=store):
            pass
        async with opened(clock, driver, store=store, **settings) as pool:
            yield pool


def seconds(policy: PacingPolicy, *messages: Any, **options: Any) -> list[float]:
    return [round((paced.goes_at - START).total_seconds(), 3) for paced in simulate(policy, *messages, **options)]


def simulate(policy: PacingPolicy, *messages: Any, **options: Any) -> list[Any]:
    return policy.simulate(messages, start=START, **options)


def test_a_gap_and_the_typing_lie_between_messages() -> None:
    policy = PacingPolicy(**PLAIN | {"min_gap": 3, "typing_speed": 10, "typing_max": 2})
    assert seconds(policy, "x" * 10, "x" * 100, "x") == [1, 1 + 3 + 2, 6 + 3 + 0.1]


def test_chance_makes_a_gap_longer_by_its_share_at_most_and_the_same_each_time() -> None:
    policy = PacingPolicy(**PLAIN | {"min_gap": 10, "gap_jitter": 0.5})
    times = seconds(policy, *"abcdefgh")
    gaps = [after - before for before, after in pairwise(times)]
    assert all(10 <= gap <= 15 for gap in gaps)
    assert len(set(gaps)) == len(gaps)
    assert seconds(policy, *"abcdefgh") == times != seconds(policy, *"abcdefgh", session="another")


def test_a_day_has_so_many_messages_and_strangers_fewer_who_hold_up_nobody() -> None:
    policy = PacingPolicy(**PLAIN | {"min_gap": 1, "daily_max": None, "strangers_max": 1})
    stranger = Planned("hi", stranger=True)
    paced = simulate(policy, stranger, stranger, "a", "b")
    assert [(round((each.goes_at - START).total_seconds(), 3), each.why) for each in paced] == [
        (0, Why.NOTHING), (DAY, Why.STRANGERS), (1, Why.GAP), (2, Why.GAP),
    ]  # fmt: skip
    paced = simulate(policy.model_copy(update={"daily_max": 2}), "a", "b", "c")
    assert [each.why for each in paced] == [Why.NOTHING, Why.GAP, Why.DAILY]
    assert paced[2].goes_at == START + timedelta(days=1)


def test_a_young_session_has_less_of_a_day() -> None:
    policy = PacingPolicy(**PLAIN | {"min_gap": 0, "daily_max": 10, "warm_up_days": 2, "warm_up_share": 0.2})
    times = seconds(policy, *"x" * 20, created_at=START)
    assert [sum(day * DAY <= at < (day + 1) * DAY for at in times) for day in range(4)] == [2, 6, 10, 2]
    assert simulate(policy, *"xxx", created_at=START)[2].why is Why.WARM_UP
    assert seconds(policy, *"x" * 10, created_at=START - timedelta(days=2)) == [0] * 10


def test_a_link_that_came_up_begins_slowly() -> None:
    policy = PacingPolicy(**PLAIN | {"min_gap": 2, "reconnect_ramp": 20, "reconnect_slowdown": 4})
    times = seconds(policy, *"x" * 20, connected_at=START)
    gaps = [after - before for before, after in pairwise([0, *times])]
    assert 5 < gaps[0] < 8
    assert gaps[:3] == sorted(gaps[:3], reverse=True)
    assert gaps[-5:] == pytest.approx([2] * 5)
    assert simulate(policy, "x", connected_at=START)[0].why is Why.RECONNECTED


def test_a_clock_that_is_set_back_stops_nobody_for_long() -> None:
    policy, trail, age = PacingPolicy(**PLAIN | {"min_gap": 3}), Trail("a"), Age(0)
    now = START.timestamp()
    trail.add(now, stranger=False)
    trail.forget_old(now - DAY)
    assert policy.earliest(trail, age, now - DAY, stranger=False) == (now - DAY + 3, Why.GAP)


def test_only_what_a_rule_asks_for_is_kept() -> None:
    trail = Trail("a")
    for day in range(3):
        trail.add(day * DAY, stranger=False)
    trail.forget_old(2.5 * DAY)
    assert [(sent.at, sent.number) for sent in trail.sent] == [(2 * DAY, 2)]
    trail.forget_old(9 * DAY)
    assert trail.add(9 * DAY, stranger=True).number == 3


def test_a_bad_policy_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^pacing: min_gap=-1: Input should be greater than or equal to 0"):
        PacingPolicy(min_gap=-1)


def test_what_is_planned_shows_no_text() -> None:
    assert "secret" not in repr(Planned("secret"))


POLICIES = st.builds(
    PacingPolicy,
    min_gap=st.sampled_from((0.0, 1.5, 7.0, 60.0)),
    gap_jitter=st.sampled_from((0.0, 0.5)),
    typing_speed=st.sampled_from((0.0, 10.0)),
    typing_max=st.just(3.0),
    daily_max=st.sampled_from((None, 2, 5)),
    strangers_max=st.sampled_from((None, 1, 3)),
    warm_up_days=st.sampled_from((0, 3)),
    warm_up_share=st.sampled_from((0.1, 0.5)),
    reconnect_ramp=st.sampled_from((0.0, 60.0)),
    reconnect_slowdown=st.just(3.0),
)
MESSAGES = st.lists(
    st.builds(
        Planned,
        message=st.integers(1, 50).map(lambda length: "x" * length),
        after=st.integers(0, 300).map(lambda tenths: tenths / 10 + 0.037),
        stranger=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda planned: planned.after,
)


@given(policy=POLICIES, messages=MESSAGES)
@example(
    policy=PacingPolicy(**PLAIN | {"min_gap": 0, "strangers_max": 1}),
    messages=[Planned("x", after, stranger=True) for after in (0.037, 0.237, 8.437)],
)
@example(
    policy=PacingPolicy(**PLAIN | {"min_gap": 0, "strangers_max": 1}),
    messages=[Planned("x", number / 10 + 0.037, stranger=number < 3) for number in range(4)],
)
@hypothesis_settings(max_examples=20, deadline=None)
def test_what_is_simulated_is_what_happens(policy: PacingPolicy, messages: list[Planned]) -> None:
    clock, driver = FakeClock(START), FakeDriver(linked)
    went: dict[int, float] = {}

    async def send(pool: Any, index: int, planned: Planned) -> None:
        await clock.sleep(planned.after)
        to = f"7900{index:07}" if planned.stranger else GROUP
        await pool.send_message(COMPANY, to, planned.message, wait=True)
        went[index] = clock.monotonic()

    async def run() -> list[float]:
        limits = {"rate_limit_max": 10_000, "rate_limit_recipient_max": 10_000, "health_check_interval": 9999}
        async with opened(clock, driver, pacing=policy, **limits) as pool, anyio.create_task_group() as tasks:
            said = policy.simulate(
                messages, start=clock.now(), created_at=clock.now(), connected_at=clock.now(), session=COMPANY
            )
            for index, planned in enumerate(messages):
                tasks.start_soon(send, pool, index, planned)
            times = [(each.goes_at - START).total_seconds() for each in said]
            await clock.advance(max(times, default=0.0) + 1)
        return times

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wasessionpool.pacing.DAY", 200.0)
        said = anyio.run(run, backend="trio")
    assert [went[index] for index in range(len(messages))] == pytest.approx(said, abs=0.01)


async def test_without_waiting_a_send_is_refused_and_passes_when_it_was_told(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    driver.script = linked
    policy = PacingPolicy(**PLAIN | {"min_gap": 10})
    async with open_pool(pacing=policy) as pool:
        await pool.create_session(COMPANY)
        await clock.advance()
        await pool.send_message(COMPANY, GROUP, "a")
        await clock.advance(3)
        with pytest.raises(RateLimitExceeded, match=r"may send again in 7\.0 s \(gap\)") as caught:
            await pool.send_message(COMPANY, GROUP, "b")
        await clock.advance(caught.value.retry_after - 0.01)
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, GROUP, "b")
        await clock.advance(0.01)
        await pool.send_message(COMPANY, GROUP, "b")
        assert not driver.link.operations


async def test_typing_is_shown_before_the_message_goes(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    driver.script = linked
    async with (
        open_pool(pacing=PacingPolicy(**PLAIN | {"typing_speed": 2})) as pool,
        anyio.create_task_group() as tasks,
    ):
        await pool.create_session(COMPANY)
        await clock.advance()
        tasks.start_soon(pool.send_message, COMPANY, GROUP, "four")
        await clock.advance(1.9)
        assert driver.link.operations == [ShowTyping(chat=GROUP, state="composing")]
        assert not driver.link.sent
        await clock.advance(0.1)
        assert len(driver.link.sent) == 1


async def test_the_pace_is_kept_beyond_the_pool(clock: FakeClock) -> None:
    shelf, store = MemoryShelf(now=clock.now), MemoryStore()
    policy = PacingPolicy(**PLAIN | {"min_gap": 0, "daily_max": 1})
    async with store:
        for left in (1, 0):
            async with opened(clock, FakeDriver(linked), pacing=policy, shelf=shelf, store=store) as pool:
                if left:
                    await pool.send_message(COMPANY, BOB, "a")
                with pytest.raises(RateLimitExceeded, match=r"\(daily\)") as caught:
                    await pool.send_message(COMPANY, BOB, "b")
                assert caught.value.retry_after == pytest.approx(DAY, abs=60)
                await clock.advance(1)
        async with opened(clock, FakeDriver(linked), pacing=policy, shelf=shelf, store=store) as pool:
            await pool.delete_session(COMPANY)
        assert not [name async for name, _ in shelf.scan("pace/")]


async def test_a_message_that_was_not_sent_takes_no_place(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    driver.script = linked

    async def refuse(*_: object) -> None:
        driver.link.on_send = None
        raise RateLimitExceeded("of WhatsApp", retry_after=math.inf)

    async with open_pool(pacing=PacingPolicy(**PLAIN | {"min_gap": 10})) as pool:
        await pool.create_session(COMPANY)
        await clock.advance()
        driver.link.on_send = refuse
        with pytest.raises(RateLimitExceeded, match="of WhatsApp"):
            await pool.send_message(COMPANY, BOB, "a")
        await pool.send_message(COMPANY, BOB, "a")


@pytest.mark.parametrize("minutes", [2, 60])
async def test_a_clock_that_is_set_back_silences_no_session(minutes: int) -> None:
    clock, driver = SteppedClock(START), FakeDriver(linked)
    policy = PacingPolicy(**PLAIN | {"min_gap": 3, "reconnect_ramp": 60})
    async with opened(clock, driver, pacing=policy) as pool:
        await clock.advance(100)
        clock.step = -timedelta(minutes=minutes)
        await pool.send_message(COMPANY, GROUP, "a")
        clock.step *= 2
        with pytest.raises(RateLimitExceeded) as caught:
            await pool.send_message(COMPANY, GROUP, "b")
        assert caught.value.retry_after == pytest.approx(3, abs=0.1)
        await clock.advance(caught.value.retry_after)
        await pool.send_message(COMPANY, GROUP, "b")


async def test_a_clock_that_is_set_back_stops_no_send_that_has_its_place() -> None:
    clock, driver = SteppedClock(START), FakeDriver(linked)
    policy = PacingPolicy(**PLAIN | {"min_gap": 3, "reconnect_ramp": 60})
    async with opened(clock, driver, pacing=policy) as pool, anyio.create_task_group() as tasks:
        await clock.advance(100)
        release, sends = anyio.Event(), Sends(pool, clock)

        async def answer_late(*_: object) -> None:
            await release.wait()

        driver.links[0].on_send = answer_late
        for _ in range(2):
            tasks.start_soon(sends.send)
            await clock.advance(5)
        clock.step = -timedelta(hours=1)
        release.set()
        await clock.advance(3)
        assert [at for _, at in sends.went] == [110, 113]


async def test_a_gap_lies_behind_one_that_overtook(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer_late(operation: CheckNumbers) -> tuple[str, ...]:
        await clock.sleep(9)
        return operation.numbers

    driver.script, shelf = linked, PaceShelf(clock)
    async with (
        open_pool(shelf=shelf, pacing=PacingPolicy(**PLAIN | {"min_gap": 5})) as pool,
        anyio.create_task_group() as tasks,
    ):
        await pool.create_session(COMPANY)
        await clock.advance()
        monkeypatch.setattr(driver.link, "call", answer_late)
        sends = Sends(pool, clock)
        tasks.start_soon(sends.send, BOB)
        await clock.advance(8)
        tasks.start_soon(sends.send)
        await clock.advance(0.5)
        assert await shelf.sent() == 1
        await clock.advance(20)
        assert sends.went == [(GROUP, 8), (BOB, 13)]
        assert await shelf.sent() == 2


@pytest.mark.parametrize("error", [StorageError("no disk"), RuntimeError("a bug of a shelf")], ids=["storage", "bug"])
async def test_a_shelf_that_fails_refuses_no_send_and_ends_no_pool(clock: FakeClock, error: Exception) -> None:
    shelf, policy = PaceShelf(clock), PacingPolicy(**PLAIN | {"min_gap": 0})
    async with opened_again(clock, FakeDriver(linked), pacing=policy, shelf=shelf) as pool:
        for broken in (error, None, error, None):
            shelf.broken = broken
            await pool.send_message(COMPANY, GROUP, "a")
            await clock.advance(1)
        assert await shelf.sent() == 4


async def test_what_was_kept_is_read_by_a_later_send_and_replaced_by_none(clock: FakeClock) -> None:
    shelf, policy = PaceShelf(clock), PacingPolicy(**PLAIN | {"min_gap": 0, "daily_max": 4})
    async with MemoryStore() as store:
        for kept, sends, failed in ((2, 2, 0), (4, 2, 1), (4, 0, 0)):
            async with opened(clock, FakeDriver(linked), pacing=policy, shelf=shelf, store=store) as pool:
                before = await shelf.sent()
                for number in range(sends):
                    shelf.broken = StorageError("database is locked") if number < failed else None
                    await pool.send_message(COMPANY, GROUP, "a")
                    await clock.advance(1)
                    assert number >= failed or await shelf.sent() == before
                assert await shelf.sent() == kept
                if kept == 4:
                    with pytest.raises(RateLimitExceeded, match=r"\(daily\)"):
                        await pool.send_message(COMPANY, GROUP, "b")


async def test_what_was_sent_before_the_shelf_could_be_read_is_kept_then(clock: FakeClock) -> None:
    shelf, policy = PaceShelf(clock), PacingPolicy(**PLAIN | {"min_gap": 0, "daily_max": 1})
    async with opened_again(clock, FakeDriver(linked), pacing=policy, shelf=shelf) as pool:
        shelf.broken = StorageError("database is locked")
        await pool.send_message(COMPANY, GROUP, "a")
        shelf.broken = None
        with pytest.raises(RateLimitExceeded):
            await pool.send_message(COMPANY, GROUP, "b")
        await clock.advance()
        assert await shelf.sent() == 1


async def test_a_budget_that_is_read_late_holds_up_no_send_that_has_its_place(clock: FakeClock) -> None:
    shelf, policy = PaceShelf(clock), PacingPolicy(**PLAIN | {"min_gap": 0, "daily_max": 1})
    driver = FakeDriver(linked)
    await shelf.put(PACE, json.dumps([{"at": START.timestamp(), "stranger": False, "number": 0}]).encode())
    async with opened_again(clock, driver, pacing=policy, shelf=shelf) as pool, anyio.create_task_group() as tasks:

        async def answer_late(_: object) -> None:
            await clock.sleep(5)

        with pytest.MonkeyPatch.context() as patch:
            for link in driver.links:
                patch.setattr(link, "call", answer_late)
            shelf.broken = StorageError("database is locked")
            sends = Sends(pool, clock)
            tasks.start_soon(sends.send, BOB)
            await clock.advance(1)
            shelf.broken = None
            with pytest.raises(RateLimitExceeded):
                await pool.send_message(COMPANY, GROUP, "b")
            await clock.advance(4)
        assert sends.went == [(BOB, 5)]


async def test_what_two_sends_read_at_once_counts_once(clock: FakeClock) -> None:
    shelf, policy = PaceShelf(clock), PacingPolicy(**PLAIN | {"min_gap": 0})
    await shelf.put(PACE, json.dumps([{"at": START.timestamp(), "stranger": False, "number": 0}]).encode())
    async with (
        opened_again(clock, FakeDriver(linked), pacing=policy, shelf=shelf) as pool,
        anyio.create_task_group() as tasks,
    ):
        shelf.takes, sends = 1, Sends(pool, clock)
        for _ in range(2):
            tasks.start_soon(sends.send)
        await clock.advance(5)
        assert len(sends.went) == 2
        assert await shelf.sent() == 3


async def test_what_is_kept_but_damaged_is_replaced(clock: FakeClock) -> None:
    shelf, policy = PaceShelf(clock), PacingPolicy(**PLAIN | {"min_gap": 0})
    await shelf.put(PACE, b"{")
    async with opened_again(clock, FakeDriver(linked), pacing=policy, shelf=shelf) as pool:
        await pool.send_message(COMPANY, GROUP, "a")
        await clock.advance()
        assert await shelf.sent() == 1
        await clock.advance(KEPT)
        assert await shelf.sent() is None


def test_what_was_sent_before_goes_before() -> None:
    trail, earlier = Trail("a"), Trail("a")
    for at in (1.0, 6.0):
        earlier.add(at, stranger=False)
    for at in (3.0, 5.0):
        trail.add(at, stranger=False)
    trail.follow(earlier)
    assert [(sent.at, sent.number) for sent in trail.sent] == [(1, 0), (3, 2), (5, 3), (6, 1)]
    assert trail.add(7, stranger=False).number == 4


@pytest.mark.parametrize("new", [0, 1], ids=["deleted", "created anew"])
async def test_a_send_under_way_leaves_nothing_of_a_deleted_session(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock, new: int
) -> None:
    driver.script, shelf = linked, PaceShelf(clock)
    policy = PacingPolicy(**PLAIN | {"min_gap": 0, "typing_speed": 1})
    async with open_pool(shelf=shelf, pacing=policy) as pool, anyio.create_task_group() as tasks:
        await pool.create_session(COMPANY)
        await clock.advance()
        sends = Sends(pool, clock)
        tasks.start_soon(sends.send, GROUP, "ten chars.")
        await clock.advance(1)
        await pool.delete_session(COMPANY)
        for _ in range(new):
            await pool.create_session(COMPANY)
            await clock.advance()
            tasks.start_soon(sends.send)
        await clock.advance(15)
        assert [type(error) for error in sends.errors] == [AuthenticationRequired]
        assert await shelf.sent() == (new or None)
        assert len(sends.went) == new


async def test_a_session_is_deleted_after_what_is_being_written(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    driver.script, shelf = linked, PaceShelf(clock)
    async with (
        open_pool(shelf=shelf, pacing=PacingPolicy(**PLAIN | {"min_gap": 0})) as pool,
        anyio.create_task_group() as tasks,
    ):
        await pool.create_session(COMPANY)
        await clock.advance()
        await pool.send_message(COMPANY, GROUP, "a")
        shelf.takes = 5
        await pool.send_message(COMPANY, GROUP, "b")
        await clock.advance(1)
        tasks.start_soon(pool.delete_session, COMPANY)
        await clock.advance(10)
        assert not await pool.get_sessions()
        assert await shelf.sent() is None


async def test_a_send_that_is_typed_when_the_pool_closes_is_told_so(
    open_pool: OpenPool, driver: FakeDriver, clock: FakeClock
) -> None:
    driver.script = linked
    async with anyio.create_task_group() as tasks:
        async with open_pool(pacing=PacingPolicy(**PLAIN | {"typing_speed": 1})) as pool:
            await pool.create_session(COMPANY)
            await clock.advance()
            sends = Sends(pool, clock)
            tasks.start_soon(sends.send, GROUP, "ten chars.")
            await clock.advance(1)
        await clock.advance(15)
        assert [type(error) for error in sends.errors] == [PoolClosed]
