"""Every error this library raises on purpose.

::

    WhatsAppPoolError
    ├── InvalidCompanyId
    ├── InvalidRecipient
    ├── InvalidMessage
    ├── PayloadTooLarge          limit
    ├── ConfigurationError
    ├── PoolClosed
    ├── PoolFull
    ├── SessionNotFound
    ├── SessionNotConnected      status, reason
    ├── SessionLocked            holder
    ├── SessionFailed            reason
    ├── AuthenticationRequired   qr, pairing_code
    ├── LoggedOut                reason
    ├── PairingTimeout
    ├── PairingFailed
    ├── RateLimitExceeded        retry_after
    ├── SendTimeout              outcome
    ├── MessageRejected          server_code
    ├── AccountRestricted        until
    ├── RecipientRestricted
    ├── RecipientNotOnWhatsapp
    ├── StorageError
    └── DriverError
        ├── WorkerCrashed
        └── ClientOutdated

An error's ``code`` is its class name in snake case; the REST bodies and ``ErrorEvent`` carry it.
No message holds a message's text, a pairing code or a key.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from .models import DisconnectReason, Status
    from .qr import QRCode


class WhatsAppPoolError(Exception):
    """The root of the tree; catch it to catch all that this library raises on purpose."""

    code: ClassVar[str] = "whatsapp_pool_error"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidCompanyId(WhatsAppPoolError):
    """The company or device id is not 1–64 of ``[A-Za-z0-9_-]``, or differs only in case from a known one."""


class InvalidRecipient(WhatsAppPoolError):
    """The recipient is neither a phone number of 7–15 digits nor a JID."""


class InvalidMessage(WhatsAppPoolError):
    """The message is empty, of no known kind, or breaks a limit of its kind."""


class PayloadTooLarge(WhatsAppPoolError):
    """The content is over the ``limit`` (bytes, or characters of a text)."""

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class ConfigurationError(WhatsAppPoolError):
    """A setting is unknown, has a value that is not allowed, or names something that is not there."""


class SessionNotFound(WhatsAppPoolError):
    """The pool knows no such session."""


class SessionNotConnected(WhatsAppPoolError):
    """The session has no live link at this moment."""

    def __init__(self, message: str, *, status: Status, reason: DisconnectReason | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class AuthenticationRequired(WhatsAppPoolError):
    """The session is not linked; ``qr`` or ``pairing_code`` is what the phone has to confirm, if one waits."""

    def __init__(self, message: str, *, qr: QRCode | None = None, pairing_code: str | None = None) -> None:
        super().__init__(message)
        self.qr = qr
        self.pairing_code = pairing_code


class SessionLocked(WhatsAppPoolError):
    """Another pool runs this session; ``holder`` says which process."""

    def __init__(self, message: str, *, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class SessionFailed(WhatsAppPoolError):
    """The session gave up; ``reason`` says why."""

    def __init__(self, message: str, *, reason: DisconnectReason | None) -> None:
        super().__init__(message)
        self.reason = reason


class LoggedOut(WhatsAppPoolError):
    """The phone or WhatsApp unlinked this device; it has to be paired anew."""

    def __init__(self, message: str, *, reason: DisconnectReason | None) -> None:
        super().__init__(message)
        self.reason = reason


class PairingTimeout(WhatsAppPoolError):
    """Nobody confirmed the pairing before the last code expired."""


class PairingFailed(WhatsAppPoolError):
    """The pairing was refused or broke off."""


class RateLimitExceeded(WhatsAppPoolError):
    """The window is full; a send made ``retry_after`` seconds from now fits."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SendTimeout(WhatsAppPoolError):
    """WhatsApp did not acknowledge in time: whether the message went out is unknown, so it is not sent again.

    Should it become known later, the ``message_sent`` or ``error`` event that tells it has the same ``send_id``.
    """

    outcome: Literal["unknown"] = "unknown"

    def __init__(self, message: str, *, send_id: str | None = None) -> None:
        super().__init__(message)
        self.send_id = send_id


class MessageRejected(WhatsAppPoolError):
    """WhatsApp's server refused the message with ``server_code``."""

    def __init__(self, message: str, *, server_code: int) -> None:
        super().__init__(message)
        self.server_code = server_code


class AccountRestricted(WhatsAppPoolError):
    """WhatsApp restricts this account until ``until`` (``None``: unknown)."""

    def __init__(self, message: str, *, until: datetime | None) -> None:
        super().__init__(message)
        self.until = until


class RecipientRestricted(WhatsAppPoolError):
    """WhatsApp refuses to deliver to this recipient (server error 463)."""


class RecipientNotOnWhatsapp(WhatsAppPoolError):
    """The number has no WhatsApp account."""


class PoolClosed(WhatsAppPoolError):
    """The pool is not open: enter it with ``async with`` first."""


class PoolFull(WhatsAppPoolError):
    """The pool runs ``max_sessions`` sessions already."""


class DriverError(WhatsAppPoolError):
    """The driver failed in a way that has no name of its own."""


class WorkerCrashed(DriverError):
    """The worker process that held the session ended."""


class ClientOutdated(DriverError):
    """WhatsApp refuses this version of the client: upgrade neonize."""


class StorageError(WhatsAppPoolError):
    """The session path or a file in it cannot be read or written."""
