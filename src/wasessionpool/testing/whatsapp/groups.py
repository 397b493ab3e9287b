"""Groups: who is in them, and how a group is written in an answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from wasessionpool.testing.whatsapp.addresses import GROUP_SERVER, JID
from wasessionpool.testing.whatsapp.nodes import Node, Value, node

if TYPE_CHECKING:
    from wasessionpool.testing.whatsapp.network import Account

Role = Literal["member", "admin", "superadmin"]
Change = Literal["add", "remove", "promote", "demote"]
_ROLES: dict[Change, Role] = {"add": "member", "promote": "admin", "demote": "member"}


@dataclass(slots=True, eq=False)
class GroupChat:
    """A group and the accounts in it; the first is who made it."""

    subject: str
    creator: Account
    members: dict[str, Role] = field(default_factory=dict)
    jid: JID = field(default_factory=lambda: JID(f"120363{secrets.randbelow(10**12):012}", GROUP_SERVER))
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.members[self.creator.number] = "superadmin"

    def apply(self, change: Change, accounts: Iterable[Account], by: Account) -> list[Account]:
        """Change who is in the group and what they may do, and return those whom it changed.

        Nobody changes who made the group, who can only leave by themselves.
        """
        changed = []
        for account in accounts:
            role = self.members.get(account.number)
            if (role is None) != (change == "add") or (role == "superadmin" and account is not by):
                continue
            if change == "remove":
                del self.members[account.number]
            else:
                self.members[account.number] = _ROLES[change]
            changed.append(account)
        return changed

    def may_change(self, account: Account) -> bool:
        return self.members.get(account.number) in ("admin", "superadmin")

    def node(self, accounts: Iterable[Account]) -> Node:
        """Write the group with these members of it."""
        attrs: dict[str, Value] = {
            "id": self.jid.user,
            "subject": self.subject,
            "creation": str(self.created),
            "creator": self.creator.lid,
            "creator_pn": self.creator.jid,
            "s_t": str(self.created),
            "s_o": self.creator.lid,
            "s_o_pn": self.creator.jid,
            "size": str(len(self.members)),
            "addressing_mode": "lid",
        }
        return node("group", attrs, [self.participant(account) for account in accounts])

    def participant(self, account: Account) -> Node:
        attrs: dict[str, Value] = {"jid": account.lid, "phone_number": account.jid}
        role = self.members.get(account.number, "member")
        return node("participant", attrs | ({"type": role} if role != "member" else {}))
