"""A group, as a test holds it."""

from __future__ import annotations

import anyio

from wasessionpool.testing.whatsapp.addresses import phone_number
from wasessionpool.testing.whatsapp.group_queries import change_members, rename_group
from wasessionpool.testing.whatsapp.groups import Change, GroupChat, Role
from wasessionpool.testing.whatsapp.network import Network


class Group:
    """A group of accounts. Whoever is in it writes to its `jid`, and gets what the others write there.

    What is done here is done in the name of its creator.
    """

    def __init__(self, network: Network, chat: GroupChat) -> None:
        self._network = network
        self._chat = chat

    def __str__(self) -> str:
        return self.jid

    @property
    def jid(self) -> str:
        """Where its members write to: `…@g.us`."""
        return str(self._chat.jid)

    @property
    def subject(self) -> str:
        """The group's name."""
        return self._chat.subject

    @property
    def members(self) -> dict[str, Role]:
        """The members' numbers, and what each may do."""
        return dict(self._chat.members)

    async def add(self, *numbers: str) -> None:
        """Take accounts in, by their numbers."""
        await self._change("add", numbers)

    async def remove(self, *numbers: str) -> None:
        """Remove members; the phones of those who stay write with new keys from then on."""
        await self._change("remove", numbers)

    async def promote(self, *numbers: str) -> None:
        """Make members admins."""
        await self._change("promote", numbers)

    async def demote(self, *numbers: str) -> None:
        """Make admins members."""
        await self._change("demote", numbers)

    async def rename(self, subject: str) -> None:
        """Give the group another name."""
        rename_group(self._network, self._chat, self._chat.creator, subject)
        await anyio.lowlevel.checkpoint()

    async def _change(self, change: Change, numbers: tuple[str, ...]) -> None:
        accounts = [self._network.account(phone_number(number)) for number in numbers]
        change_members(self._network, self._chat, self._chat.creator, change, accounts)
        await anyio.lowlevel.checkpoint()
