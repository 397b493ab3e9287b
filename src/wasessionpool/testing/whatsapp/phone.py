"""A phone with an account, as a test holds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from wasessionpool.testing.whatsapp.author import Author
from wasessionpool.testing.whatsapp.connection import Connection
from wasessionpool.testing.whatsapp.device_lists import announce_device
from wasessionpool.testing.whatsapp.fault_calls import FaultCalls
from wasessionpool.testing.whatsapp.faults import Faults
from wasessionpool.testing.whatsapp.history import share_history
from wasessionpool.testing.whatsapp.link_code import link_request
from wasessionpool.testing.whatsapp.messages import ReceivedMessage
from wasessionpool.testing.whatsapp.network import Account, Companion
from wasessionpool.testing.whatsapp.pairing import scan_target
from wasessionpool.testing.whatsapp.stanzas import DEVICE_REMOVED

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LinkedDevice:
    """A device linked to a phone: its number, the name it was paired with, and how it stands."""

    device: int
    os: str
    connected: bool
    logins: int


class Phone(Author, FaultCalls):
    """The primary device of an account: it links other devices, sees what they send, and can take the link away."""

    @property
    def devices(self) -> tuple[LinkedDevice, ...]:
        """The linked devices, oldest first."""
        return tuple(
            LinkedDevice(companion.device, companion.os, companion.connection is not None, companion.logins)
            for companion in self._account.companions.values()
        )

    @property
    def connected(self) -> bool:
        """Whether any linked device is logged in now."""
        return bool(self._account.connections())

    @property
    def logins(self) -> int:
        """How often a linked device has logged in, those since unlinked too."""
        return self._account.logins

    @property
    def refused_logins(self) -> int:
        """How often a device was told at its login that it may not, by `fail_login` or since it is unlinked."""
        return self._account.refused_logins

    @property
    def overlapping_logins(self) -> int:
        """How often a linked device logged in while it held another link, which neither end had begun to close."""
        return self._account.overlapping_logins

    @property
    def copies(self) -> tuple[ReceivedMessage, ...]:
        """Copies of everything that linked devices sent, in order."""
        return self._account.copies.all

    @property
    def undelivered(self) -> int:
        """How many stanzas linked devices have not acknowledged, those queued for a device that is offline too."""
        return sum(len(companion.pending) for companion in self._account.companions.values())

    async def scan(self, qr: Any, timeout: float = 10.0) -> LinkedDevice:
        """Scan a QR, given as its text or as anything with a `text`, and return the device now linked.

        The device has then proven its identity and been told to log in. Raises PairingError for a code that is
        malformed, unknown, used or expired, and TimeoutError when the device does not answer.
        """
        pairing, code = scan_target(self._network, qr if isinstance(qr, str) else qr.text)
        return await self._link(pairing.complete, code.secret, timeout)

    async def enter_code(self, code: str, timeout: float = 10.0) -> LinkedDevice:
        """Type in the code that a device shows which asked for one for this number, and return the device now linked.

        Dash and case do not matter. A wrong code shows only in the device's answer, as on a real phone: the device's
        request is then used up. Raises PairingError and TimeoutError as `scan` does.
        """
        request, code = link_request(self._network, self._account, code)
        return await self._link(request.complete, code, timeout)

    async def _link(
        self, complete: Callable[[Account, T], Awaitable[Companion]], proof: T, timeout: float
    ) -> LinkedDevice:
        with anyio.move_on_after(timeout):
            companion = await complete(self._account, proof)
            return LinkedDevice(companion.device, companion.os, connected=False, logins=0)
        raise TimeoutError(f"the device did not prove its identity within {timeout:g} s; {self._recent()}")

    async def set_name(self, name: str) -> None:
        """Change the account's name: linked devices learn it as their push name."""
        self._network.account(self.number, name)
        await anyio.lowlevel.checkpoint()

    async def next_message(self, timeout: float = 10.0) -> ReceivedMessage:
        """Return the next copy of what a linked device sent, decrypted by the phone. Raises TimeoutError."""
        return await self._account.copies.next(
            timeout, lambda: f"phone {self.number} got no copy of a message within {timeout:g} s; {self._recent()}"
        )

    async def share_history(self, chat: str, texts: Sequence[str], *, progress: int = 100) -> None:
        """Hand an old chat with a number or a group over to every linked device, as a part of all that there is."""
        found = self._network.chat(chat)
        for companion in self._account.companions.values():
            share_history(companion, found.lid if isinstance(found, Account) else found.jid, texts, progress)
        await anyio.lowlevel.checkpoint()

    async def unlink(self) -> None:
        """Remove every linked device: those online are told so, those offline hear it at their next login."""
        account = self._account
        for companion in list(account.companions.values()):
            connection = companion.connection
            account.unlink(companion)
            announce_device(self._network, companion, "remove")
            if connection is not None:
                connection.send(DEVICE_REMOVED)
                connection.end()
        await anyio.lowlevel.checkpoint()

    def refuse(self) -> None:
        """Reset each connection of a linked device once it has said who it is.

        `WhatsAppServer.refuse` turns clients away before that, but all of them.
        """
        self._faults.refusing.set(True)

    def accept(self) -> None:
        """End `refuse`."""
        self._faults.refusing.end()

    @property
    def _faults(self) -> Faults:
        return self._account.faults

    def _accounts(self) -> list[Account]:
        return [self._account]

    def _open_connections(self) -> list[Connection]:
        return self._account.connections()

    async def wait_connected(self, logins: int = 1, timeout: float = 10.0) -> None:
        """Wait until a linked device is logged in, and logins have come to at least `logins`."""
        account = self._account
        await account.changes.wait_until(
            lambda: self.connected and account.logins >= logins,
            timeout,
            lambda: (
                f"phone {self.number}: {account.logins} logins within {timeout:g} s, {logins} expected, "
                f"{'connected' if self.connected else 'not connected'}; {self._recent()}"
            ),
        )

    async def wait_refused_logins(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until `count` logins were refused since the start."""
        account = self._account
        await account.changes.wait_until(
            lambda: account.refused_logins >= count,
            timeout,
            lambda: (
                f"phone {self.number}: {account.refused_logins} logins refused within {timeout:g} s, {count} expected; "
                + self._recent()
            ),
        )

    async def wait_disconnected(self, timeout: float = 10.0) -> None:
        """Wait until no linked device is logged in."""
        await self._account.changes.wait_until(
            lambda: not self.connected,
            timeout,
            lambda: f"phone {self.number}: still connected after {timeout:g} s; {self._recent()}",
        )

    async def wait_delivered(self, timeout: float = 10.0) -> None:
        """Wait until linked devices have acknowledged everything they were sent."""
        await self._account.changes.wait_until(
            lambda: not self.undelivered,
            timeout,
            lambda: (
                f"phone {self.number}: {self.undelivered} stanzas not acknowledged after {timeout:g} s; "
                + self._recent()
            ),
        )
