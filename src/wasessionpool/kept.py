"""Where on a shelf lies what is kept of a session."""

from __future__ import annotations

from typing import Literal

from .abc import Shelf
from .models import SessionKey

Kind = Literal["pace", "recipient", "send", "statistics"]
KINDS: tuple[Kind, ...] = ("pace", "recipient", "send", "statistics")


def place(kind: Kind, key: SessionKey) -> str:
    """Return what the names of all entries of this kind begin with."""
    return f"{kind}/{key.company_id}/{key.device}/"


async def forget(shelf: Shelf, key: SessionKey, *kinds: Kind) -> None:
    """Remove what a shelf has of a session, or what it has of these kinds; raises ``StorageError``."""
    for kind in kinds or KINDS:
        for name in [name async for name, _ in shelf.scan(place(kind, key))]:
            await shelf.delete(name)
