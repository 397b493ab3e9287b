"""Stanzas that the server says in more than one place."""

from __future__ import annotations

import time

from wasessionpool.testing.whatsapp.addresses import JID, SERVER
from wasessionpool.testing.whatsapp.nodes import Node, Value, node


def now() -> str:
    return str(int(time.time()))


def result(iq: Node, content: list[Node] | None = None) -> Node:
    return node("iq", {"from": SERVER, "type": "result", "id": iq.text("id")}, content)


def iq_error(iq: Node, code: int, text: str) -> Node:
    error = node("error", {"code": str(code), "text": text})
    return node("iq", {"from": SERVER, "type": "error", "id": iq.text("id")}, [error])


def ack(stanza: Node, *, error: int | None = None) -> Node:
    """Acknowledge a stanza of a client."""
    attrs: dict[str, Value] = {"class": stanza.tag, "from": stanza.attrs.get("to", SERVER), "id": stanza.text("id")}
    if stanza.tag == "receipt" and stanza.text("type"):
        attrs["type"] = stanza.text("type")
    if error is not None:
        attrs["error"] = str(error)
    return node("ack", attrs | {"t": now()})


def receipt(sender: JID, message_id: str, kind: str = "", group: JID | None = None) -> Node:
    """A receipt for a linked device; an empty `kind` means delivered."""
    attrs: dict[str, Value] = {"from": group or sender, "id": message_id, "t": now()}
    if group is not None:
        attrs["participant"] = sender
    return node("receipt", attrs | ({"type": kind} if kind else {}))


def login_failure(reason: int, **attrs: str) -> Node:
    return node("failure", {"reason": str(reason), **attrs})


def stream_error(code: int) -> Node:
    return node("stream:error", {"code": str(code)})


DEVICE_REMOVED = node("stream:error", {"code": "401"}, [node("conflict", {"type": "device_removed"})])
STREAM_END = node("xmlstreamend")
REPLACED = node("stream:error", {}, [node("conflict", {"type": "replaced"})])
