"""What neonize tells besides messages, as this library's notices; pure, and without importing neonize."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ...models import Contact
from ...notices import Call, GroupAction, GroupChange, HistorySync, Notice, Undecryptable
from .convert import contact, jid, moment, people

if TYPE_CHECKING:
    from neonize.proto import Neonize_pb2

MAX_MEMBERS = 1024
"""Members that are named, as many as a group may have: an announcement of thousands would not fit a frame."""

_CALLS: Mapping[str, Literal["offered", "accepted", "ended"]] = {
    "CallOffer": "offered",
    "CallOfferNotice": "offered",
    "CallAccept": "accepted",
    "CallTerminate": "ended",
}
_MEMBERS: Mapping[str, GroupAction] = {
    "Join": "added",
    "Leave": "removed",
    "Promote": "promoted",
    "Demote": "demoted",
}
NAMES = frozenset({*_CALLS, "HistorySync", "JoinedGroup", "GroupInfoEvent", "UndecryptableMessage"})
"""The events of neonize that are notices."""


def notices(name: str, event: Any, me: Contact) -> list[Notice]:
    """Return what an event tells; ``me`` is the session's own account."""
    if name in _CALLS:
        meta = event.basicCallMeta
        return [_call(meta, _CALLS[name])] if meta.callID and meta.callCreator.User else []
    if name == "HistorySync":
        return [_history(event.Data)]
    if name == "UndecryptableMessage":
        return [_undecryptable(event.Info, me)]
    return [_joined(event)] if name == "JoinedGroup" else _changes(event)


def _call(meta: Neonize_pb2.BasicCallMeta, action: Literal["offered", "accepted", "ended"]) -> Call:
    caller = contact(meta.callCreator, meta.callCreatorAlt)
    return Call(call_id=meta.callID, caller=caller, action=action, timestamp=moment(meta.timestamp))


def _history(data: Any) -> HistorySync:
    return HistorySync(
        sync_type=data.HistorySyncType.Name(data.syncType).lower(),
        progress=data.progress if data.HasField("progress") else None,
        chats=len(data.conversations),
        messages=sum(len(chat.messages) for chat in data.conversations),
    )


def _undecryptable(info: Neonize_pb2.MessageInfo, me: Contact) -> Undecryptable:
    chat, sender = people(info.MessageSource, me)
    return Undecryptable(
        message_id=info.ID,
        chat=chat,
        sender=sender,
        from_me=info.MessageSource.IsFromMe,
        is_group=info.MessageSource.IsGroup,
        timestamp=moment(info.Timestamp),
    )


def _joined(event: Neonize_pb2.JoinedGroup) -> GroupChange:
    members = [
        contact(member.LID if member.LID.User else member.JID, member.PhoneNumber)
        for member in event.GroupInfo.Participants[:MAX_MEMBERS]
    ]
    return GroupChange(
        group=Contact(id=jid(event.GroupInfo.JID)),
        action="joined",
        by=contact(event.Sender, event.SenderPN) if event.Sender.User else None,
        members=tuple(members),
        name=event.GroupInfo.GroupName.Name or None,
        timestamp=datetime.now(UTC),
    )


def _changes(event: Neonize_pb2.GroupInfoEvent) -> list[Notice]:
    def change(action: GroupAction, members: Iterable[Contact] = (), name: str | None = None) -> GroupChange:
        return GroupChange(
            group=Contact(id=jid(event.JID)),
            action=action,
            by=contact(event.Sender) if event.Sender.User else None,
            members=tuple(members)[:MAX_MEMBERS],
            name=name,
            timestamp=moment(event.Timestamp),
        )

    found: list[Notice] = []
    for field, action in _MEMBERS.items():
        if members := getattr(event, field):
            found.append(change(action, map(contact, members)))
    if event.HasField("Name"):
        found.append(change("renamed", name=event.Name.Name))
    if event.HasField("Topic"):
        found.append(change("described", name=event.Topic.Topic or None))
    if event.HasField("Delete"):
        found.append(change("deleted"))
    return found or [change("other")]
