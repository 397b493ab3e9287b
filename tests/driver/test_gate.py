"""The gate under threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from wasessionpool.drivers.neonize.gate import Gate

YOUNG = 0.02
LONG = 60.0
"""Seconds that no thread waits for, however busy the machine: a window ends by being closed, a call by its end."""


@pytest.fixture
def gate() -> Gate:
    return Gate(young=LONG)


def test_never_two_windows_and_no_call_begins_in_one(gate: Gate) -> None:
    inside: set[str] = set()
    violations: list[str] = []
    lock = threading.Lock()

    def start(_: int) -> None:
        for turn in range(20):
            with gate.window(LONG):
                with lock:
                    violations.extend(inside)
                    inside.add("window")
                time.sleep(turn / 50_000)
                with lock:
                    inside.discard("window")

    def call(_: int) -> None:
        for _ in range(50):
            with gate.call(), lock:
                violations.extend(inside)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: (start if n % 2 else call)(n), range(8)))
    assert violations == []


class Time:
    """The gate's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def when_it_enters(gate: Gate, time_: Time, entry: Callable[[], AbstractContextManager[object]], until: float) -> float:
    """Try to enter from a thread, let the time be ``until`` once it waits, and return the time at which it was in."""
    entered: list[float] = []

    def enter() -> None:
        with entry():
            entered.append(time_.now)

    thread = threading.Thread(target=enter)
    thread.start()
    while not gate._queue and thread.is_alive():
        time.sleep(0.001)
    time_.now = until
    thread.join(10)
    return entered[0]


def test_a_young_call_holds_up_a_window_and_an_old_one_does_not() -> None:
    clock = Time()
    gate = Gate(young=YOUNG, clock=clock)
    with gate.call():
        assert when_it_enters(gate, clock, lambda: gate.window(1), until=YOUNG) == YOUNG
        assert when_it_enters(gate, clock, lambda: gate.window(1), until=YOUNG) == YOUNG


def test_a_window_that_is_not_closed_ends_by_itself() -> None:
    clock = Time()
    gate = Gate(young=YOUNG, clock=clock)
    window = gate.open_window(0.05)
    assert when_it_enters(gate, clock, gate.call, until=0.05) == 0.05
    clock.now += YOUNG
    later = gate.open_window(5)
    window.close()
    assert gate._window is later, "an expired window closed its successor"
    later.close()
    with gate.call():
        pass


def test_a_call_gets_its_turn_between_many_starts(gate: Gate) -> None:
    first = gate.open_window(LONG)
    order: list[str] = []
    threads = []
    for name in ("start", "call", "start"):

        def enter(name: str = name) -> None:
            with gate.window(LONG) if name == "start" else gate.call():
                order.append(name)

        waiting = len(gate._queue)
        thread = threading.Thread(target=enter)
        thread.start()
        threads.append(thread)
        while len(gate._queue) == waiting:
            time.sleep(0.001)
    first.close()
    for thread in threads:
        thread.join(LONG)
    assert order == ["start", "call", "start"]
