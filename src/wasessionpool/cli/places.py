"""Where a command finds sessions: in a session path of this host, or at a service that runs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from ..messages import OutgoingMessage
from ..models import DisconnectReason, SentMessage, SessionKey, Status
from ..qr import QRCode
from .ending import CommandFailed

Ending = Literal["disconnect", "logout", "delete"]


@dataclass(frozen=True)
class Sight:
    """What is seen of a session: ``label`` says how it stands, ``described`` all there is, for programs."""

    key: SessionKey
    label: str
    linked: bool
    phone_number: str | None
    push_name: str | None
    described: dict[str, Any] = field(repr=False)
    created_at: datetime | None = None
    connected_at: datetime | None = None
    restricted_until: datetime | None = None
    desired: str | None = None


@dataclass(frozen=True)
class Linked:
    """How a pairing has ended well."""

    phone_number: str | None
    jid: str | None


class Offers(Protocol):
    """What is shown while a phone is awaited."""

    def qr(self, code: QRCode) -> None: ...
    def typed_code(self, code: str, expires_at: datetime | None) -> None: ...
    def status(self, status: Status, reason: DisconnectReason | None) -> None: ...


class Place(Protocol):
    """What the commands need of where the sessions are; each call raises what ends the command."""

    def command(self, name: str, key: SessionKey) -> str:
        """Return a command line about a session of this place."""
        ...

    async def sights(self) -> list[Sight]: ...
    def nothing(self) -> str:
        """Say that there are no sessions."""
        ...

    async def sight(self, key: SessionKey) -> Sight: ...
    async def explanation(self, key: SessionKey) -> tuple[Sight, str]: ...
    async def send(self, key: SessionKey, to: str, message: OutgoingMessage, *, timeout: float) -> SentMessage: ...
    async def leave(self, key: SessionKey, ending: Ending) -> Sight:
        """End the session, and return how it was before."""
        ...

    async def pair(self, key: SessionKey, *, phone_number: str | None, timeout: float, offers: Offers) -> Linked:
        """Show what the phone has to confirm until it is connected, at most ``timeout`` seconds."""
        ...


def still_waiting(
    key: SessionKey, status: Status, timeout: float, *, shown: str | None, last_error: str | None
) -> CommandFailed:
    """Return what ends a pairing whose time is over; ``shown`` is what waits on the phone."""
    if shown is not None:
        what = "scanned the QR code" if shown == "qr" else "typed in the code"
        return CommandFailed(f"nobody {what} within {timeout:g} s; run this command again")
    because = f" ({last_error})" if last_error else ""
    return CommandFailed(f"session {key} is still {status} after {timeout:g} s{because}")
