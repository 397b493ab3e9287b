"""Which sessions are suspected of making their workers abort, and which have done it twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ...models import SessionKey

ABORTS = frozenset({-signal.SIGABRT, -signal.SIGSEGV})
"""How a process ends that its Go or C code gave up: never because somebody ended it."""

POISONOUS = 2


@dataclass(slots=True)
class _Suspect:
    share: int
    aborts: int = 0
    up_since: float | None = None


class Quarantine:
    """Finds the session that makes workers abort.

    An abort is a session's own where it was alone on the worker or the only one that was starting. Where nobody can
    tell, all of that worker are suspects, and share their next one with half as many: what is left in the end is
    alone. A suspect whose link held for ``reset_after`` seconds is none any more.
    """

    def __init__(self, reset_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._reset_after = reset_after
        self._clock = clock
        self._suspects: dict[SessionKey, _Suspect] = {}

    def share(self, key: SessionKey) -> int | None:
        """Return how many suspects at most may be on this one's worker; ``None``: it is no suspect."""
        suspect = self._suspect(key)
        return suspect.share if suspect is not None else None

    def link_up(self, key: SessionKey) -> None:
        if (suspect := self._suspect(key)) is not None and suspect.up_since is None:
            suspect.up_since = self._clock()

    def link_down(self, key: SessionKey) -> None:
        if (suspect := self._suspect(key)) is not None:
            suspect.up_since = None

    def forget(self, key: SessionKey) -> None:
        """The device has other keys from now on."""
        self._suspects.pop(key, None)

    def aborted(self, hosted: Collection[SessionKey], starting: Iterable[SessionKey]) -> frozenset[SessionKey]:
        """Judge the end of a worker by ``hosted`` sessions, some of them ``starting``; return those now poisonous."""
        starting = frozenset(starting)
        if len(culprits := starting if len(starting) == 1 else frozenset(hosted)) != 1:
            for key in hosted:
                self._suspect_of(key, max(1, len(hosted) // 2))
            return frozenset()
        [culprit] = culprits
        suspect = self._suspect_of(culprit, 1)
        suspect.aborts += 1
        return culprits if suspect.aborts >= POISONOUS else frozenset()

    def _suspect_of(self, key: SessionKey, share: int) -> _Suspect:
        suspect = self._suspect(key)
        if suspect is None:
            suspect = self._suspects[key] = _Suspect(share)
        suspect.share = min(suspect.share, share)
        return suspect

    def _suspect(self, key: SessionKey) -> _Suspect | None:
        suspect = self._suspects.get(key)
        if suspect is None or suspect.up_since is None or self._clock() - suspect.up_since < self._reset_after:
            return suspect
        del self._suspects[key]
        return None
