"""What a command prints: text for people, or JSON for programs, one object a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from ..qr import QRCode
from .ending import printable

if TYPE_CHECKING:
    from rich.console import Console

QR_STYLE = "bright_white on black"
"""Dark modules on a light ground, whatever the terminal's own colours are."""


class Output:
    """Standard output: colours and what moves only where it is a ``terminal``."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.terminal = not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        return Console(markup=False, highlight=False, emoji=False)

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line for people; programs do not get it."""
        if self.terminal:
            self.console.print(text, style=style, soft_wrap=True)
        elif not self.as_json:
            typer.echo(text)

    def aside(self, text: str) -> None:
        """Print a line for people that is not the result, so that a shell can take that: ``$(wasessionpool …)``."""
        if not self.as_json:
            typer.echo(text, err=True)

    def json(self, value: Any) -> None:
        """Print a line for programs; people do not get it."""
        if self.as_json:
            typer.echo(json.dumps(value, separators=(",", ":")))

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Show that something is under way, in a terminal."""
        return self.console.status(f"{what} …") if self.terminal else nullcontext()

    def qr(self, code: QRCode) -> None:
        """Draw a pairing code for people."""
        drawn = code.terminal().rstrip("\n")
        if self.terminal:
            if self.console.width < (width := len(drawn.splitlines()[0])):
                self.line(f"this window is too narrow for the code: make it at least {width} columns wide")
            self.console.print(drawn, style=QR_STYLE, no_wrap=True, crop=False, overflow="ignore")
        else:
            self.line(drawn)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows for people, in columns."""
        rows = [[printable(cell) or "-" for cell in row] for row in rows]
        if self.terminal:
            from rich.table import Table

            table = Table(*header, box=None, pad_edge=False, header_style="bold")
            for row in rows:
                table.add_row(*row)
            self.console.print(table)
            return
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, *rows):
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def properties(self, rows: Mapping[str, str]) -> None:
        """Print names and values for people, one a line."""
        width = max(map(len, rows))
        for name, value in rows.items():
            self.line(f"{name.ljust(width)}  {printable(value)}")
