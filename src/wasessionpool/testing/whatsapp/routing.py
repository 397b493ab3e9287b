"""The way of messages and receipts between devices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from wasessionpool.testing.whatsapp.addresses import JID, number_of
from wasessionpool.testing.whatsapp.errors import DecryptionError, ProtocolError
from wasessionpool.testing.whatsapp.messages import ReceivedMessage, ReceivedReceipt, new_message_id, text_of
from wasessionpool.testing.whatsapp.network import Account, Companion, Network, Outgoing, logger
from wasessionpool.testing.whatsapp.nodes import Node, Value, node
from wasessionpool.testing.whatsapp.ratchet import Kind
from wasessionpool.testing.whatsapp.retries import ask_again, send_again
from wasessionpool.testing.whatsapp.stanzas import ack, now, receipt
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message


def send_from_phone(network: Network, sender: Account, to: str, text: str) -> str:
    """Send a text from a simulated phone to an account and all devices concerned, and return its id.

    Raises ValueError for a number that is not on this WhatsApp.
    """
    recipient = network.accounts.get(to)
    if recipient is None:
        raise ValueError(f"{to} is not on this WhatsApp: make it known by contact() or phone() first")
    message_id = new_message_id()
    message = Message(conversation=text)
    written: dict[str, Value] = {"notify": sender.name, "sender_pn": sender.jid}
    for companion in recipient.companions.values():
        _seal_for(companion, sender, message_id, message, written)
    if sender.companions:
        copy = Message(device_sent=Message.DeviceSent(destination=str(recipient.lid), message=message))
        for companion in sender.companions.values():
            addressed: dict[str, Value] = {"recipient": recipient.lid, "peer_recipient_pn": recipient.jid}
            _seal_for(companion, sender, message_id, copy, addressed)
    recipient.inbox.put(ReceivedMessage(message_id, sender.number, to, text, datetime.now(UTC)))
    return message_id


def _seal_for(
    companion: Companion, sender: Account, message_id: str, message: Message, attrs: Mapping[str, Value]
) -> None:
    head: dict[str, Value] = {"from": sender.lid, "id": message_id, "t": now(), "type": "text", **attrs}
    companion.outgoing.put(message_id, Outgoing(sender, message, head))
    sealed = sender.primary.encrypt(companion.lid, message, companion.keys.take_bundle)
    companion.deliver(node("message", head, [sealed]))


def route_message(network: Network, sender: Companion, stanza: Node) -> Node:
    """Take a message from a linked device to every device it is for, once, and return the acknowledgement."""
    recipient = network.require(stanza.jid("to"))
    participants = stanza.find("participants")
    sealed = stanza.find("enc")
    is_retry = sealed is not None and "count" in sealed.attrs
    if not is_retry and sender.is_repeated(stanza.text("id")):
        return ack(stanza)
    if participants is None:
        targets = [(stanza.jid("to"), sealed)]
    else:
        targets = [(part.jid("jid"), part.find("enc")) for part in participants.find_all("to")]
    for jid, sealed in targets:
        if sealed is None:
            raise ProtocolError("<message> without <enc>")
        if jid.device == 0:
            _give_to_phone(network.require(jid), sender, recipient, stanza, sealed)
        else:
            _forward(network, jid, sender, recipient, stanza, sealed)
    return ack(stanza)


def _give_to_phone(owner: Account, sender: Companion, recipient: Account, stanza: Node, sealed: Node) -> None:
    message_id = stanza.text("id")
    try:
        kind, message = owner.primary.decrypt(sender.lid, sealed)
    except DecryptionError as error:
        owner.undecryptable += 1
        logger.warning("%s cannot decrypt message %s from %s: %s", owner.lid, message_id, sender.lid, error)
        ask_again(owner, sender, stanza)
        return
    if owner is sender.account and message.HasField("device_sent"):
        owner.copies.put(_received(message_id, sender, recipient, message.device_sent.message, kind))
    elif owner is not sender.account:
        owner.inbox.put(_received(message_id, sender, recipient, message, kind))
        sender.deliver(receipt(owner.lid, message_id))


def _received(message_id: str, sender: Companion, to: Account, message: Message, kind: Kind) -> ReceivedMessage:
    return ReceivedMessage(message_id, sender.account.number, to.number, text_of(message), datetime.now(UTC), kind)


def _forward(network: Network, jid: JID, sender: Companion, recipient: Account, stanza: Node, sealed: Node) -> None:
    companion = network.companion(jid)
    if companion is None:
        return
    attrs: dict[str, Value] = {"from": sender.lid, "id": stanza.text("id"), "t": now(), "type": stanza.text("type")}
    if companion.account is sender.account:
        attrs |= {"recipient": recipient.lid, "peer_recipient_pn": recipient.jid}
    else:
        attrs |= {"notify": sender.account.name, "sender_pn": sender.account.jid}
    identity = stanza.find("device-identity")
    companion.deliver(node("message", attrs, [sealed, *([identity] if identity is not None else [])]))


def route_receipt(network: Network, sender: Companion, stanza: Node) -> Node:
    """Take a receipt from a linked device to the sender of the message, and return the acknowledgement."""
    message_ids = (stanza.text("id"), *(item.text("id") for item in stanza.children[:1] for item in item.children))
    kind = stanza.text("type")
    for message_id in message_ids:
        sender.acknowledge("message", message_id)
    if kind == "retry":
        send_again(sender, message_ids[0])
    to = stanza.attrs.get("to")
    author = network.accounts.get(number_of(to)) if isinstance(to, JID) else None
    if author is not None and author is not sender.account:
        author.receipts.put(ReceivedReceipt(message_ids, sender.account.number, kind))
        if kind in ("read", "played"):
            for companion in author.companions.values():
                for message_id in message_ids:
                    companion.deliver(receipt(sender.account.lid, message_id, kind))
    return ack(stanza)


def mark_read(network: Network, reader: Account, message: ReceivedMessage) -> None:
    """Tell the devices of a message's author that the phone of `reader` has read it."""
    for companion in network.account(message.sender).companions.values():
        companion.deliver(receipt(reader.lid, message.id, "read"))
