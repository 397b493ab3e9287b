"""Sessions that start and stop as fast as they can, in a process of its own: the real engine, and no WhatsApp.

Arguments: a directory, for how many seconds, and ``gated``, or ``open`` for a gate that holds nobody up. It prints
what it did as JSON; Go, where it sees two entries at once that must not be, ends the process.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wasessionpool.drivers.neonize import engine as engine_module
from wasessionpool.drivers.neonize.binding import load_neonize
from wasessionpool.drivers.neonize.engine import Engine
from wasessionpool.drivers.neonize.wire import Answer, Over, Perform, Report, SendText, Start

STARTERS, SENDERS = 8, 2
PATIENCE = 30.0


class NoInbox:
    """Stands for a session's inbox, of which nothing is asked here."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        pass

    def close(self) -> None:
        pass


class OpenGate:
    """What the gate would be if all might enter at once."""

    class Window:
        def close(self) -> None:
            return

    def open_window(self, _limit: float) -> Window:
        return self.Window()

    @contextmanager
    def window(self, _limit: float) -> Iterator[None]:
        yield

    @contextmanager
    def call(self) -> Iterator[None]:
        yield


class Stress:
    """The engine under threads; each waits for the report that its own request leads to."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self.done: Counter[str] = Counter()
        self._directory = directory
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._awaited: dict[str | int, threading.Event] = {}
        self._engine = Engine(load_neonize(), self._take)

    def run(self) -> None:
        threads = [threading.Thread(target=self._start_and_stop, args=(number,)) for number in range(STARTERS)]
        threads += [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _take(self, report: Report) -> None:
        match report:
            case Over():
                self._awaited[report.session].set()
            case Answer():
                self._awaited[report.call].set()
                self._count("answers from Go" if report.failure and "session" not in report.failure.detail else "late")

    def _count(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def _start_and_stop(self, number: int) -> None:
        chance = random.Random(number)
        directory = self._directory / str(number)
        directory.mkdir()
        generation = 0
        while time.monotonic() < self._end:
            generation += 1
            name = f"{number}:main:{generation}"
            over = self._awaited[name] = threading.Event()
            self._engine.start(
                Start(
                    session=name,
                    database=str(directory / "device.db"),
                    inbox=str(directory / "inbox"),
                    inbox_max_bytes=1 << 20,
                    device_name="stress",
                )
            )
            if generation % 2:
                time.sleep(chance.uniform(0, 0.03))
                self._engine.stop(name)
                self._count("stops")
            assert over.wait(PATIENCE), f"{name} does not end"
            self._count("starts")

    def _send(self, number: int) -> None:
        call = number
        while time.monotonic() < self._end:
            live = [session.start.session for session in tuple(self._engine._live.values())]
            if not live:
                time.sleep(0)
                continue
            call += SENDERS
            answered = self._awaited[call] = threading.Event()
            request = SendText(to="79001234567@s.whatsapp.net", text="x")
            if do := self._engine.admit(Perform(call=call, session=live[call % len(live)], request=request)):
                do()
            assert answered.wait(PATIENCE), f"call {call} is not answered"


def _end_with(failure: threading.ExceptHookArgs) -> None:
    traceback.print_exception(failure.exc_value)
    os._exit(1)


def main(directory: str, seconds: str, gate: str) -> None:
    # Its opening would only thin out the starts.
    engine_module.InboxWriter = NoInbox  # type: ignore[assignment,misc]
    if gate == "open":
        engine_module.Gate = OpenGate  # type: ignore[assignment,misc]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stress = Stress(Path(directory), float(seconds))
    threading.excepthook = _end_with
    stress.run()
    print(json.dumps(stress.done), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
