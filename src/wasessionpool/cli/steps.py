"""Numbered steps of a demonstration: each has a deadline, is checked, and says what was seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

from ..events import BaseEvent, Event
from .ending import CommandFailed, explain, first_of
from .output import Output

E = TypeVar("E", bound=BaseEvent)


class Unseen(Exception):
    """A step did not show what it has to."""


def check(condition: bool, otherwise: str) -> None:
    """Raise ``Unseen`` where ``condition`` does not hold."""
    if not condition:
        raise Unseen(otherwise)


class Steps:
    """Runs steps one after another and prints them; the first that fails ends the command."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.count = 0
        self._began = anyio.current_time()
        self._said: list[str] = []

    @asynccontextmanager
    async def step(self, title: str, *, limit: float) -> AsyncIterator[None]:
        """Run the body as the next step, at most ``limit`` seconds; raises ``CommandFailed`` where it fails."""
        self.count += 1
        self._said = []
        began = anyio.current_time()
        self.output.line(f"{self.count}. {title}", style="bold")
        failure = f"not within {limit:g} s"
        try:
            with anyio.move_on_after(limit) as scope:
                yield
            if not scope.cancelled_caught:
                self._done(title, anyio.current_time() - began)
                return
        except Exception as error:  # noqa: BLE001 - whatever it is, this step failed
            cause = first_of(error)
            failure = str(cause) if isinstance(cause, Unseen) else explain(cause)
        self._report(title, anyio.current_time() - began, failure)
        self._total(ok=False)
        self.output.line(f"   ✗ {failure}", style="red")
        raise CommandFailed(f"step {self.count} failed ({title}): {failure}")

    def say(self, text: str) -> None:
        """Tell what was seen."""
        self._said.append(text)
        self.output.line(f"     {text}")

    def finish(self) -> None:
        """Print that all steps were seen."""
        seconds = self._total(ok=True)
        self.output.line(f"All {self.count} steps were seen, in {seconds:.1f} s.", style="bold green")

    def _done(self, title: str, seconds: float) -> None:
        self._report(title, seconds, None)
        self.output.line(f"   ✓ {seconds:.1f} s", style="green")

    def _total(self, *, ok: bool) -> float:
        seconds = anyio.current_time() - self._began
        self.output.json({"done": True, "ok": ok, "steps": self.count, "seconds": round(seconds, 2)})
        return seconds

    def _report(self, title: str, seconds: float, error: str | None) -> None:
        record = {"step": self.count, "title": title, "ok": error is None, "seconds": round(seconds, 2)}
        self.output.json({**record, "seen": self._said, **({} if error is None else {"error": error})})


class Watch:
    """Every event of the pool, kept to be checked and waited for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrived = anyio.Event()

    def take(self, event: Event) -> None:
        self.events.append(event)
        self._arrived.set()
        self._arrived = anyio.Event()

    async def until(self, kind: type[E], wanted: Callable[[E], bool], *, since: int = 0) -> E:
        """Return the first event of a ``kind`` that is ``wanted``, after the first ``since``; it has no deadline."""
        while True:
            for event in self.events[since:]:
                if isinstance(event, kind) and wanted(event):
                    return event
            await self._arrived.wait()
