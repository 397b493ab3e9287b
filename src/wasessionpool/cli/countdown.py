"""A pairing code in the terminal, redrawn in place, with the seconds that it still lives."""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ..qr import QRCode
from .output import QR_STYLE


class Countdown:
    """What is seen while a phone is awaited; it counts by itself, and leaves nothing behind."""

    def __init__(self, console: Console, instruction: str) -> None:
        self._instruction = instruction
        self._status = "connecting …"
        self._code: tuple[Text, datetime] | None = None
        self._live = Live(get_renderable=self._render, console=console, transient=True, vertical_overflow="visible")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, code: QRCode) -> None:
        """Draw a code instead of the last one."""
        drawn = Text(code.terminal().rstrip("\n"), style=QR_STYLE, no_wrap=True, overflow="ignore")
        self._code = drawn, code.expires_at
        self._live.refresh()

    def say(self, status: str) -> None:
        """Show how the session stands, instead of a code."""
        self._status, self._code = status, None
        self._live.refresh()

    def _render(self) -> RenderableType:
        if self._code is None:
            return Text(self._status)
        drawn, expires_at = self._code
        left = max(0, round((expires_at - datetime.now(UTC)).total_seconds()))
        return Group(drawn, Text(f"{self._instruction}: {left} s left"))
