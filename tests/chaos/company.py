"""One company: what the server and this process know of its session, and what the application says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import anyio

from wasessionpool.testing import Contact, Phone

IN_HAND: Final = 5.0
"""Seconds that neonize may have a message in hand which it has acknowledged, on a machine that is busy."""


@dataclass(eq=False)
class Company:
    """A company, its phone, the contact that it speaks with, and what becomes of what they write.

    ``expected`` is the status that its last fault calls for. ``cuts`` are the times, from and to, in which neonize was
    cut short with what it had acknowledged, by the death of its worker. ``void`` are ids of messages that nobody has to
    have: their device was unlinked before it took them.
    """

    id: str
    phone: Phone
    contact: Contact
    expected: str = "connected"
    reason: str | None = None
    status: str = ""
    said_reason: str | None = None
    cuts: list[tuple[float, float]] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    void: set[str] = field(default_factory=set)
    struck: anyio.Lock = field(default_factory=anyio.Lock)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def tell(self, status: str, reason: str | None) -> None:
        """Take what the application says."""
        self.status, self.said_reason = status, reason
        self._changed.set()
        self._changed = anyio.Event()

    def cut_short(self, seconds: float) -> None:
        """Note that within so many seconds neonize is; what it had a moment before may be lost, too."""
        now = datetime.now(UTC).timestamp()
        self.cuts.append((now - IN_HAND, now + seconds))

    @property
    def up(self) -> bool:
        """Whether both sides take the session for connected."""
        return self.status == "connected" and self.phone.connected

    @property
    def as_expected(self) -> bool:
        if self.expected == "connected":
            return self.up
        return (self.status, self.said_reason) == (self.expected, self.reason) and not self.phone.connected

    async def wait_status(self, status: str, reason: str | None, timeout: float) -> bool:
        """Wait until the application tells this status; return whether it did."""
        with anyio.move_on_after(timeout):
            while (self.status, self.said_reason) != (status, reason):
                await self._changed.wait()
            return True
        return False

    async def write(self, number: int) -> None:
        """Let the contact write. Without a linked device nobody but the phone gets it."""
        text = f"in {self.id} {number}"
        linked = bool(self.phone.devices)
        message_id = await self.contact.send(self.phone.number, text)
        if linked:
            self.written[message_id] = text

    async def unlink(self) -> None:
        """Remove the linked devices on the phone; what they have not taken is void."""
        self.void |= self.untaken()
        await self.phone.unlink()

    def untaken(self) -> set[str]:
        """Ids of messages that linked devices have not acknowledged."""
        return {
            stanza.text("id")
            for companion in self.phone._account.companions.values()
            for stanza in companion.pending
            if stanza.tag == "message"
        }
