"""The gate under threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from wasessionpool.drivers.neonize.gate import Gate

YOUNG = 0.02


@pytest.fixture
def gate() -> Gate:
    return Gate(young=YOUNG)


def test_never_two_windows_and_no_call_begins_in_one(gate: Gate) -> None:
    inside: set[str] = set()
    violations: list[str] = []
    lock = threading.Lock()

    def start(_: int) -> None:
        for turn in range(20):
            with gate.window(5):
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


def test_a_young_call_holds_up_a_window_and_an_old_one_does_not(gate: Gate) -> None:
    release = threading.Event()
    entered = threading.Event()

    def hang() -> None:
        with gate.call():
            entered.set()
            release.wait(5)

    thread = threading.Thread(target=hang)
    thread.start()
    entered.wait(5)
    begin = time.monotonic()
    with gate.window(1):
        waited = time.monotonic() - begin
    release.set()
    thread.join()
    assert YOUNG / 2 < waited < 1


def test_a_window_that_is_not_closed_ends_by_itself(gate: Gate) -> None:
    window = gate.open_window(0.05)
    begin = time.monotonic()
    with gate.call():
        assert 0.04 < time.monotonic() - begin < 1
    later = gate.open_window(5)
    window.close()
    assert not _enters(gate), "an expired window closed its successor"
    later.close()
    assert _enters(gate)


def _enters(gate: Gate, within: float = 0.1) -> bool:
    entered = threading.Event()

    def call() -> None:
        with gate.call():
            entered.set()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return entered.wait(within)


def test_a_call_gets_its_turn_between_many_starts(gate: Gate) -> None:
    first = gate.open_window(5)
    order: list[str] = []
    threads = []
    for name in ("start", "call", "start"):

        def enter(name: str = name) -> None:
            with gate.window(5) if name == "start" else gate.call():
                order.append(name)

        waiting = len(gate._queue)
        thread = threading.Thread(target=enter)
        thread.start()
        threads.append(thread)
        while len(gate._queue) == waiting:
            time.sleep(0.001)
    first.close()
    for thread in threads:
        thread.join(5)
    assert order == ["start", "call", "start"]
