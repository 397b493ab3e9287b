"""What clients hear of a change of an account's devices: they ask for a list once, and keep it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import Literal

from wasessionpool.testing.whatsapp.addresses import JID
from wasessionpool.testing.whatsapp.network import Account, Companion, Network
from wasessionpool.testing.whatsapp.nodes import Node, Value, node
from wasessionpool.testing.whatsapp.stanzas import now


def announce_device(network: Network, changed: Companion, change: Literal["add", "remove"]) -> None:
    """Tell the other devices of the account, and every device that has asked for its list, what changed."""
    account = changed.account
    for companion in network.companions():
        if companion.account is account and companion is not changed:
            companion.deliver(_notification("account_sync", account.jid, _own_list(account)))
        elif account.number in companion.asked_for:
            attrs: dict[str, Value] = {"device_hash": list_hash(account.devices())}
            entry = node("device", {"jid": changed.lid, "key-index": str(changed.device)})
            companion.deliver(_notification("devices", account.lid, node(change, attrs, [entry])))


def list_hash(devices: Iterable[JID]) -> str:
    """Return WhatsApp's hash of a list of devices, whatever their order."""
    names = sorted(f"{device.user}.0:{device.device}@{device.server}" for device in devices)
    return "2:" + base64.b64encode(sha256("".join(names).encode()).digest()[:6]).decode().rstrip("=")


def _own_list(account: Account) -> Node:
    devices = [account.jid.with_device(device.device) for device in account.devices()]
    entries = [node("device", {"jid": device}) for device in devices]
    return node("devices", {"dhash": list_hash(devices)}, entries)


def _notification(kind: str, sender: JID, content: Node) -> Node:
    attrs: dict[str, Value] = {"from": sender, "type": kind, "id": secrets.token_hex(8), "t": now()}
    return node("notification", attrs, [content])
