"""The restriction by which WhatsApp lets an account answer, but write to no strangers (server error 463)."""

from __future__ import annotations

import logging
from datetime import timedelta

from .abc import Clock
from .addresses import Address
from .errors import AccountRestricted, RecipientRestricted, WhatsAppPoolError
from .events import RestrictedEvent
from .models import ReachOut, SentMessage
from .standing import Standing

logger = logging.getLogger(__name__)

TOGETHER = timedelta(hours=1)
"""Within this, the refusals of two strangers mean the account, not the recipients."""
TRY_AFTER = timedelta(hours=6)
"""WhatsApp does not say when it ends: each time after this one message to a stranger is let through."""


class Restriction:
    """What WhatsApp's refusals of messages to strangers mean for the next; it is kept in the session's record."""

    def __init__(self, standing: Standing, clock: Clock) -> None:
        self.unsaved = False
        self._standing = standing
        self._clock = clock
        self._untold = False

    def check(self) -> None:
        """Raise ``AccountRestricted`` where no message to a stranger may be sent now."""
        now = self._clock.now()
        held = self._standing.record.restriction(now)
        if held is None:
            return
        # A clock that was ahead at that time must not hold it for as long as it was.
        since = now - (held.tried_at or held.refused_at)
        if held.until is not None or timedelta(0) <= since < TRY_AFTER:
            raise self._error(held)

    def admit(self) -> None:
        """The same, for a message that is sent now: under a restriction it is the one to find out by."""
        self.check()
        held = self._standing.record.restriction(self._clock.now())
        if held is not None:
            self._keep(held.model_copy(update={"tried_at": self._clock.now()}))

    def weigh(self, to: Address, outcome: SentMessage | WhatsAppPoolError) -> SentMessage | WhatsAppPoolError:
        """Take note of what became of a message to a stranger, and return what its caller is to be told."""
        now = self._clock.now()
        last, held = self._standing.record.reach_out, self._standing.record.restriction(now)
        if isinstance(outcome, SentMessage) and held is not None:
            self._keep(None)
            logger.info("session %s: WhatsApp takes messages to strangers again", self._standing.record.key)
        elif isinstance(outcome, AccountRestricted):
            return self._restrict(ReachOut(recipient=str(to), refused_at=now, restricted=True, until=outcome.until))
        elif isinstance(outcome, RecipientRestricted):
            if held is not None:
                return self._error(held)
            refused = ReachOut(recipient=str(to), refused_at=now)
            if last is None or last.recipient == refused.recipient or now - last.refused_at > TOGETHER:
                self._keep(refused)
            else:
                return self._restrict(refused.model_copy(update={"restricted": True}))
        return outcome

    def tell(self) -> None:
        """Tell a restriction that is new."""
        if self._untold and (held := self._standing.record.reach_out) is not None:
            self._untold = False
            self._standing.emit(RestrictedEvent, kind="reach_out", until=held.until)

    def _restrict(self, restriction: ReachOut) -> AccountRestricted:
        self._untold = self._standing.record.restriction(self._clock.now()) is None
        self._keep(restriction)
        return self._error(restriction)

    def _keep(self, reach_out: ReachOut | None) -> None:
        self._standing.update(reach_out=reach_out)
        self.unsaved = True

    def _error(self, held: ReachOut) -> AccountRestricted:
        ends = f"until {held.until:%Y-%m-%d %H:%M} UTC" if held.until else "WhatsApp does not say until when"
        return AccountRestricted(
            f"session {self._standing.record.key}: WhatsApp lets it write to no strangers ({ends}); answers go out",
            until=held.until,
        )
