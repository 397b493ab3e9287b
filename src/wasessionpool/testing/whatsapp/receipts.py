"""The way of receipts between devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.groups import GroupChat
from wasessionpool.testing.whatsapp.messages import ReceivedReceipt
from wasessionpool.testing.whatsapp.network import Account, Companion, Network
from wasessionpool.testing.whatsapp.nodes import Node
from wasessionpool.testing.whatsapp.retries import send_again
from wasessionpool.testing.whatsapp.stanzas import ack, receipt

OWN_KINDS: Final = ("read", "played", "read-self", "played-self")
"""What the other devices of the one who read are told too."""
PRIVATE_KINDS: Final = ("read-self", "played-self", "hist_sync", "peer_msg", "server-error")
"""What does not leave the account."""


def route_receipt(network: Network, sender: Companion, stanza: Node) -> Node:
    """Take a receipt from a linked device to whom it is for, and return the acknowledgement.

    One for a message that a linked device wrote goes to that device, one for a phone's message to all of its account.
    """
    message_ids = (stanza.text("id"), *(item.text("id") for item in stanza.children[:1] for item in item.children))
    kind = stanza.text("type")
    for message_id in message_ids:
        sender.take_receipt(message_id)
    to = stanza.attrs.get("to")
    group = network.groups.get(to) if isinstance(to, JID) else None
    author_jid = stanza.attrs.get("participant") if group is not None else to
    author = network.find(author_jid) if isinstance(author_jid, JID) else None
    if author is None or not isinstance(author_jid, JID):
        return ack(stanza)
    if kind == "retry" and author_jid.device == 0:
        send_again(sender, message_ids[0])
    if kind in OWN_KINDS:
        _tell_own_devices(sender.account, sender, message_ids, kind, group if group is not None else author)
    if kind in PRIVATE_KINDS:
        sender.account.receipts.put(ReceivedReceipt(message_ids, sender.account.number, kind))
        return ack(stanza)
    author.receipts.put(ReceivedReceipt(message_ids, sender.account.number, kind))
    for device in _devices(author, author_jid.device, kind):
        for message_id in message_ids:
            told = receipt(sender.lid, message_id, kind, group.jid if group is not None else None)
            if kind == "retry":
                told = replace(told, content=stanza.content)
            if author is sender.account and "recipient" in stanza.attrs:
                told = replace(told, attrs={**told.attrs, "recipient": stanza.jid("recipient")})
            device.deliver(told)
    return ack(stanza)


def _devices(author: Account, device: int, kind: str) -> list[Companion]:
    if device:
        companion = author.companions.get(device)
        return [companion] if companion is not None else []
    return [] if kind in ("retry", "sender") else list(author.companions.values())


def _tell_own_devices(
    account: Account, sender: Companion | None, message_ids: Sequence[str], kind: str, chat: Account | GroupChat
) -> None:
    origin = sender.lid if sender is not None else account.lid
    for companion in account.companions.values():
        if companion is not sender:
            for message_id in message_ids:
                if isinstance(chat, GroupChat):
                    companion.deliver(receipt(origin, message_id, kind, chat.jid))
                else:
                    told = receipt(origin, message_id, kind)
                    companion.deliver(replace(told, attrs={**told.attrs, "recipient": chat.lid}))


def send_receipt(reader: Account, author: Account, message_id: str, kind: str, device: int, group: JID | None) -> None:
    """Tell the author's devices, or the one that wrote the message, what a phone did with it."""
    for companion in _devices(author, device, kind):
        companion.deliver(receipt(reader.lid, message_id, kind, group))


def tell_own_devices(reader: Account, chat: Account | GroupChat, message_id: str, kind: str) -> None:
    """Tell the linked devices of a phone what was read on it."""
    _tell_own_devices(reader, None, [message_id], kind, chat)
