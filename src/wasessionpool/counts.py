"""What happened to a session in numbers, and how long things took."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import add, sub
from typing import Any, Self

from .models import BOUNDS, DisconnectReason, Histogram


class Sums:
    """A dataclass of numbers and counters, which are added and taken off one by one."""

    __slots__ = ()

    def __add__(self, other: Self) -> Self:
        return self._with(other, add)

    def __sub__(self, earlier: Self) -> Self:
        return self._with(earlier, sub)

    def _with(self, other: Self, operator: Callable[[Any, Any], Any]) -> Self:
        names = [each.name for each in fields(self)]  # type: ignore[arg-type]
        return type(self)(**{name: operator(getattr(self, name), getattr(other, name)) for name in names})


@dataclass(slots=True)
class Counts(Sums):
    """What happened to a session since the pool opened. What is counted is counted in one place, and only rises."""

    messages_sent: int = 0
    messages_received: int = 0
    sends_failed: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    receipts: Counter[str] = field(default_factory=Counter)
    reconnects: Counter[DisconnectReason] = field(default_factory=Counter)
    blips: int = 0
    presences_dropped: int = 0
    receipts_dropped: int = 0
    notices_dropped: int = 0
    messages_expired: int = 0
    log_lines_dropped: int = 0
    ignored_signals: int = 0
    connected_seconds: float = 0.0
    false_connected_seconds: float = 0.0


class Distribution:
    """How long something took, each time."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long this time."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def histogram(self) -> Histogram:
        """Return what was observed until now."""
        return Histogram(counts=tuple(self._counts), sum=self._sum, count=sum(self._counts))
