from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from wasessionpool.drivers.neonize import pump as module
from wasessionpool.drivers.neonize.pump import PAUSE, Pump

TIMEOUT = 10.0


def test_urgent_work_goes_before_what_sources_have_and_these_take_turns() -> None:
    pump, begun, gate, done = Pump(print), threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []
    stores = {"a": 3, "b": 2}

    def hold() -> None:
        begun.set()
        gate.wait(TIMEOUT)

    def draw(name: str) -> bool:
        order.append(name)
        stores[name] -= 1
        if stores == {"a": 0, "b": 0}:
            done.set()
        return stores[name] > 0

    sources = {name: lambda name=name: draw(name) for name in stores}
    pump.put(hold)
    assert begun.wait(TIMEOUT)
    for name in ("a", "b", "a"):
        pump.draw(sources[name])
    pump.put(lambda: order.append("urgent"))
    gate.set()
    assert done.wait(TIMEOUT)
    assert order == ["urgent", "a", "b", "a", "b", "a"]


def test_what_may_wait_is_drawn_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    pump, done = Pump(print), threading.Event()
    drawn: list[float] = []

    def source() -> bool:
        drawn.append(clock.now)
        return False

    for _ in range(100):
        pump.draw_later(source)
    pump.draw_later(lambda: bool(done.set()))
    looked = threading.Event()
    pump.put(looked.set)
    assert looked.wait(TIMEOUT)
    assert drawn == []
    clock.now = PAUSE
    assert done.wait(TIMEOUT)
    assert drawn == [PAUSE]
    done.clear()
    pump.draw_later(source)
    pump.draw_later(lambda: bool(done.set()))
    clock.now = 3 * PAUSE
    assert done.wait(TIMEOUT)
    assert drawn == [PAUSE, 3 * PAUSE]


def test_what_may_wait_longer_is_drawn_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    pump, soon, late = Pump(print), threading.Event(), threading.Event()
    pump.draw_later(lambda: bool(late.set()), 1.0)
    pump.draw_later(lambda: bool(soon.set()))
    clock.now = PAUSE
    assert soon.wait(TIMEOUT)
    assert not late.is_set()
    clock.now = 1.0
    assert late.wait(TIMEOUT)


def test_what_may_wait_gets_its_turn_beside_a_source_that_never_ends() -> None:
    pump, done = Pump(print), threading.Event()
    pump.draw(lambda: not done.is_set())
    pump.draw_later(lambda: bool(done.set()))
    assert done.wait(TIMEOUT)


def test_a_fault_is_told_and_ends_nothing() -> None:
    faults: list[Exception] = []
    pump, done = Pump(faults.append), threading.Event()

    def fail() -> bool:
        raise ValueError("no")

    pump.put(fail)
    # A source that is drawn from already stays in its turn, so these are two.
    pump.draw(lambda: fail())
    pump.draw_later(lambda: fail())
    pump.draw_later(lambda: bool(done.set()))
    assert done.wait(TIMEOUT)
    assert [type(fault) for fault in faults] == [ValueError] * 3
