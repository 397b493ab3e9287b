"""How many messages a company may send in a window, in all and to one recipient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self


@dataclass(frozen=True)
class Budgets:
    """At most ``limit`` messages a company, and ``recipient_limit`` to one recipient, in any ``window`` seconds.

    ``overrides`` gives companies another limit than ``limit``, by their ids.
    """

    limit: int = 30
    recipient_limit: int = 30
    window: float = 60.0
    overrides: Mapping[str, int] = field(default_factory=dict)

    def of(self, company_id: str) -> tuple[int, int]:
        """Return what a company may send in a window: in all, and to one recipient."""
        return self.overrides.get(company_id, self.limit), self.recipient_limit

    def part(self, share: float) -> Self:
        """Return this share of every budget, at least one message each."""
        return replace(
            self,
            limit=_part(self.limit, share),
            recipient_limit=_part(self.recipient_limit, share),
            overrides={company: _part(limit, share) for company, limit in self.overrides.items()},
        )


def _part(limit: int, share: float) -> int:
    return max(1, math.floor(limit * share))
