"""The command line; it needs the extra ``cli``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import NoReturn


def main() -> NoReturn:
    """Run the command that ``sys.argv`` names and end the process.

    With 0 where it is done, 1 where it failed, 2 for wrong usage, and 128 and the signal's number for SIGINT and
    SIGTERM; in each case but the first with one line on stderr. A service is done when a signal comes.
    """
    _open_what_is_closed()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    code: int | str | None = 1
    try:
        if missing := [name for name in ("typer", "rich", "httpx") if find_spec(name) is None]:
            raise SystemExit(_say(f"{' and '.join(missing)} not found: pip install 'wasessionpool[cli]'", 1))
        from .app import app
        from .ending import log_to_stderr

        log_to_stderr()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError):
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        app(prog_name="wasessionpool")
    except _Interrupted as end:
        code = 0 if sys.argv[1:2] == ["serve"] else _say("interrupted", 128 + end.number)
    except SystemExit as end:
        code = end.code
    try:
        sys.stdout.flush()
    except OSError:
        # What is still in the buffer has nowhere to go; the interpreter would try again, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = code or 1
    sys.exit(code)


class _Interrupted(SystemExit):
    """A signal came before the command took them over; by this kind of exception no library is kept from ending."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def _interrupt(number: int, _frame: object) -> NoReturn:
    raise _Interrupted(number)


def _open_what_is_closed() -> None:
    """Lead standard streams that are closed to nowhere: else the next file or socket would get their descriptor."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            # It is the lowest that is free, so the one that was asked for.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115 - for the whole process


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"wasessionpool: {message}\n")
    return code
