"""Someone who writes and reads on a phone that the server plays."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from wasessionpool.testing.whatsapp.calls import hang_up, ring
from wasessionpool.testing.whatsapp.content import (
    MediaKind,
    edit_message,
    poll_message,
    reaction_message,
    revoke_message,
)
from wasessionpool.testing.whatsapp.media import seal_file
from wasessionpool.testing.whatsapp.messages import ReceivedMessage, ReceivedReceipt
from wasessionpool.testing.whatsapp.network import Account, Network
from wasessionpool.testing.whatsapp.receipts import send_receipt, tell_own_devices
from wasessionpool.testing.whatsapp.retries import ask_again
from wasessionpool.testing.whatsapp.routing import send_from_phone
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message, MessageKey


class Author:
    """What contacts and phones have in common: everything they write is really encrypted for each device concerned."""

    def __init__(self, network: Network, account: Account) -> None:
        self._network = network
        self._account = account

    @property
    def number(self) -> str:
        """The account's number, digits only."""
        return self._account.number

    @property
    def name(self) -> str:
        """The name that others see with its messages."""
        return self._account.name

    @property
    def received(self) -> tuple[ReceivedMessage, ...]:
        """Everything that others sent to this account, in order."""
        return self._account.inbox.all

    @property
    def receipts(self) -> tuple[ReceivedReceipt, ...]:
        """Receipts for what this account sent, in order."""
        return self._account.receipts.all

    @property
    def undecryptable(self) -> int:
        """How many messages and files to this account did not decrypt.

        Anything but 0 is a fault of the client or the server.
        """
        return self._account.undecryptable

    @property
    def retries_asked(self) -> int:
        """How often a device could not decrypt what was sent from here, and asked for it again."""
        return self._account.retries_asked

    async def send(self, to: str, text: str) -> str:
        """Write to a number or a group, and return the message's id. Raises ValueError for who is not on WhatsApp."""
        return await self._send(to, text)

    async def send_image(self, to: str, image: bytes, *, caption: str = "", mimetype: str = "image/jpeg") -> str:
        """Upload an image and send it, as `send` does."""
        return await self.send_file(to, image, "image", mimetype=mimetype, caption=caption)

    async def send_file(
        self,
        to: str,
        content: bytes,
        kind: MediaKind = "document",
        *,
        mimetype: str = "application/octet-stream",
        caption: str = "",
    ) -> str:
        """Upload a file and send it, as `send` does. Sound and stickers have no caption."""
        return await self._send(to, seal_file(self._network.media, content, kind, mimetype, caption))

    async def send_poll(self, to: str, question: str, options: Sequence[str], *, selectable: int = 1) -> str:
        """Open a poll, as `send` does; 0 `selectable` options are as many as there are."""
        return await self._send(to, poll_message(question, options, selectable))

    async def react(self, message: ReceivedMessage, emoji: str) -> str:
        """React to a message by an emoji, or take that back by an empty one, and return the reaction's id."""
        return await self._send(self._chat_of(message), reaction_message(self._key_of(message), emoji))

    async def edit(self, to: str, message_id: str, text: str) -> str:
        """Let a text that was sent to a number or a group say something else, and return the edit's own id."""
        return await self._send(to, edit_message(self._own_key(to, message_id), text))

    async def revoke(self, to: str, message_id: str) -> str:
        """Delete a message for everyone that was sent to a number or a group, and return the deletion's own id."""
        return await self._send(to, revoke_message(self._own_key(to, message_id)))

    async def call(self, to: str) -> str:
        """Call a number, whose linked devices hear that its phone rings, and return the call's id."""
        call_id = ring(self._account, self._network.account(to))
        await anyio.lowlevel.checkpoint()
        return call_id

    async def hang_up(self, to: str, call_id: str) -> None:
        """End a call that was not answered."""
        hang_up(self._account, self._network.account(to), call_id)
        await anyio.lowlevel.checkpoint()

    async def vote(self, poll: ReceivedMessage, options: Sequence[str]) -> str:
        """Vote in a poll, and return the vote's id. Raises ValueError for what is no poll or none of its options."""
        secret = self._account.polls.get(poll.id)
        if secret is None:
            raise ValueError(f"message {poll.id} is no poll that {self.number} has got lately")
        return await self._send(self._chat_of(poll), secret.seal(self._account.lid, options, self._key_of(poll)))

    async def read(self, message: ReceivedMessage) -> None:
        """Tell the author's devices that a message was read, and the own linked devices too."""
        await self.send_receipt(message, "read")

    async def play(self, message: ReceivedMessage) -> None:
        """Tell the same of a voice message, or of media to be seen once, that was played."""
        await self.send_receipt(message, "played")

    async def send_receipt(self, message: ReceivedMessage, kind: str) -> None:
        """Send any receipt for a message, an empty `kind` for delivered, to those whom such a receipt is for.

        `read-self` and `played-self` go to the own linked devices only, `read` and `played` to them too; all others
        that are not private go to the author's device, and to all of them when the message came from the phone.
        """
        author = self._network.account(message.sender)
        if kind in ("read", "played", "read-self", "played-self"):
            tell_own_devices(self._account, self._network.chat(self._chat_of(message)), message.id, kind)
        if not kind.endswith("-self"):
            to = 0 if kind in ("read", "played") else message.device
            group = self._network.group_of(message.recipient)
            send_receipt(self._account, author, message.id, kind, to, group)
        await anyio.lowlevel.checkpoint()

    async def ask_again(self, message: ReceivedMessage) -> None:
        """Ask the linked device that wrote a message to send it anew, as if it had not been decrypted.

        Raises ValueError for a message that no linked device wrote.
        """
        author = self._network.account(message.sender).companions.get(message.device)
        if author is None:
            raise ValueError(f"message {message.id} was not written by a device that is linked now")
        ask_again(self._account, author, message.id, self._network.group_of(message.recipient) or self._account.lid)
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
            lambda: f"{self.number} got no {kind or ''} receipt within {timeout:g} s; {self._recent()}",
        )
        receipt = found()
        assert receipt is not None  # noqa: S101
        return receipt

    async def _send(self, to: str, content: Message | str) -> str:
        message_id = send_from_phone(self._network, self._account, to, content)
        await anyio.lowlevel.checkpoint()
        return message_id

    def _chat_of(self, message: ReceivedMessage) -> str:
        """Name the chat of a message as this account sees it."""
        is_own = message.sender == self.number
        return message.recipient if is_own or "@" in message.recipient else message.sender

    def _key_of(self, message: ReceivedMessage) -> MessageKey:
        group = self._network.group_of(message.recipient)
        author = self._network.account(message.sender)
        chat = group or self._network.account(self._chat_of(message)).lid
        participant = str(author.lid) if group is not None else ""
        return MessageKey(chat=str(chat), from_me=author is self._account, id=message.id, participant=participant)

    def _own_key(self, to: str, message_id: str) -> MessageKey:
        chat = self._network.chat(to)
        return MessageKey(chat=str(chat.lid if isinstance(chat, Account) else chat.jid), from_me=True, id=message_id)

    def _recent(self) -> str:
        return f"last stanzas: {self._network.describe_recent()}"
