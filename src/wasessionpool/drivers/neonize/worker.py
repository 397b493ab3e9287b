"""A worker process: hosts sessions for the pool at the other end of its socket, until that end is gone."""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from ...errors import ConfigurationError
from .binding import load_neonize
from .engine import Engine
from .vitals import measure
from .wire import (
    COMMANDS,
    Answer,
    Command,
    Credit,
    Failure,
    FrameDecoder,
    FrameError,
    Hello,
    Log,
    Perform,
    Quit,
    Refused,
    Report,
    Start,
    Stop,
    UnknownFrame,
)
from .wire import encode as encode_frame

QUIT_TIMEOUT = 5.0
CHUNK = 64 * 1024
CALL_THREADS = 512
"""Enough for every session to hang with all its calls; a thread is made when it is needed."""

DESCRIPTORS = 10_240
"""What is asked for where the system names no limit: macOS allows no more."""


PARTING = 3.0
"""Seconds for what was acknowledged to be stored, once the pool is gone; the next one wants the databases."""


class Channel:
    """The worker's end of the socket pair."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._sending = threading.Lock()

    def send(self, report: Report) -> None:
        """Send a report, from any thread; raises ``FrameError`` for one that is too long.

        That the pool is gone is for the one who receives.
        """
        frame = encode_frame(report)
        with suppress(OSError), self._sending:
            self._socket.sendall(frame)

    def receive(self) -> bytes:
        """Return what comes; nothing: the pool is gone."""
        try:
            return self._socket.recv(CHUNK)
        except OSError:
            return b""


class Readers:
    """The threads that read commands, one at a time: it does the call that it has read while another reads on.

    So a call is begun by the thread that was woken for it, and one that hangs keeps none but its own thread.
    """

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self._channel = channel
        self._commands = self._read()
        self._threads = 1
        self._resting: list[threading.Lock] = []

    def run(self) -> None:
        """Read, and never return."""
        self._serve(threading.Lock())

    def _serve(self, turn: threading.Lock) -> None:
        while True:
            turn.acquire()
            call = self._next_call()
            # The last to rest is the first to read again: its memory is still in the processor's caches.
            self._resting.pop().release()
            call()
            self._resting.append(turn)

    def _next_call(self) -> Callable[[], None]:
        """Return the next call that was admitted; another thread rests then, to read on."""
        try:
            for command in self._commands:
                if not isinstance(command, Perform):
                    _obey(self._engine, command)
                elif (reason := self._lacks_reader()) is not None:
                    self._channel.send(Answer(call=command.call, failure=Failure(kind="failed", detail=reason)))
                elif call := self._engine.admit(command):
                    return call
        except FrameError as error:
            self._channel.send(Refused(kind="driver", detail=str(error)))
        except Exception as error:  # noqa: BLE001 - a worker that obeys no more must not go on
            self._channel.send(Refused(kind="driver", detail=f"{type(error).__name__}: {error}"))
        os._exit(1)

    def _lacks_reader(self) -> str | None:
        """Say why no other thread could read on, if that is so."""
        if self._resting:
            return None
        if self._threads == CALL_THREADS:
            return "too many calls hang"
        turn = threading.Lock()
        turn.acquire()
        try:
            threading.Thread(target=self._serve, args=(turn,), name="reader", daemon=True).start()
        except RuntimeError as error:
            return f"the worker is at a limit: {error}"
        self._threads += 1
        self._resting.append(turn)
        return None

    def _read(self) -> Iterator[Command]:
        decoder = FrameDecoder[Command](COMMANDS)
        while True:
            data = self._channel.receive()
            if not data:
                self._engine.part(PARTING)
                os._exit(0)
            while True:
                try:
                    yield from decoder.feed(data)
                    break
                except UnknownFrame as error:
                    self._refuse(error)
                    data = b""

    def _refuse(self, error: UnknownFrame) -> None:
        if error.call is None:
            self._channel.send(Log(level=logging.ERROR, text=str(error)))
        else:
            self._channel.send(Answer(call=error.call, failure=Failure(kind="failed", detail=str(error))))


def main(*, check_proxy: Callable[[str | None], None] | None = None) -> None:
    """Serve the pool; ends the process and never returns.

    The command line ends with the seconds between two reports of the process's vitals and the socket's descriptor.
    ``check_proxy`` may refuse a session's proxy, or its having none, with ``ValueError``.
    """
    os.umask(0o077)
    faulthandler.disable()
    # A group, for a terminal's signals; not a session, to which Linux gives a share of the processors of its own: on a
    # busy machine, a worker that the application wakes would then wait for its turn at each send.
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Sent to a whole group, they are meant for the application, which then stops its sessions in order.
        signal.signal(number, signal.SIG_IGN)
    _raise_descriptor_limit()
    channel = Channel(int(sys.argv[-1]))
    try:
        binding = load_neonize()
    except ConfigurationError as error:
        channel.send(Refused(kind="configuration", detail=error.message))
        os._exit(1)
    except Exception as error:  # noqa: BLE001 - the pool is told, whatever it is
        channel.send(Refused(kind="driver", detail=f"{type(error).__name__}: {error}"))
        os._exit(1)
    for descriptor in (1, 2):
        # A pool that does not read what is printed must not make Go wait. It has to be after Go has looked at them:
        # of those that do not block from the start, it waits for each to have room.
        os.set_blocking(descriptor, False)
    engine = Engine(binding, channel.send, check_proxy=check_proxy)
    threading.Thread(target=_report_vitals, args=(channel, float(sys.argv[-2])), name="vitals", daemon=True).start()
    # Last, so that a thread that cannot be started shows as a worker that died at its start.
    channel.send(Hello(neonize=binding.version))
    Readers(engine, channel).run()


def _report_vitals(channel: Channel, interval: float) -> None:
    vitals = measure()
    while True:
        channel.send(vitals)
        time.sleep(interval)
        try:
            vitals = measure()
        except OSError:
            # There is no descriptor left to measure with.
            vitals = vitals.model_copy(update={"descriptors": vitals.descriptor_limit})


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft not in (wanted, resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _obey(engine: Engine, command: Start | Stop | Credit | Quit) -> None:
    match command:
        case Start():
            engine.start(command)
        case Stop():
            engine.stop(command.session)
        case Credit():
            engine.credit(command)
        case Quit():
            engine.stop_all(QUIT_TIMEOUT)
            os._exit(0)


if __name__ == "__main__":
    main()
