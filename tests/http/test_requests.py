"""Requests that are not what they should be: paths, bodies, headers, and clients that take their time."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from wasessionpool.fastapi.route import SECURITY

from .conftest import BOB, COMPANY, KEY, PREFIX, OpenService, Service

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
MESSAGES = f"/sessions/{COMPANY}/messages"
TEXT = "a text that nobody else should read"
TRAVERSALS = [
    "..",
    ".",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "..%5c..%5cwindows",
    "%252e%252e%252f",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "a%00b",
    "a%0d%0aSet-Cookie:%20x=1",
    "~root",
    ".pool",
    "-rf",
    "a/../b",
    "%c0%ae%c0%ae%c0%af",
    "%ff",
    "962302:sales",
    "962302%20",
    "con%3a",
    "a" * 65,
    "\uff19\uff16\uff12\uff13\uff10\uff12",
    "${jndi:ldap:x}",
    "{{7*7}}",
    "any;ls",
]
PATHS = [
    ("GET", "/sessions/{}"),
    ("DELETE", "/sessions/{}"),
    ("POST", "/sessions/{}/disconnect"),
    ("POST", "/sessions/{}/restart"),
    ("POST", "/sessions/{}/logout"),
    ("GET", "/sessions/{}/qr"),
    ("GET", "/sessions/{}/explain"),
    ("POST", "/sessions/{}/messages"),
]


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is an error of ours, and return its body."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["success"], body["code"]) == (status, False, code), answer.text
    assert isinstance(body["error"], str)
    assert {name: answer.headers[name] for name in SECURITY} == dict(SECURITY)
    return body


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_an_id_never_reaches_a_path(service: Service, method: str, path: str) -> None:
    await service.connect()
    body = json.dumps({"to": BOB, "message": "x"}).encode()
    for name in TRAVERSALS:
        answer = await service.raw(method, path.format(name), body)
        assert answer.status_code in (404, 405, 422), (name, answer.text)
        assert answer.json()["code"] in ("invalid_company_id", "not_found", "method_not_allowed"), name
        assert set(answer.headers) <= {"content-length", "content-type", "allow", *map(str.lower, SECURITY)}
    for name in (*TRAVERSALS, "any", "", "main%26x", "%20main"):
        answer = await service.raw(method, f"{path.format(COMPANY)}?device={quote(name, safe='%')}", body)
        refused(answer, 422, "invalid_company_id")
    assert len(await service.pool.get_active_sessions()) == 1
    assert len(await service.pool.get_sessions()) == 1
    assert service.driver.link.sent == []


async def test_an_id_in_a_body_never_reaches_a_path(service: Service) -> None:
    for name in ("..", "../x", "a/b", "", "a\0", "a\r\nb", ".pool", "-x", "é", "a" * 65):
        for asked in ({"companyId": name}, {"companyId": COMPANY, "device": name}):
            refused(await service.post("/sessions", json=asked), 422, "invalid_company_id")
    assert await service.pool.get_sessions() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"1e999",
        b"NaN",
        b'{"to": "79001234567", "message": NaN}',
        b'{"to": "79001234567", "message": Infinity}',
        b"\xff\xfe{\x00}\x00",
        b'{"to": "79001234567", "message": "\xff"}',
        b'{"to": "79001234567", "message": "\\ud800"}',
        b'{"to": "79001234567", "message": "x"} {}',
        b'{"to": "79001234567", "message": ' + b"[" * 100_000,
        b'{"to": "79001234567", "message": ' + b'{"a":' * 33 + b"1" + b"}" * 33 + b"}",
        b"9" * 100_000,
        b"to=79001234567&message=x",
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>",
    ],
    ids=lambda content: repr(content[:24]),
)
async def test_a_body_that_is_not_right(service: Service, content: bytes) -> None:
    await service.connect()
    body = refused(await service.post(MESSAGES, content=content, headers=JSON), 422, "invalid_request")
    assert body["details"]
    assert service.driver.link.sent == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"to": BOB},
        {"message": TEXT},
        {"to": None, "message": TEXT},
        {"to": 79001234567, "message": TEXT},
        {"to": [BOB], "message": TEXT},
        {"to": BOB, "message": None},
        {"to": BOB, "message": 7},
        {"to": BOB, "message": [TEXT]},
        {"to": BOB, "message": {"kind": "text", "text": TEXT, "caption": TEXT}},
        {"to": BOB, "message": {"kind": "video", "text": TEXT}},
        {"to": BOB, "message": {"kind": "text", "text": {"text": TEXT}}},
        {"to": BOB, "message": TEXT, "device": "sales"},
        {"to": BOB, "message": TEXT, "__proto__": {"admin": True}},
    ],
    ids=str,
)
async def test_a_body_that_breaks_the_schema(
    service: Service, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    await service.connect()
    caplog.set_level(logging.DEBUG)
    answer = await service.post(MESSAGES, json=body)
    details = refused(answer, 422, "invalid_request")["details"]
    assert all(set(detail) == {"where", "problem"} and detail["where"].startswith("body") for detail in details)
    assert TEXT not in answer.text
    assert TEXT not in caplog.text
    assert service.driver.link.sent == []


async def test_an_answer_never_grows_with_the_mistakes(service: Service) -> None:
    body: dict[str, Any] = {f"unknown{number}": number for number in range(1000)}
    details = refused(await service.post(MESSAGES, json=body), 422, "invalid_request")["details"]
    assert len(details) == 20
    for body in ({f"unknown{number}": 0 for number in range(50_000)}, {"to": [[]] * 5000}):
        [detail] = refused(await service.post(MESSAGES, json=body), 422, "invalid_request")["details"]
        assert "more than 4096 values" in detail["problem"]
    body = {"companyId": COMPANY, "x" * 100_000: 1}
    assert len((await service.post("/sessions", json=body)).content) < 2000


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "application/json-patch+json",
        "text/json; application/json",
    ],
)
async def test_only_json_is_read(service: Service, media_type: str | None) -> None:
    await service.connect()
    content = json.dumps({"to": BOB, "message": TEXT}).encode()
    headers = {"Content-Type": media_type} if media_type is not None else {}
    refused(await service.post(MESSAGES, content=content, headers=headers), 415, "unsupported_media_type")
    assert service.driver.link.sent == []


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
async def test_json_by_its_other_names(service: Service, media_type: str) -> None:
    await service.connect()
    content = json.dumps({"to": BOB, "message": TEXT}).encode()
    answer = await service.post(MESSAGES, content=content, headers={"Content-Type": media_type})
    assert answer.status_code == 201


async def test_the_longest_text_fits_however_it_is_escaped(service: Service) -> None:
    await service.connect()
    text = "\U0001f642" * 65_536
    content = json.dumps({"to": BOB, "message": text}).encode()
    assert len(content) > 780_000
    assert (await service.post(MESSAGES, content=content, headers=JSON)).status_code == 201
    [(_, sent)] = service.driver.link.sent
    assert sent.text == text


async def test_a_body_that_is_too_large_is_not_read_on(open_service: OpenService) -> None:
    async with open_service(max_body=1000) as service:
        taken = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 100
                yield b" " * 100

        body = refused(await service.post(MESSAGES, content=endless(), headers=JSON), 413, "payload_too_large")
        assert body["limit"] == 1000
        assert taken <= 1200
        answer = await service.post(MESSAGES, content=b" " * 1001, headers=JSON)
        refused(answer, 413, "payload_too_large")
        assert answer.headers["connection"] == "close"
        for length in ("1001", "1" * 400, "1" * 5000):
            refused(await service.raw("POST", MESSAGES, b"{}", **{"content-length": length}), 413, "payload_too_large")
        for length in ("-1", "0x10", "", "\xb2", "2"):
            refused(await service.raw("POST", MESSAGES, b"{}", **{"content-length": length}), 422, "invalid_request")


async def test_a_body_is_not_waited_for_without_end(open_service: OpenService) -> None:
    async with open_service(body_timeout=0.05) as service:

        async def stalled() -> AsyncIterator[bytes]:
            yield b"{"
            await anyio.sleep_forever()

        answer = await service.post(MESSAGES, content=stalled(), headers=JSON)
        refused(answer, 408, "request_timeout")
        assert answer.headers["connection"] == "close"


async def test_nothing_is_read_of_who_is_not_let_in(service: Service) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    refused(await service.post(MESSAGES, key="wrong", content=unread(), headers=JSON), 401, "unauthorized")
    key, _ = await service.keys.create(rights=["read"])
    refused(await service.post(MESSAGES, key=key, content=unread(), headers=JSON), 403, "forbidden")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{PREFIX}/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", f"{PREFIX}/sessions/", 404, "not_found"),
        ("GET", f"{PREFIX}//sessions", 404, "not_found"),
        ("PUT", f"{PREFIX}/sessions", 405, "method_not_allowed"),
        ("DELETE", f"{PREFIX}/sessions", 405, "method_not_allowed"),
        ("GET", f"{PREFIX}{MESSAGES}", 405, "method_not_allowed"),
        ("TRACE", f"{PREFIX}/metrics", 405, "method_not_allowed"),
        ("OPTIONS", f"{PREFIX}/metrics", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
    ],
)
async def test_an_unknown_call(service: Service, method: str, path: str, status: int, code: str) -> None:
    answer = await service.client.request(method, path, headers={"X-API-Key": KEY, "Host": "evil.example"})
    refused(answer, status, code)
    assert "evil" not in str(answer.headers)
    assert ("allow" in answer.headers) == (status == 405)


async def test_what_a_request_says_is_in_no_header_of_the_answer(service: Service) -> None:
    await service.connect()
    evil = "evil%0d%0aX-Evil:%201"
    for request in (
        {"params": {"device": "main\r\nX-Evil: 1"}},
        {"headers": {"X-Forwarded-Host": "evil", "X-Request-ID": "evil", "Origin": "https://evil.example"}},
        {"headers": {"Accept": "evil/evil"}},
    ):
        answer = await service.get(f"/sessions/{COMPANY}", **request)  # type: ignore[arg-type]
        assert "evil" not in str(answer.headers).lower()
    answer = await service.get(f"/sessions/{evil}")
    assert "evil" not in str(answer.headers).lower()
    assert "\r" not in answer.text


async def test_every_answer_is_secured(service: Service) -> None:
    await service.connect()
    for path in ("/sessions", f"/sessions/{COMPANY}", "/metrics", "/health", "/health/ready", "/nothing"):
        answer = await service.get(path)
        assert {name: answer.headers[name] for name in SECURITY} == dict(SECURITY)
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


async def test_pages_of_named_origins_may_call(open_service: OpenService) -> None:
    async with open_service(cors_origins=["https://crm.example"]) as service:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key, Content-Type"}
        answer = await service.ask("OPTIONS", "/sessions", headers=asks | {"Origin": "https://crm.example"})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://crm.example"
        answer = await service.get("/sessions", headers={"Origin": "https://crm.example"})
        assert answer.headers["access-control-allow-origin"] == "https://crm.example"
        answer = await service.get("/sessions", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        answer = await service.ask("OPTIONS", "/sessions", headers=asks | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers


async def test_no_secret_is_in_a_log(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key, _ = await service.keys.create(rights=["send", "manage"])
    await service.post("/sessions", json={"companyId": COMPANY}, key=key)
    status = await service.pool.get_session_status(COMPANY)
    assert status.qr is not None
    await service.get(f"/sessions/{COMPANY}/qr", key=key)
    await service.post(MESSAGES, json={"to": BOB, "message": TEXT}, key=key)
    service.driver.link.up()
    await service.pool.wait_until_connected(COMPANY, timeout=10)
    await service.post(MESSAGES, json={"to": BOB, "message": TEXT}, key=key)
    await service.post(MESSAGES, json={"to": "nobody", "message": TEXT}, key=key)
    await service.get("/sessions", key=key)
    await service.get("/sessions", key="a-key-that-is-wrong")
    for secret in (TEXT, status.qr.text, status.qr.data_url(), key, KEY, "a-key-that-is-wrong"):
        assert secret not in caplog.text
