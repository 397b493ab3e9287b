"""Who is to blame for a worker that aborted."""

from __future__ import annotations

from wasessionpool.drivers.neonize.quarantine import Quarantine
from wasessionpool.models import SessionKey

KEYS = [SessionKey(f"company-{number}") for number in range(50)]
ONE, TWO, *_ = KEYS


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def quarantine(clock: Hands | None = None) -> Quarantine:
    return Quarantine(60.0, clock or Hands())


def test_an_abort_alone_is_the_sessions_own_and_the_second_too_many() -> None:
    judge = quarantine()
    assert judge.aborted([ONE], []) == frozenset()
    assert judge.share(ONE) == 1
    assert judge.aborted([ONE], []) == {ONE}
    assert judge.aborted([ONE], [ONE]) == {ONE}, "it is revived, and aborts again"


def test_the_only_one_that_starts_is_to_blame() -> None:
    judge = quarantine()
    judge.aborted([ONE, TWO], [TWO])
    assert (judge.share(ONE), judge.share(TWO)) == (None, 1)
    assert judge.aborted([ONE, TWO], [TWO]) == {TWO}


def test_where_nobody_can_tell_half_as_many_share_a_worker_until_one_is_alone() -> None:
    judge = quarantine()
    guilty, group, deaths = KEYS[7], KEYS, 0
    while not (poisonous := judge.aborted(group, group)):
        deaths += 1
        share = judge.share(guilty)
        assert share is not None
        group = [guilty, *(key for key in group if key != guilty)][:share]
    assert poisonous == {guilty}
    assert deaths == 6
    assert len([key for key in KEYS if judge.share(key) == 25]) == 25


def test_a_link_that_held_clears_a_suspect() -> None:
    clock = Hands()
    judge = quarantine(clock)
    judge.aborted([ONE], [])
    judge.link_up(ONE)
    clock.time += 59
    judge.link_up(ONE)
    assert judge.share(ONE) == 1
    clock.time += 1
    assert judge.share(ONE) is None
    assert judge.aborted([ONE], []) == frozenset()


def test_a_link_that_broke_clears_nobody() -> None:
    clock = Hands()
    judge = quarantine(clock)
    judge.aborted([ONE], [])
    judge.link_up(ONE)
    clock.time += 59
    judge.link_down(ONE)
    clock.time += 59
    judge.link_up(ONE)
    clock.time += 59
    assert judge.aborted([ONE], []) == {ONE}


def test_an_end_after_a_link_that_held_counts_as_the_first() -> None:
    clock = Hands()
    judge = quarantine(clock)
    judge.aborted([ONE], [])
    judge.link_up(ONE)
    clock.time += 60
    assert judge.aborted([ONE], []) == frozenset()
    assert judge.aborted([ONE], []) == {ONE}


def test_another_device_is_no_suspect() -> None:
    judge = quarantine()
    judge.aborted([ONE], [])
    judge.forget(ONE)
    assert judge.share(ONE) is None
