"""What an application holds of one session: its operations, typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from .addresses import Address, parse_phone_number
from .errors import ConfigurationError, InvalidRecipient, PayloadTooLarge
from .messages import OutgoingMessage
from .models import SentMessage, SessionKey, SessionStatus
from .operations import CheckNumbers, MarkRead, React, ShowTyping, TypingState
from .sending import checked_send
from .session import Supervisor
from .waiting import check_timeout

MAX_NUMBERS = 50
"""Numbers in one question whether they are on WhatsApp."""


class Session:
    """One session of an open pool, as ``pool.session(company_id)`` returns it.

    It stands for the session of that name: also for one that is deleted and created anew later. Where there is none,
    all that is asked of it raises ``SessionNotFound``. The operations need a live link: without one they raise
    ``AuthenticationRequired`` or ``SessionNotConnected``. ``DriverError``: WhatsApp refused, or did not answer within
    ``send_timeout``, after which the link is renewed.
    """

    def __init__(self, key: SessionKey, find: Callable[[SessionKey], Supervisor]) -> None:
        self._key = key
        self._find = find

    def __repr__(self) -> str:
        return f"<Session {self._key}>"

    @property
    def company_id(self) -> str:
        """The company whose session this is."""
        return self._key.company_id

    @property
    def device(self) -> str:
        """The company's device, ``main`` unless said otherwise."""
        return self._key.device

    @property
    def linked(self) -> bool:
        """Whether a phone has linked the device, and not unlinked it since."""
        return self._supervisor.standing.record.linked

    def status(self) -> SessionStatus:
        """Return a snapshot."""
        return self._supervisor.status()

    async def wait_until_connected(self, *, timeout: float | None = None) -> SessionStatus:
        """Wait for a live link; raises as ``WhatsAppSessionPool.wait_until_connected``."""
        check_timeout(timeout)
        supervisor = self._supervisor
        await supervisor.wait_until_connected(timeout)
        return supervisor.status()

    async def send(
        self,
        to: str,
        message: str | OutgoingMessage,
        *,
        idempotency_key: str | None = None,
        resend: bool = False,
        wait: bool = False,
        timeout: float | None = None,
    ) -> SentMessage:
        """Send a message; returns once WhatsApp acknowledged, and raises as ``WhatsAppSessionPool.send_message``."""
        message = checked_send(to, message, idempotency_key, timeout)
        return await self._supervisor.send(
            to, message, idempotency_key=idempotency_key, resend=resend, wait=wait, timeout=timeout
        )

    async def reply(
        self,
        to: str,
        message: str | OutgoingMessage,
        *,
        idempotency_key: str | None = None,
        resend: bool = False,
        wait: bool = False,
        timeout: float | None = None,
    ) -> SentMessage:
        """Send as soon as the link is live, waiting for that at most ``connect_timeout`` seconds."""
        message = checked_send(to, message, idempotency_key, timeout)
        return await self._supervisor.reply(
            to, message, idempotency_key=idempotency_key, resend=resend, wait=wait, timeout=timeout
        )

    async def react(
        self, message_id: str, emoji: str, *, chat: str, sender: str | None = None, from_me: bool = False
    ) -> None:
        """React by an emoji to a message of ``sender``, or take that back by an empty one; outside of the limit.

        In a group it is necessary to say who wrote the message, unless it is one of our own (``from_me``).
        Raises ``MessageRejected``, ``RecipientRestricted`` or ``RecipientNotOnWhatsapp`` where WhatsApp refuses.
        """
        address = Address.parse(chat)
        author = str(address) if from_me else _author(address, sender)
        operation = React(message_id=message_id, emoji=emoji, chat=str(address), sender=author, from_me=from_me)
        await self._supervisor.call(operation)

    async def mark_read(self, *message_ids: str, chat: str, sender: str | None = None) -> None:
        """Show the ``sender`` of these messages the read marks; in a group it is necessary to say who that is."""
        address = Address.parse(chat)
        author = _author(address, sender)
        operation = MarkRead(message_ids=message_ids, chat=str(address), sender=author)
        if message_ids:
            await self._supervisor.call(operation)

    async def typing(self, to: str, state: TypingState = "composing") -> None:
        """Show ``to`` that a message is being written (``composing``), spoken (``recording``), or no more (``paused``).

        It passes by itself after some 25 s, or with the message.
        """
        if state not in get_args(TypingState):
            raise ConfigurationError(
                f"there is no typing {str(state)[:32]!r}; there are {', '.join(get_args(TypingState))}"
            )
        await self._supervisor.call(ShowTyping(chat=str(Address.parse(to)), state=state))

    async def is_on_whatsapp(self, *numbers: str) -> dict[str, bool]:
        """Say of each phone number, as it was written, whether it has an account.

        At most 50 at once, else ``PayloadTooLarge``. WhatsApp bans accounts that ask about many strangers.
        """
        if len(numbers) > MAX_NUMBERS:
            raise PayloadTooLarge(f"{len(numbers)} numbers at once, the limit is {MAX_NUMBERS}", limit=MAX_NUMBERS)
        digits = {number: parse_phone_number(number) for number in numbers}
        asked = tuple(dict.fromkeys(digits.values()))
        found = await self._supervisor.call(CheckNumbers(numbers=asked)) if asked else ()
        return {number: digits[number] in found for number in numbers}

    @property
    def _supervisor(self) -> Supervisor:
        return self._find(self._key)


def _author(chat: Address, sender: str | None) -> str:
    """Name who wrote in ``chat``: where two talk, that is the other one."""
    if sender is not None:
        return str(Address.parse(sender))
    if chat.is_group:
        raise InvalidRecipient(f"{chat} is a group: say who wrote the message, with sender=")
    return str(chat)
