"""Answers to the clients' `<iq>` questions. What is not in the table gets an empty result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from wasessionpool.testing.whatsapp.addresses import JID, phone_number
from wasessionpool.testing.whatsapp.app_state import answer_sync
from wasessionpool.testing.whatsapp.curve import KEY_TYPE, verify
from wasessionpool.testing.whatsapp.device_lists import announce_device
from wasessionpool.testing.whatsapp.errors import ProtocolError
from wasessionpool.testing.whatsapp.group_queries import GROUP_QUERIES, answer_group_query
from wasessionpool.testing.whatsapp.media import MEDIA_HOST
from wasessionpool.testing.whatsapp.network import FEW_PREKEYS, Account, Companion, Network
from wasessionpool.testing.whatsapp.nodes import Node, Value, node
from wasessionpool.testing.whatsapp.ratchet import Bundle
from wasessionpool.testing.whatsapp.stanzas import now


class Query(NamedTuple):
    """A question of a linked device."""

    network: Network
    companion: Companion
    iq: Node


Answer = Callable[[Query], list[Node]]

_ABOUT = b"Hey there! I am using WhatsApp."
_PRIVACY = {
    "groupadd": "all",
    "last": "all",
    "status": "contacts",
    "profile": "all",
    "readreceipts": "all",
    "online": "all",
    "calladd": "all",
}


def answer(query: Query) -> list[Node]:
    """Return what stands inside the result. Raises ProtocolError or NodeError for a question that makes no sense."""
    iq = query.iq
    child = iq.children[0].tag if iq.children else ""
    known = ANSWERS.get((iq.text("xmlns"), iq.text("type"), child))
    return known(query) if known is not None else []


def _count_prekeys(query: Query) -> list[Node]:
    claimed = FEW_PREKEYS if query.network.prekeys == FEW_PREKEYS else len(query.companion.keys.prekeys)
    return [node("count", {"value": str(claimed)})]


def _register_keys(query: Query) -> list[Node]:
    keys = query.companion.keys
    skey = query.iq.find("skey")
    if skey is not None:
        key_id, value, signature = _child(skey, "id"), _child(skey, "value"), _child(skey, "signature")
        if not verify(keys.identity, KEY_TYPE + value, signature):
            raise ProtocolError("a device registers a signed pre-key that it did not sign")
        keys.signed_prekey_id, keys.signed_prekey, keys.signature = int.from_bytes(key_id, "big"), value, signature
    uploaded = query.iq.find("list")
    for key in uploaded.children if uploaded is not None else ():
        keys.prekeys.append((int.from_bytes(_child(key, "id"), "big"), _child(key, "value")))
    return []


def _child(parent: Node, tag: str) -> bytes:
    found = parent.find(tag)
    if found is None:
        raise ProtocolError(f"<{parent.tag}> without <{tag}>")
    return found.data


def _hand_out_keys(query: Query) -> list[Node]:
    asked = query.iq.find("key")
    users = asked.children if asked is not None else ()
    return [node("list", {}, [_bundle_of(query.network, user.jid("jid")) for user in users])]


def _bundle_of(network: Network, jid: JID) -> Node:
    account = network.find(jid)
    if account is not None and jid.device == 0:
        return node("user", {"jid": jid}, bundle_nodes(account.primary.take_bundle()))
    linked = network.companion(jid)
    if linked is not None:
        return node("user", {"jid": jid}, bundle_nodes(linked.keys.take_bundle()))
    return node("user", {"jid": jid}, [node("error", {"code": "404", "text": "item-not-found"})])


def bundle_nodes(bundle: Bundle) -> list[Node]:
    """Write the keys for a new session: registration, type, identity, signed pre-key and, if there is one, pre-key."""
    signed = [
        node("id", {}, bundle.signed_prekey_id.to_bytes(3, "big")),
        node("value", {}, bundle.signed_prekey),
        node("signature", {}, bundle.signature),
    ]
    children = [
        node("registration", {}, bundle.registration_id.to_bytes(4, "big")),
        node("type", {}, KEY_TYPE),
        node("identity", {}, bundle.identity),
        node("skey", {}, signed),
    ]
    if bundle.prekey_id is not None and bundle.prekey is not None:
        key = [node("id", {}, bundle.prekey_id.to_bytes(3, "big")), node("value", {}, bundle.prekey)]
        children.append(node("key", {}, key))
    return children


def _look_up_users(query: Query) -> list[Node]:
    asked = query.iq.find("usync", "list")
    fields = query.iq.find("usync", "query")
    if asked is None or fields is None:
        raise ProtocolError("<usync> without <list> or <query>")
    wanted = [child.tag for child in fields.children]
    users = [_look_up_user(query, user, wanted) for user in asked.find_all("user")]
    return [node("usync", {}, [node("result"), node("list", {}, users)])]


def _look_up_user(query: Query, user: Node, wanted: list[str]) -> Node:
    contact = user.find("contact")
    jid = user.attrs.get("jid")
    if not isinstance(jid, JID):
        try:
            jid = JID(phone_number(contact.data.decode().partition("@")[0] if contact is not None else ""))
        except ValueError:
            raise ProtocolError("<usync> asks for a user by neither address nor number") from None
    account = query.network.find(jid)
    children = []
    if "contact" in wanted:
        children.append(node("contact", {"type": "in" if account else "out"}, contact.data if contact else None))
    if account is not None:
        if "lid" in wanted and not account.faults.lid_hidden.value:
            children.append(node("lid", {"val": account.lid}))
        if "devices" in wanted:
            children.append(_device_list(account))
            query.companion.asked_for.add(account.number)
        if "status" in wanted:
            children.append(node("status", {"t": now()}, _ABOUT))
    return node("user", {"jid": jid}, children)


def _device_list(account: Account) -> Node:
    devices: list[Mapping[str, Value]] = [{"id": "0"}]
    devices += [{"id": str(device), "key-index": str(device)} for device in account.companions]
    return node("devices", {}, [node("device-list", {}, [node("device", attrs) for attrs in devices])])


def _privacy(_query: Query) -> list[Node]:
    return [node("privacy", {}, [node("category", {"name": name, "value": value}) for name, value in _PRIVACY.items()])]


def _blocked(_query: Query) -> list[Node]:
    return [node("list")]


def _media_hosts(_query: Query) -> list[Node]:
    attrs = {"auth": "loopback", "ttl": "3600", "auth_ttl": "3600", "max_buckets": "12"}
    return [node("media_conn", attrs, [node("host", {"hostname": MEDIA_HOST})])]


def _synchronise(query: Query) -> list[Node]:
    return answer_sync(query.companion, query.iq)


def _answer_group(query: Query) -> list[Node]:
    return answer_group_query(query.network, query.companion, query.iq)


def _remove_device(query: Query) -> list[Node]:
    query.companion.account.unlink(query.companion)
    announce_device(query.network, query.companion, "remove")
    return []


ANSWERS: Final[Mapping[tuple[str, str, str], Answer]] = {
    ("encrypt", "get", "count"): _count_prekeys,
    ("encrypt", "set", "registration"): _register_keys,
    ("encrypt", "set", "identity"): _register_keys,
    ("encrypt", "get", "key"): _hand_out_keys,
    ("usync", "get", "usync"): _look_up_users,
    ("privacy", "get", "privacy"): _privacy,
    ("md", "set", "remove-companion-device"): _remove_device,
    ("blocklist", "get", ""): _blocked,
    ("w:m", "set", "media_conn"): _media_hosts,
    ("w:sync:app:state", "set", "sync"): _synchronise,
    **{("w:g2", kind, tag): _answer_group for kind, tags in GROUP_QUERIES.items() for tag in tags},
}
