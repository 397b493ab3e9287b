"""Whom a session has met lately."""

from __future__ import annotations

from .models import Contact

KEPT = 1000
"""People that are remembered, those met last; the others are new again when they write."""


class Contacts:
    """Remembers names and identities as they were seen in messages, as long as the pool is open."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Contact, str | None]] = {}

    def meet(self, contact: Contact, name: str | None) -> tuple[Contact, str | None] | None:
        """Return what is known of someone now, where it is more than before, or something else."""
        before, called = self._known.pop(contact.id, (None, None))
        if before is not None:
            contact = contact.model_copy(
                update={
                    "phone_number": contact.phone_number or before.phone_number,
                    "lid": contact.lid or before.lid,
                }
            )
        met = self._known[contact.id] = contact, name or called
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        return None if met == (before, called) else met
