"""How long to wait before an attempt."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff: ``base`` × 2ⁿ seconds up to ``cap``, spread by ± ``jitter`` (a share of the delay)."""

    base: float = 5.0
    cap: float = 300.0
    jitter: float = 0.2
    random: Callable[[], float] = random.random

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait before ``attempt`` (the first is 1)."""
        exponent = min(attempt - 1, 62)
        delay = min(self.cap, self.base * 2.0**exponent)
        return min(self.cap, delay * (1 + self.jitter * (2 * self.random() - 1)))
