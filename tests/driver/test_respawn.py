"""How soon a worker may be spawned after others died."""

from __future__ import annotations

from wasessionpool.backoff import Backoff
from wasessionpool.drivers.neonize.respawn import Respawn


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_each_death_at_a_start_doubles_the_delay() -> None:
    clock = Hands()
    respawn = Respawn(Backoff(1.0, 30.0, jitter=0.0), clock)
    assert respawn.delay() == 0
    delays = []
    for _ in range(7):
        respawn.died(clock.time)
        delays.append(respawn.delay())
        clock.time += delays[-1]
        assert respawn.delay() == 0
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    clock.time += 60
    respawn.died(clock.time)
    assert respawn.delay() == 1


def test_a_worker_that_lived_is_replaced_at_once() -> None:
    clock = Hands()
    respawn = Respawn(Backoff(1.0, 30.0, jitter=0.0), clock)
    respawn.died(clock.time - 10)
    assert respawn.delay() == 0


def test_workers_that_were_spawned_together_die_once() -> None:
    clock = Hands()
    respawn = Respawn(Backoff(1.0, 30.0, jitter=0.0), clock)
    for _ in range(5):
        respawn.died(clock.time - 1)
    assert respawn.delay() == 1
