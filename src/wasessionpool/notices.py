"""What a session is told besides messages: calls, changes of groups, what could not be read, old chats."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from .models import Contact, Frozen

GroupAction = Literal[
    "joined",
    "added",
    "removed",
    "promoted",
    "demoted",
    "renamed",
    "described",
    "deleted",
    "other",
]


class Undecryptable(Frozen):
    """A message came that could not be decrypted; WhatsApp is asked for it again, and it may follow as a message."""

    type: Literal["undecryptable"] = "undecryptable"
    message_id: str
    chat: Contact
    sender: Contact
    from_me: bool = False
    is_group: bool = False
    timestamp: datetime


class Call(Frozen):
    """Someone calls, which can be taken on the phone only; one of its devices accepted; or the call is over."""

    type: Literal["call"] = "call"
    call_id: str
    caller: Contact
    action: Literal["offered", "accepted", "ended"]
    timestamp: datetime


class GroupChange(Frozen):
    """What happened to a ``group``, by whom, where WhatsApp says so: to these ``members``, or its ``name`` or topic.

    ``joined``: this account is in a group now that is new to it; ``members`` are all of it.
    """

    type: Literal["group"] = "group"
    group: Contact
    action: GroupAction
    by: Contact | None = None
    members: tuple[Contact, ...] = ()
    name: str | None = None
    timestamp: datetime


class HistorySync(Frozen):
    """The phone handed over old chats, in parts; ``progress`` is in per cent, where it says so."""

    type: Literal["history_sync"] = "history_sync"
    sync_type: str
    progress: int | None = None
    chats: int = 0
    messages: int = 0


Notice = Annotated[Undecryptable | Call | GroupChange | HistorySync, Field(discriminator="type")]
