"""Someone with WhatsApp, as a test plays them."""

from __future__ import annotations

import anyio

from wasessionpool.testing.whatsapp.addresses import phone_number
from wasessionpool.testing.whatsapp.messages import ReceivedMessage, ReceivedReceipt
from wasessionpool.testing.whatsapp.network import Account, Network
from wasessionpool.testing.whatsapp.routing import mark_read, send_from_phone


class Contact:
    """A person with a phone, who writes to others and reads what they get; the phone encrypts and decrypts for real."""

    def __init__(self, network: Network, account: Account) -> None:
        self._network = network
        self._account = account

    @property
    def number(self) -> str:
        return self._account.number

    @property
    def name(self) -> str:
        return self._account.name

    @property
    def received(self) -> tuple[ReceivedMessage, ...]:
        """Everything that others sent to this contact, in order."""
        return self._account.inbox.all

    @property
    def receipts(self) -> tuple[ReceivedReceipt, ...]:
        """Receipts for what this contact sent, in order."""
        return self._account.receipts.all

    @property
    def undecryptable(self) -> int:
        """How many messages to this contact did not decrypt. Anything but 0 is a fault of the client or the server."""
        return self._account.undecryptable

    @property
    def retries_asked(self) -> int:
        """How often a device could not decrypt what this contact sent, and asked for it again."""
        return self._account.retries_asked

    async def send(self, to: str, text: str) -> str:
        """Write to a number and return the message's id. Raises ValueError for a number not on this WhatsApp."""
        message_id = send_from_phone(self._network, self._account, phone_number(to), text)
        await anyio.lowlevel.checkpoint()
        return message_id

    async def read(self, message: ReceivedMessage) -> None:
        """Send a read receipt for a message to its author's devices."""
        mark_read(self._network, self._account, message)
        await anyio.lowlevel.checkpoint()

    async def next_message(self, timeout: float = 10.0) -> ReceivedMessage:
        """Return the oldest message not yet returned. Raises TimeoutError."""
        return await self._account.inbox.next(
            timeout, lambda: f"contact {self.number} got no message within {timeout:g} s; {self._recent()}"
        )

    async def wait_receipt(self, message_id: str, kind: str | None = None, timeout: float = 10.0) -> ReceivedReceipt:
        """Wait for a receipt for one message, of one kind (`read`, `inactive`, … or empty) or of any."""

        def found() -> ReceivedReceipt | None:
            return next((r for r in self.receipts if message_id in r.message_ids and kind in (None, r.kind)), None)

        await self._account.receipts.wait_until(
            lambda: found() is not None,
            timeout,
            lambda: f"contact {self.number} got no {kind or ''} receipt within {timeout:g} s; {self._recent()}",
        )
        receipt = found()
        assert receipt is not None  # noqa: S101
        return receipt

    def _recent(self) -> str:
        return f"last stanzas: {self._network.describe_recent()}"
