"""How a command runs and how it ends: signals, errors, exit codes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from ..errors import WhatsAppPoolError

FAILED, WRONG_USAGE = 1, 2
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class CommandFailed(Exception):
    """The command could not do what it was asked; the message says why, and what to do."""


class Interrupted(Exception):
    """SIGINT or SIGTERM came, and everything has been ended."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted")
        self.number = number


@contextmanager
def reported() -> Iterator[None]:
    """Turn whatever the command raises into one line on stderr and an exit code."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001 - the last place before the user
        cause = first_of(error)
        if isinstance(cause, BrokenPipeError):
            raise typer.Exit(FAILED) from None
        end(explain(cause), 128 + cause.number if isinstance(cause, Interrupted) else FAILED)


@contextmanager
def usage() -> Iterator[None]:
    """Take the errors of this library as wrong usage: what was typed, or set in the environment, cannot be right."""
    try:
        yield
    except WhatsAppPoolError as error:
        end(error.message, WRONG_USAGE)


def end(message: str, code: int) -> NoReturn:
    """End the command with one line on stderr."""
    typer.echo(f"wasessionpool: {printable(message)}", err=True)
    raise typer.Exit(code) from None


def explain(error: BaseException) -> str:
    """Say in one line what an error means for the user."""
    match error:
        case WhatsAppPoolError() | CommandFailed() | Interrupted():
            return str(error)
        case TimeoutError():
            return str(error) or "it took too long"
        case OSError(filename=str() | bytes() as name):
            return f"{os.fsdecode(name)}: {error.strerror}"
        case OSError():
            return error.strerror or str(error)
        case _:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return f"defect in {place.filename}:{place.lineno}: {type(error).__name__}: {error}"


def first_of(error: BaseException) -> BaseException:
    """Return the error inside the groups that structured concurrency wraps around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def printable(text: str) -> str:
    """Return ``text`` on one line, without what a terminal would take as a command."""
    return "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))


def run(command: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``command`` to its end, or until SIGINT or SIGTERM: then it is cancelled, ended cleanly, and ``Interrupted``.

    A second signal while it ends kills.
    """
    asyncio.run(_until_signal(command))


async def _until_signal(command: Callable[[], Coroutine[Any, Any, None]]) -> None:
    received: list[int] = []
    task = asyncio.current_task()

    def interrupt(number: int) -> None:
        received.append(number)
        # Not by a cancel scope: that would cut off the tasks of a pool, which is to stop its sessions in order.
        if task is not None:
            task.cancel()

    on_first_signal(interrupt)
    try:
        await command()
    except (Exception, asyncio.CancelledError):
        if not received:
            raise
    if received:
        raise Interrupted(received[0])


def on_first_signal(act: Callable[[int], None]) -> None:
    """Have the running loop ``act`` on the first SIGINT or SIGTERM; a second one kills."""
    loop = asyncio.get_running_loop()

    def take(number: int) -> None:
        for each in SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        act(number)

    for each in SIGNALS:
        loop.add_signal_handler(each, take, each)


def log_to_stderr() -> None:
    """Show the library's warnings, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        because = f": {type(error).__name__}: {error}" if error else ""
        return printable(f"{record.levelname.lower()}: {record.getMessage()}{because}")
