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
    SIGTERM; in each case but the first with one line on stderr.
    """
    received = [signal.SIGINT]

    def interrupt(number: int, _frame: object) -> NoReturn:
        received[:] = [signal.Signals(number)]
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    code: int | str | None = 1
    try:
        if missing := [name for name in ("typer", "rich") if find_spec(name) is None]:
            raise SystemExit(_say(f"{' and '.join(missing)} not found: pip install 'wasessionpool[cli]'", 1))
        from .app import app
        from .ending import log_to_stderr

        log_to_stderr()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError):
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        app(prog_name="wasessionpool")
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = _say("interrupted", 128 + received[0])
    try:
        sys.stdout.flush()
    except OSError:
        # What is still in the buffer has nowhere to go; the interpreter would try again, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = code or 1
    sys.exit(code)


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"wasessionpool: {message}\n")
    return code
