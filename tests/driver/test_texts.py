from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wasessionpool.drivers.neonize import texts
from wasessionpool.models import DisconnectReason

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DIAL = "failed to dial whatsapp web websocket: failed to WebSocket dial: "
REQUEST = DIAL + 'failed to send handshake request: Get "https://web.whatsapp.com/ws/chat": '


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REQUEST + "proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused", DisconnectReason.NETWORK),
        (REQUEST + "dial tcp: lookup web.whatsapp.com: no such host", DisconnectReason.NETWORK),
        (REQUEST + "EOF", DisconnectReason.NETWORK),
        (REQUEST + "Service Unavailable", DisconnectReason.SERVER),
        (REQUEST, DisconnectReason.SERVER),
        (DIAL + "expected handshake response status code 101 but got 503", DisconnectReason.SERVER),
        ("context deadline exceeded", DisconnectReason.NETWORK),
        ("noise handshake failed: timed out waiting for handshake response", DisconnectReason.NETWORK),
        ("failed to upgrade database: file is not a database", DisconnectReason.STORAGE),
        ("database is locked", DisconnectReason.STORAGE),
        ("proto: required field neonize.ConnectFailure.Reason not set", DisconnectReason.SERVER),
        ("proto: required field neonize.Receipt.Type not set", DisconnectReason.PUMP_DEAD),
        ("", DisconnectReason.PUMP_DEAD),
    ],
)
def test_why_a_client_ended(text: str, reason: DisconnectReason) -> None:
    ended = texts.ending(text, NOW)
    assert ended.reason is reason
    assert ended.detail
    assert ended.until is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r'parse "http://user:SE\"CRET@host:1": net/url: invalid userinfo', "net/url: invalid userinfo"),
        (r'parse "http://user:SE\\CRET@host:1": net/url: invalid userinfo', "net/url: invalid userinfo"),
        (r'parse "http://user:SE\": CRET@host:1": net/url: invalid userinfo', "net/url: invalid userinfo"),
        ('parse "http://user:SE%ZZCRET@host:1": invalid URL escape "%ZZ"', "invalid URL escape"),
    ],
)
def test_a_proxys_password_is_in_no_text(text: str, said: str) -> None:
    assert texts.without_proxy(text, "http://user:SECRET@host:1") == f'parse "the proxy": {said}'


def test_a_proxy_is_named_in_no_other_text() -> None:
    proxy = "http://user:SECRET@host:1"
    assert texts.without_proxy(f"dial {proxy}: refused", proxy) == "dial the proxy: refused"


def test_a_ban_of_unknown_length_lasts_an_hour() -> None:
    ended = texts.ending("proto: required field neonize.TemporaryBan.Code not set", NOW)
    assert (ended.reason, ended.until) == (DisconnectReason.TEMPORARILY_BANNED, NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("websocket not connected", "not_connected", None),
        ("failed to send message node: websocket not connected", "not_connected", None),
        ("client is nil", "not_connected", None),
        ("the store doesn't contain a device JID", "not_connected", None),
        ("failed to get device list: info query timed out", "not_connected", None),
        ("failed to get LID for PN 1@s.whatsapp.net: websocket disconnected before info query", "not_connected", None),
        ("server returned error 479", "rejected", 479),
        ("server returned error 463", "rejected", 463),
        ("timed out waiting for message send response", "timeout", None),
        ("websocket disconnected before message send returned response", "timeout", None),
        ("failed to send message node: write tcp: broken pipe", "timeout", None),
        ("no LID found for 1@s.whatsapp.net from server", "not_on_whatsapp", None),
        ("you're not participating in that group", "failed", None),
    ],
)
def test_what_became_of_a_send(text: str, kind: str, code: int | None) -> None:
    failure = texts.failure(text)
    assert (failure.kind, failure.server_code) == (kind, code)


@pytest.mark.parametrize(
    ("text", "answered"),
    [
        ("info query returned status 503: service-unavailable", True),
        ("missing <list> element in response to blocklist query", True),
        ("info query timed out", False),
        ("websocket disconnected before info query returned response", False),
        ("websocket not connected", False),
        ("client is nil", False),
    ],
)
def test_what_an_error_says_of_the_server(text: str, answered: bool) -> None:
    assert texts.is_answer(text) is answered


def test_details_are_bounded() -> None:
    assert len(texts.failure("x" * 10_000).detail) == len(texts.ending("x" * 10_000, NOW).detail or "") == 300
