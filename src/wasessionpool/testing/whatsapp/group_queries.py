"""Answers to questions about groups (`w:g2`), and what the members' devices hear of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.errors import IQError
from wasessionpool.testing.whatsapp.groups import Change, GroupChat
from wasessionpool.testing.whatsapp.network import Account, Companion, Network
from wasessionpool.testing.whatsapp.nodes import Node, Value, node
from wasessionpool.testing.whatsapp.stanzas import now

CHANGES: Final[tuple[Change, ...]] = ("add", "remove", "promote", "demote")
GROUP_QUERIES: Final[Mapping[str, tuple[str, ...]]] = {
    "get": ("participating", "query"),
    "set": ("create", "leave", "subject", *CHANGES),
}
"""What is answered, by the type of the `<iq>` and the tag inside it."""


def answer_group_query(network: Network, companion: Companion, iq: Node) -> list[Node]:
    """Answer a question. Raises IQError for what a member may not do, ProtocolError and NodeError."""
    asked = iq.children[0]
    account = companion.account
    match asked.tag:
        case "create":
            members = [network.require(part.jid("jid")) for part in asked.find_all("participant")]
            return [_describe(network, create_group(network, account, asked.text("subject"), members, companion))]
        case "participating":
            mine = [group for group in network.groups.values() if account.number in group.members]
            return [node("groups", {}, [_describe(network, group) for group in mine])]
        case "leave":
            for left in asked.find_all("group"):
                change_members(network, _group_of(network, account, left.jid("id")), account, "remove", [account])
            return [node("leave", {}, asked.children)]
        case "query":
            return [_describe(network, _group_of(network, account, iq.jid("to")))]
        case "subject":
            rename_group(
                network,
                _group_of(network, account, iq.jid("to")),
                account,
                asked.data.decode("utf-8", "replace"),
                companion,
            )
            return []
        case change if change in CHANGES:
            group = _group_of(network, account, iq.jid("to"))
            if not group.may_change(account):
                raise IQError(403, "forbidden")
            wanted = [network.require(part.jid("jid")) for part in asked.find_all("participant")]
            change_members(network, group, account, change, wanted, companion)
            return [node(change, {}, [group.participant(member) for member in wanted])]
    return []


def create_group(
    network: Network, creator: Account, subject: str, members: Iterable[Account], origin: Companion | None = None
) -> GroupChat:
    """Make a group; all devices of its members hear of it, the `origin` apart."""
    group = GroupChat(subject, creator)
    group.apply("add", members, creator)
    network.groups[group.jid] = group
    created = node("create", {"type": "new"}, [_describe(network, group)])
    _notify(network.members(group), group, creator, created, origin)
    return group


def change_members(
    network: Network,
    group: GroupChat,
    by: Account,
    change: Change,
    accounts: Iterable[Account],
    origin: Companion | None = None,
) -> None:
    """Change the members; all devices of those who were and who are in the group hear of it, the `origin` apart."""
    before = network.members(group)
    changed = group.apply(change, accounts, by)
    if not changed:
        return
    if change == "remove":
        for member in network.members(group):
            member.primary.group_keys.renew(group.jid)
    told = node(change, {}, [group.participant(account) for account in changed])
    joined = changed if change == "add" else []
    _notify([*before, *joined], group, by, told, origin)


def rename_group(
    network: Network, group: GroupChat, by: Account, subject: str, origin: Companion | None = None
) -> None:
    group.subject = subject
    attrs: dict[str, Value] = {"subject": subject, "s_t": now(), "s_o": by.lid, "s_o_pn": by.jid}
    _notify(network.members(group), group, by, node("subject", attrs), origin)


def _group_of(network: Network, account: Account, jid: JID) -> GroupChat:
    group = network.groups.get(jid)
    if group is None:
        raise IQError(404, "item-not-found")
    if account.number not in group.members:
        raise IQError(403, "forbidden")
    return group


def _describe(network: Network, group: GroupChat) -> Node:
    return group.node(network.members(group))


def _notify(accounts: Iterable[Account], group: GroupChat, by: Account, change: Node, origin: Companion | None) -> None:
    attrs: dict[str, Value] = {
        "from": group.jid,
        "type": "w:gp2",
        "id": secrets.token_hex(8),
        "participant": by.lid,
        "participant_pn": by.jid,
        "notify": by.name,
        "addressing_mode": "lid",
        "t": now(),
    }
    for account in accounts:
        for companion in account.companions.values():
            if companion is not origin:
                companion.deliver(node("notification", attrs, [change]))
