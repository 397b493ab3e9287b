"""Phone numbers and JIDs: parse, normalise, print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from .errors import InvalidRecipient

_SERVERS = ("s.whatsapp.net", "g.us", "lid")
_JID = re.compile(
    r"(?P<user>[0-9]{5,20}(?:-[0-9]{5,20})?)(?::(?P<device>[0-9]{1,3}))?@(?P<server>[a-z.]{1,20})", re.ASCII
)
_TRUNK_PREFIX = re.compile(r"(?<=\d)\s*\(0\)")
"""The zero of ``+44 (0)20 …``, which is for callers from within the country."""
_NUMBER_PUNCTUATION = re.compile(r"[\s().\-/\u00a0\u2010-\u2015\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What people group digits by, and the invisible marks of direction that come with a number copied from a contact."""


@dataclass(frozen=True, slots=True)
class Address:
    """A person or a group at WhatsApp: ``user@server``, without a device part."""

    user: str
    server: str = "s.whatsapp.net"

    def __str__(self) -> str:
        return f"{self.user}@{self.server}"

    @property
    def is_group(self) -> bool:
        """Whether this is a group, not a person."""
        return self.server == "g.us"

    @property
    def phone_number(self) -> str | None:
        """The number as ``+79001234567``, where this address is one."""
        return f"+{self.user}" if self.server == "s.whatsapp.net" else None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a phone number in any common international writing, or a JID.

        A number has 7–15 digits (ITU-T E.164), after an optional ``+`` or ``00``.
        Raises ``InvalidRecipient``.
        """
        if isinstance(text, str) and "@" in text:
            return cls._parse_jid(text.strip())
        return cls(parse_phone_number(text))

    @classmethod
    def _parse_jid(cls, text: str) -> Self:
        match = _JID.fullmatch(text)
        if match is None or match["server"] not in _SERVERS:
            raise InvalidRecipient(
                f"not a JID of a person or group: {text[:64]!r}; expected …@{' or …@'.join(_SERVERS)}"
            )
        if match["server"] == "s.whatsapp.net":
            return cls(parse_phone_number(match["user"]))
        return cls(match["user"], match["server"])


def parse_phone_number(text: str) -> str:
    """Return the digits of an international phone number, country code first.

    Raises ``InvalidRecipient`` where 7–15 digits cannot be read.
    """
    if not isinstance(text, str):
        raise InvalidRecipient(f"a phone number or JID is a str, not {type(text).__name__}")
    digits = _NUMBER_PUNCTUATION.sub("", _TRUNK_PREFIX.sub("", text, count=1))
    if digits.startswith("+"):
        digits = digits[1:]
    elif digits.startswith("00"):
        digits = digits[2:]
    if not (digits.isascii() and digits.isdecimal() and 7 <= len(digits) <= 15) or digits.startswith("0"):
        raise InvalidRecipient(
            f"not an international phone number: {text[:32]!r}; write it with its country code, as +79001234567"
        )
    return digits
