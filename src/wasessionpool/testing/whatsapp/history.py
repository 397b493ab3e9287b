"""Old chats that a phone hands over to its linked devices."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence

from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.content import text_message
from wasessionpool.testing.whatsapp.messages import new_message_id
from wasessionpool.testing.whatsapp.network import Companion
from wasessionpool.testing.whatsapp.nodes import Value, node
from wasessionpool.testing.whatsapp.stanzas import now
from wasessionpool.testing.whatsapp.whatsapp_pb2 import History, Message, MessageKey

_RECENT = 3
_NOTIFICATION = 5


def share_history(companion: Companion, chat: JID, texts: Sequence[str], progress: int) -> None:
    """Hand over one chat, as a part of all that is; it stands in the message itself, as what is small does."""
    items = [
        History.Item(
            entry=History.Entry(
                key=MessageKey(chat=str(chat), id=new_message_id()),
                message=text_message(text),
                timestamp=int(time.time()),
            ),
            order=number,
        )
        for number, text in enumerate(texts)
    ]
    history = History(sync_type=_RECENT, chats=[History.Chat(id=str(chat), items=items)], progress=progress)
    notice = Message.Protocol.HistoryNotice(
        sync_type=_RECENT, progress=progress, payload=zlib.compress(history.SerializeToString())
    )
    message = Message(protocol=Message.Protocol(type=_NOTIFICATION, history=notice))
    account = companion.account
    attrs: dict[str, Value] = {"from": account.lid, "id": new_message_id(), "t": now(), "type": "text"}
    sealed = account.primary.encrypt(companion.lid, message, companion.keys.take_bundle)
    companion.deliver(node("message", attrs | {"category": "peer"}, [sealed]))
