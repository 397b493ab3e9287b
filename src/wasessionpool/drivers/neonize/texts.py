"""What the texts of neonize and whatsmeow mean: their errors reach Python as nothing else."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from http import HTTPStatus

from ...links import LinkEnded
from ...models import DisconnectReason
from .wire import Failure

MAX_DETAIL = 300
UNKNOWN_BAN = timedelta(hours=1)
"""How long a ban is taken to last when neonize could not encode its event, and with it the end."""

_LINE_CLOSED = "websocket not connected"
_NOT_CONNECTED = (_LINE_CLOSED, "client is nil", "doesn't contain a device JID")
_BEFORE_SENDING = ("failed to get", "failed to fetch LID mappings", "failed to prefetch sessions")
_UNKNOWN_OUTCOME = (
    "timed out",
    "websocket disconnected before",
    "context deadline exceeded",
    "failed to send message node",
    "context canceled",
)
_ANSWERS = ("info query returned", "missing <")
"""How whatsmeow's words begin for an answer that refuses, or lacks what was asked for."""

_STORAGE = ("upgrade database", "not a database", "database is locked", "unable to open", "disk I/O", "readonly")
_NETWORK = ("failed to dial", "context deadline", "noise handshake failed", "proxy")
_HTTP_STATUS = re.compile(r"status code 101 but got \d{3}")
_PROXY_STATUS = re.compile(r'": (?P<phrase>[A-Za-z\' -]*)$')
"""Go says nothing of a status with which a proxy refuses but its reason phrase, which may be empty."""

_PHRASES = frozenset({"", *(status.phrase for status in HTTPStatus)})
_SERVER_ERROR = re.compile(r"server returned error (\d+)")


def ending(text: str, now: datetime) -> LinkEnded:
    """Say why a client's ``Neonize`` call, which the pool did not end, returned ``text``."""
    detail = text[:MAX_DETAIL] or "the client ended without a word"
    if "TemporaryBan" in text:
        detail = f"banned, unknown until when: {detail}"
        return LinkEnded(reason=DisconnectReason.TEMPORARILY_BANNED, detail=detail, until=now + UNKNOWN_BAN)
    if "ConnectFailure" in text or _has_http_status(text):
        return LinkEnded(reason=DisconnectReason.SERVER, detail=detail)
    if any(mark in text for mark in _NETWORK):
        return LinkEnded(reason=DisconnectReason.NETWORK, detail=detail)
    if any(mark in text for mark in _STORAGE):
        return LinkEnded(reason=DisconnectReason.STORAGE, detail=detail)
    return LinkEnded(reason=DisconnectReason.PUMP_DEAD, detail=detail)


def without_proxy(text: str, proxy: str) -> str:
    """Return what a client complained of without its proxy's password, which Go repeats where it cannot read the URL.

    Go escapes what it quotes, and may quote a part of the URL after its complaint.
    """
    if text.startswith('parse "'):
        complaint = text.rpartition('": ')[2].partition('"')[0].strip()
        return f'parse "the proxy": {complaint}'
    return text.replace(proxy, "the proxy")


def failure(text: str) -> Failure:
    """Say what the error ``text`` of a call means for what it was to do."""
    detail = text[:MAX_DETAIL]
    if refused := _SERVER_ERROR.search(text):
        return Failure(kind="rejected", detail=detail, server_code=int(refused[1]))
    if "no LID found" in text:
        return Failure(kind="not_on_whatsapp", detail=detail)
    if any(mark in text for mark in _NOT_CONNECTED):
        return Failure(kind="not_connected", detail=detail)
    if any(mark in text for mark in _UNKNOWN_OUTCOME):
        kind = "not_connected" if text.startswith(_BEFORE_SENDING) else "timeout"
        return Failure.model_validate({"kind": kind, "detail": detail})
    return Failure(kind="failed", detail=detail)


def is_answer(text: str) -> bool:
    """Say whether the error ``text`` of a question shows that the server has answered it."""
    return text.startswith(_ANSWERS)


def is_of_closed_line(text: str) -> bool:
    """Say whether the error ``text`` of a question comes from a client whose line is closed, not from none."""
    return _LINE_CLOSED in text


def _has_http_status(text: str) -> bool:
    refused = _PROXY_STATUS.search(text)
    return bool(_HTTP_STATUS.search(text)) or (refused is not None and refused["phrase"] in _PHRASES)
