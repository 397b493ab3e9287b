"""A phone with an account, as a test holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio

from wasessionpool.testing.whatsapp.addresses import phone_number
from wasessionpool.testing.whatsapp.connection import LONG_PATIENCE, PATIENCE
from wasessionpool.testing.whatsapp.messages import ReceivedMessage
from wasessionpool.testing.whatsapp.network import Account, Network
from wasessionpool.testing.whatsapp.pairing import scan_target
from wasessionpool.testing.whatsapp.routing import send_from_phone
from wasessionpool.testing.whatsapp.stanzas import DEVICE_REMOVED, REPLACED, login_failure, stream_error


@dataclass(frozen=True, slots=True)
class LinkedDevice:
    """A device linked to a phone: its number, the name it was paired with, and how it stands."""

    device: int
    os: str
    connected: bool
    logins: int


class Phone:
    """The primary device of an account: it links other devices, sees what they send, and can take the link away."""

    def __init__(self, network: Network, account: Account) -> None:
        self._network = network
        self._account = account

    @property
    def number(self) -> str:
        return self._account.number

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
    def copies(self) -> tuple[ReceivedMessage, ...]:
        """Copies of everything that linked devices sent, in order."""
        return self._account.copies.all

    @property
    def received(self) -> tuple[ReceivedMessage, ...]:
        """Everything that others sent to this account, in order."""
        return self._account.inbox.all

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
        with anyio.move_on_after(timeout):
            companion = await pairing.complete(self._account, code)
            return LinkedDevice(companion.device, companion.os, connected=False, logins=0)
        raise TimeoutError(f"the device did not prove its identity within {timeout:g} s; {self._recent()}")

    async def send(self, to: str, text: str) -> str:
        """Write to a number from the phone itself: linked devices see it as sent by their own account."""
        message_id = send_from_phone(self._network, self._account, phone_number(to), text)
        await anyio.lowlevel.checkpoint()
        return message_id

    async def next_message(self, timeout: float = 10.0) -> ReceivedMessage:
        """Return the next copy of what a linked device sent, decrypted by the phone. Raises TimeoutError."""
        return await self._account.copies.next(
            timeout, lambda: f"phone {self.number} got no copy of a message within {timeout:g} s; {self._recent()}"
        )

    async def unlink(self) -> None:
        """Remove every linked device: those online are told so, those offline hear it at their next login."""
        account = self._account
        for companion in list(account.companions.values()):
            connection = companion.connection
            account.unlink(companion)
            if connection is not None:
                connection.send(DEVICE_REMOVED)
                connection.end()
        await anyio.lowlevel.checkpoint()

    async def stream_error(self, code: int | str) -> int:
        """End the connections of linked devices with a stream error, and return how many there were.

        A number is sent as the error's code, such as 500, 503 or 515; `replaced` says that another client took over,
        `device_removed` that the device is unlinked, without unlinking it.
        """
        named = {"replaced": REPLACED, "device_removed": DEVICE_REMOVED}
        error = stream_error(code) if isinstance(code, int) else named[code]
        connections = self._account.connections()
        for connection in connections:
            connection.send(error)
            connection.end(LONG_PATIENCE if code == 515 else PATIENCE)
        await anyio.lowlevel.checkpoint()
        return len(connections)

    def fail_login(self, reason: int, *, times: int = 1, **attrs: str) -> None:
        """Answer the next logins of linked devices with `<failure reason=…>`, with further attributes for a ban.

        After 401, 403 and 406 a client forgets its keys, so its device stays in `devices` but never comes back.
        """
        self._account.faults.login_failures.extend([login_failure(reason, **attrs)] * times)

    def silence(self) -> None:
        """Keep the connections of linked devices open, and say and hear nothing on them any more."""
        self._account.faults.silent = True
        for connection in self._account.connections():
            connection.silent = True

    def speak(self) -> None:
        """End `silence`. What linked devices said meanwhile is lost; what they were sent comes at their next login."""
        self._account.faults.silent = False
        for connection in self._account.connections():
            connection.silent = False

    def withhold_acks(self, withhold: bool = True) -> None:
        """Take the messages of linked devices without acknowledging them, or do so again: they send them anew."""
        self._account.faults.withhold_acks = withhold

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

    def _recent(self) -> str:
        return f"last stanzas: {self._network.describe_recent()}"
