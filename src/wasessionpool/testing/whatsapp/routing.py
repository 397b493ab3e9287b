"""The way of messages between devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from wasessionpool.testing.whatsapp.addresses import JID, lid_of
from wasessionpool.testing.whatsapp.app_state import share_key
from wasessionpool.testing.whatsapp.content import (
    edit_mark,
    media_type,
    poll_of,
    read_content,
    stanza_type,
    text_message,
)
from wasessionpool.testing.whatsapp.errors import DecryptionError, ProtocolError
from wasessionpool.testing.whatsapp.groups import GroupChat
from wasessionpool.testing.whatsapp.media import open_file
from wasessionpool.testing.whatsapp.messages import ReceivedMessage, new_message_id
from wasessionpool.testing.whatsapp.network import Account, Companion, Network, Outgoing, logger
from wasessionpool.testing.whatsapp.nodes import Node, Value, node
from wasessionpool.testing.whatsapp.polls import PollSecret
from wasessionpool.testing.whatsapp.primary import Encryption
from wasessionpool.testing.whatsapp.retries import ask_again
from wasessionpool.testing.whatsapp.stanzas import ack, now, receipt
from wasessionpool.testing.whatsapp.whatsapp_pb2 import Message

Chat = Account | GroupChat


def send_from_phone(network: Network, sender: Account, to: str, content: Message | str) -> str:
    """Send a message from a simulated phone to a number or a group, all devices concerned, and return its id.

    Raises ValueError for who is not on this WhatsApp, and for a group that the sender is not in.
    """
    chat = network.chat(to)
    message = text_message(content) if isinstance(content, str) else content
    message_id = new_message_id()
    poll = poll_of(message)
    if poll is not None:
        options = tuple(option.name for option in poll.options)
        sender.polls.put(message_id, PollSecret(message_id, sender.lid, options, message.context.message_secret))
    if isinstance(chat, GroupChat):
        _send_to_group(network, sender, chat, message_id, message)
        receivers = [account for account in network.members(chat) if account is not sender]
    else:
        _send_to_account(sender, chat, message_id, message)
        receivers = [chat]
    for receiver in receivers:
        receiver.inbox.put(_received(network, receiver, message_id, sender.jid, chat, message, None))
    return message_id


def _send_to_account(sender: Account, recipient: Account, message_id: str, message: Message) -> None:
    written: dict[str, Value] = {"notify": sender.name, "sender_pn": sender.jid}
    for companion in recipient.companions.values():
        _seal_for(companion, sender, message_id, message, written)
    if sender.companions:
        copy = Message(device_sent=Message.DeviceSent(destination=str(recipient.lid), message=message))
        for companion in sender.companions.values():
            addressed: dict[str, Value] = {"recipient": recipient.lid, "peer_recipient_pn": recipient.jid}
            own = {"type": stanza_type(message), **edit_mark(message)}
            _seal_for(companion, sender, message_id, copy, {**own, **addressed})


def _seal_for(
    companion: Companion, sender: Account, message_id: str, message: Message, attrs: Mapping[str, Value]
) -> None:
    head = {
        "from": sender.lid,
        "id": message_id,
        "t": now(),
        "type": stanza_type(message),
        **edit_mark(message),
        **attrs,
    }
    companion.outgoing.put(message_id, Outgoing(sender, message, head))
    sealed = sender.primary.encrypt(companion.lid, message, companion.keys.take_bundle, media_type(message))
    companion.deliver(node("message", head, [sealed]))


def _send_to_group(network: Network, sender: Account, group: GroupChat, message_id: str, message: Message) -> None:
    if sender.number not in group.members:
        raise ValueError(f"{sender.number} is not in the group {group.jid}")
    head: dict[str, Value] = {
        "from": group.jid,
        "participant": sender.lid,
        "participant_pn": sender.jid,
        "notify": sender.name,
        "addressing_mode": "lid",
        "id": message_id,
        "t": now(),
        "type": stanza_type(message),
        **edit_mark(message),
    }
    keys = sender.primary.group_keys
    devices = [companion for account in network.members(group) for companion in account.companions.values()]
    handed = [keys.hand_over(group.jid, companion.lid) for companion in devices]
    shared = keys.encrypt(group.jid, message, media_type(message))
    for companion, key in zip(devices, handed, strict=True):
        companion.outgoing.put(message_id, Outgoing(sender, message, head))
        take_bundle = companion.keys.take_bundle
        own = [sender.primary.encrypt(companion.lid, key, take_bundle)] if key is not None else []
        companion.deliver(node("message", head, [*own, shared]))


def route_message(network: Network, sender: Companion, stanza: Node) -> Node:
    """Take a message from a linked device to every device it is for, once, and return the acknowledgement."""
    to = stanza.jid("to")
    chat = network.groups.get(to) or network.require(to)
    if isinstance(chat, GroupChat) and sender.account.number not in chat.members:
        return ack(stanza, error=403)
    own = stanza.find("enc")
    is_retry = own is not None and "count" in own.attrs
    if not is_retry and sender.is_repeated(stanza.text("id")):
        return ack(stanza)
    for jid, sealed in _targets(network, sender, chat, stanza, is_retry=is_retry):
        if not sealed:
            raise ProtocolError("<message> without <enc>")
        if jid.device == 0:
            _give_to_phone(network, network.require(jid), sender, chat, stanza, sealed)
        else:
            _forward(network, jid, sender, chat, stanza, sealed)
    return ack(stanza)


def _targets(
    network: Network, sender: Companion, chat: Chat, stanza: Node, *, is_retry: bool
) -> list[tuple[JID, Sequence[Node]]]:
    """Say which device gets which ciphertexts. A group's are its shared one, after the device's own, if it has one."""
    shared = list(stanza.find_all("enc"))
    participants = stanza.find("participants")
    named = {part.jid("jid"): list(part.find_all("enc")) for part in participants.children} if participants else {}
    if isinstance(chat, GroupChat) and not is_retry:
        devices = [device for account in network.members(chat) for device in account.devices() if device != sender.lid]
        return [(device, named.get(device, []) + shared) for device in devices]
    if participants is None:
        receiver = stanza.jid("participant") if "participant" in stanza.attrs else stanza.jid("to")
        return [(receiver, shared)]
    return list(named.items())


def _give_to_phone(
    network: Network, owner: Account, sender: Companion, chat: Chat, stanza: Node, sealed: Sequence[Node]
) -> None:
    message_id = stanza.text("id")
    group = chat.jid if isinstance(chat, GroupChat) else None
    try:
        opened = [owner.primary.decrypt(sender.lid, one, group) for one in sealed]
    except DecryptionError as error:
        owner.undecryptable += 1
        logger.warning("%s cannot decrypt message %s from %s: %s", owner.lid, message_id, sender.lid, error)
        ask_again(owner, sender, message_id, stanza.jid("to"))
        return
    encryption, message = opened[-1]
    if owner is sender.account:
        if message.protocol.HasField("key_request"):
            share_key(sender)
        if message.HasField("device_sent"):
            message = message.device_sent.message
        elif group is None:
            return
        owner.copies.put(_received(network, owner, message_id, _author(sender), chat, message, encryption))
    else:
        owner.inbox.put(_received(network, owner, message_id, _author(sender), chat, message, encryption))
        sender.deliver(receipt(owner.lid, message_id, "", group))


def _author(sender: Companion) -> JID:
    return sender.account.jid.with_device(sender.device)


def _received(
    network: Network,
    owner: Account,
    message_id: str,
    author: JID,
    chat: Chat,
    message: Message,
    encryption: Encryption | None,
) -> ReceivedMessage:
    content = read_content(message)
    voter = lid_of(author.user)
    if content.kind == "poll":
        owner.polls.put(message_id, PollSecret(message_id, voter, content.options, message.context.message_secret))
    options, media = content.options, b""
    try:
        if content.kind == "vote":
            poll = owner.polls.get(content.target)
            options = poll.open(voter, message.poll_update.vote) if poll is not None else ()
        if content.pointer is not None:
            media = open_file(network.media, content.pointer)
    except DecryptionError as error:
        owner.undecryptable += 1
        logger.warning("%s cannot read what is in message %s: %s", owner.lid, message_id, error)
    return ReceivedMessage(
        message_id,
        author.user,
        str(chat.jid) if isinstance(chat, GroupChat) else chat.number,
        content.text,
        datetime.now(UTC),
        encryption,
        author.device,
        content.kind,
        content.target,
        options,
        content.mimetype,
        media,
    )


def _forward(network: Network, jid: JID, sender: Companion, chat: Chat, stanza: Node, sealed: Sequence[Node]) -> None:
    companion = network.companion(jid)
    if companion is None:
        return
    author = sender.account
    attrs: dict[str, Value] = {"id": stanza.text("id"), "t": now(), "type": stanza.text("type")}
    if isinstance(chat, GroupChat):
        attrs |= {"from": chat.jid, "participant": sender.lid, "participant_pn": author.jid, "addressing_mode": "lid"}
        attrs |= {"notify": author.name}
    elif companion.account is author:
        attrs |= {"from": sender.lid, "recipient": chat.lid, "peer_recipient_pn": chat.jid}
    else:
        attrs |= {"from": sender.lid, "notify": author.name, "sender_pn": author.jid}
    identity = stanza.find("device-identity")
    companion.deliver(node("message", attrs, [*sealed, *([identity] if identity is not None else [])]))
