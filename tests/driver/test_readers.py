"""The threads of a worker that read commands: a call that hangs keeps none of the others."""

from __future__ import annotations

import queue
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import cast

import pytest

from wasessionpool.drivers.neonize import worker
from wasessionpool.drivers.neonize.engine import Engine
from wasessionpool.drivers.neonize.wire import REPORTS, Answer, FrameDecoder, Perform, Report, SendText, encode
from wasessionpool.drivers.neonize.worker import Channel, Readers

from .conftest import ThreadLimit


class Application:
    """The application's end, and in place of the engine what does its calls: each ends when it is told to."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(10)
        self.begun: queue.Queue[tuple[int, int]] = queue.Queue()
        self.ends: dict[int, threading.Event] = defaultdict(threading.Event)
        readers = Readers(cast("Engine", self), Channel(theirs.detach()))
        threading.Thread(target=readers.run, daemon=True).start()

    def admit(self, call: Perform) -> Callable[[], None]:
        def run() -> None:
            self.begun.put((call.call, threading.get_ident()))
            self.ends[call.call].wait(10)

        return run

    def ask(self, *numbers: int) -> None:
        request = SendText(to="79000000000@s.whatsapp.net", text="x")
        frames = (encode(Perform(call=number, session="s", request=request)) for number in numbers)
        self.socket.sendall(b"".join(frames))


_forever: list[Application] = []
"""A worker ends with its process, here that of the tests, when its socket is closed; so none is."""


@pytest.fixture
def application() -> Application:
    _forever.append(Application())
    return _forever[-1]


def test_calls_that_hang_do_not_keep_the_next(application: Application) -> None:
    application.ask(1, 2)
    application.ask(3)
    begun = dict(application.begun.get(timeout=10) for _ in range(3))
    assert begun.keys() == {1, 2, 3}
    assert len(set(begun.values())) == 3


def test_threads_are_used_again(application: Application) -> None:
    threads = set()
    for number in range(50):
        application.ends[number].set()
        application.ask(number)
        threads.add(application.begun.get(timeout=10)[1])
    assert len(threads) < 25


def test_a_call_too_many_is_refused(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "CALL_THREADS", 3)
    application.ask(1, 2, 3)
    assert {application.begun.get(timeout=10)[0] for _ in range(2)} == {1, 2}
    [answer] = FrameDecoder[Report](REPORTS).feed(application.socket.recv(1000))
    assert isinstance(answer, Answer)
    assert answer.failure is not None
    assert (answer.call, answer.failure.detail) == (3, "too many calls hang")


def test_a_call_for_which_no_thread_is_left_to_read_on_is_refused_and_the_reading_goes_on(
    application: Application, thread_limit: ThreadLimit
) -> None:
    application.ask(1)
    assert application.begun.get(timeout=10)[0] == 1
    thread_limit.refuses = lambda _: True
    decoder = FrameDecoder[Report](REPORTS)
    for number in (2, 3):
        application.ask(number)
        [answer] = decoder.feed(application.socket.recv(1000))
        assert isinstance(answer, Answer)
        assert answer.failure is not None
        assert (answer.call, answer.failure.detail) == (number, "the worker is at a limit: can't start new thread")
    thread_limit.refuses = lambda _: False
    application.ask(4)
    assert application.begun.get(timeout=10)[0] == 4
