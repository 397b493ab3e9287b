"""WhatsApp addresses as they stand on the wire."""

from __future__ import annotations

import re
from typing import NamedTuple

PHONE_SERVER = "s.whatsapp.net"
LID_SERVER = "lid"
GROUP_SERVER = "g.us"

_NUMBER = re.compile(r"[1-9][0-9]{4,14}")


class JID(NamedTuple):
    """Who or what a stanza speaks of: a user, one device of a user, or a server when `user` is empty."""

    user: str
    server: str = PHONE_SERVER
    device: int = 0

    def __str__(self) -> str:
        device = f":{self.device}" if self.device else ""
        return f"{self.user}{device}@{self.server}" if self.user else self.server

    def with_device(self, device: int) -> JID:
        return JID(self.user, self.server, device)


SERVER = JID("", PHONE_SERVER)


def phone_number(text: str) -> str:
    """Return `text` as bare international digits.

    Raises ValueError for anything that is not 5 to 15 digits after an optional plus.
    """
    digits = text.removeprefix("+")
    if not _NUMBER.fullmatch(digits):
        raise ValueError(f"{text!r} is not a phone number in international digits, such as 79001234567")
    return digits


def lid_of(number: str) -> JID:
    """Return the hidden identity (LID) of a phone number in this server's world: the number after `77`."""
    return JID(f"77{number}", LID_SERVER)


def number_of(jid: JID) -> str:
    """Return the phone number behind a phone JID or a LID of this server's world, empty for any other JID."""
    if jid.server == LID_SERVER:
        return jid.user.removeprefix("77") if jid.user.startswith("77") else ""
    return jid.user if jid.server == PHONE_SERVER else ""
