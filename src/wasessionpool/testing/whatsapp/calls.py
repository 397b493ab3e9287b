"""Calls: what a linked device hears of one, which rings on the phone."""

from __future__ import annotations

import secrets
from typing import Literal

from wasessionpool.testing.whatsapp.network import Account
from wasessionpool.testing.whatsapp.nodes import Value, node
from wasessionpool.testing.whatsapp.stanzas import now


def ring(caller: Account, callee: Account) -> str:
    """Let linked devices hear that someone calls, and return the call's id."""
    call_id = secrets.token_hex(16).upper()
    _tell(caller, callee, call_id, "offer")
    return call_id


def hang_up(caller: Account, callee: Account, call_id: str) -> None:
    _tell(caller, callee, call_id, "terminate")


def _tell(caller: Account, callee: Account, call_id: str, what: Literal["offer", "terminate"]) -> None:
    attrs: dict[str, Value] = {
        "from": caller.lid,
        "id": secrets.token_hex(8).upper(),
        "t": now(),
    }
    about: dict[str, Value] = {"call-id": call_id, "call-creator": caller.lid, "caller_pn": caller.jid}
    offered = [node("audio", {"enc": "opus", "rate": "16000"}), node("net", {"medium": "3"})]
    for companion in callee.companions.values():
        companion.deliver(node("call", attrs, [node(what, about, offered if what == "offer" else [])]))
