"""What a phone does about a message that did not decrypt: its own or another device's.

It does happen: whatsmeow encrypts and decrypts with one session at the same time without a lock between the two, so
under traffic both ways it can use a message counter twice.
"""

from __future__ import annotations

from typing import Final

from wasessionpool.testing.whatsapp.addresses import GROUP_SERVER, JID
from wasessionpool.testing.whatsapp.network import Account, Companion, logger
from wasessionpool.testing.whatsapp.nodes import Node, node
from wasessionpool.testing.whatsapp.queries import bundle_nodes
from wasessionpool.testing.whatsapp.stanzas import now, receipt

MAX_RETRIES: Final = 5


def ask_again(receiver: Account, sender: Companion, message_id: str, to: JID) -> None:
    """Ask a linked device to send a message anew that it wrote `to` a chat; from the second time on with new keys."""
    count = (receiver.retry_counts.get(message_id) or 0) + 1
    if count > MAX_RETRIES:
        return
    receiver.retry_counts.put(message_id, count)
    asked = receipt(receiver.lid, message_id, "retry", to if to.server == GROUP_SERVER else None)
    registration, *keys = bundle_nodes(receiver.primary.take_bundle())
    children = [node("retry", {"count": str(count), "id": message_id, "t": now(), "v": "1"}), registration]
    if count > 1:
        children.append(node("keys", {}, keys))
    attrs = dict(asked.attrs)
    if receiver is sender.account and to.server != GROUP_SERVER:
        attrs["recipient"] = to
    sender.deliver(Node(asked.tag, attrs, tuple(children)))


def send_again(receiver: Companion, message_id: str) -> None:
    """Send a linked device a message of a phone anew, in a new session."""
    outgoing = receiver.outgoing.get(message_id)
    if outgoing is None:
        logger.warning("%s asks again for message %s, which no phone here has sent lately", receiver.lid, message_id)
        return
    sender = outgoing.sender
    sender.retries_asked += 1
    logger.warning("%s cannot decrypt message %s from %s", receiver.lid, message_id, sender.lid)
    sender.primary.forget(receiver.lid)
    message, group = outgoing.message, outgoing.attrs["from"]
    if isinstance(group, JID) and group.server == GROUP_SERVER:
        keyed = sender.primary.group_keys.distribution(group)
        keyed.MergeFrom(message)
        message = keyed
    sealed = sender.primary.encrypt(receiver.lid, message, receiver.keys.take_bundle)
    receiver.deliver(node("message", outgoing.attrs, [sealed]))
