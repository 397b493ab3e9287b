"""Every error as an HTTP answer."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

import wasessionpool
from wasessionpool import (
    AccountRestricted,
    AuthenticationRequired,
    DisconnectReason,
    DriverError,
    LoggedOut,
    MessageRejected,
    PayloadTooLarge,
    QRCode,
    RateLimitExceeded,
    SendTimeout,
    SessionFailed,
    SessionLocked,
    SessionNotConnected,
    Status,
    StorageError,
    WhatsAppPoolError,
)
from wasessionpool.http.errors import STATUS, HttpError, answer_to
from wasessionpool.testing import FakeLink

from .conftest import BOB, COMPANY, OpenService, Service

pytestmark = pytest.mark.anyio
SECRET = "/var/lib/secret/path"


def descendants(error: type[WhatsAppPoolError]) -> set[type[WhatsAppPoolError]]:
    return {error}.union(*map(descendants, error.__subclasses__()))


def test_every_error_has_a_status() -> None:
    ours = {error for error in descendants(WhatsAppPoolError) if error.__module__ == "wasessionpool.errors"}
    assert set(STATUS) == {error.code for error in ours}


def test_an_error_of_somebody_else_has_its_parents_status() -> None:
    class Odd(DriverError):
        """Something odd."""

    assert answer_to(Odd("x")).status == 503
    assert answer_to(Odd("x")).body.code == "odd"


def said(error: WhatsAppPoolError | HttpError, **options: bool) -> tuple[int, dict[str, Any], dict[str, str]]:
    answer = answer_to(error, **options)
    body = answer.body.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert body.pop("success") is False
    return answer.status, body, dict(answer.headers)


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (
            SessionNotConnected("m", status=Status.RECONNECTING, reason=DisconnectReason.NETWORK),
            409,
            {"error": "m", "status": "reconnecting", "reason": "network"},
        ),
        (SessionFailed("m", reason=DisconnectReason.REPLACED), 409, {"error": "m", "reason": "replaced"}),
        (LoggedOut("m", reason=None), 409, {"error": "m"}),
        (SessionLocked("m", holder="process 7"), 409, {"error": "m", "holder": "process 7"}),
        (
            AccountRestricted("m", until=datetime(2026, 1, 1, tzinfo=UTC)),
            423,
            {"error": "m", "until": "2026-01-01T00:00:00.000Z"},
        ),
        (MessageRejected("m", server_code=479), 502, {"error": "m", "serverCode": 479}),
        (SendTimeout("m", send_id="01J"), 504, {"error": "m", "outcome": "unknown", "sendId": "01J"}),
        (PayloadTooLarge("m", limit=7), 413, {"error": "m", "limit": 7}),
        (StorageError(SECRET), 503, {"error": "The session path or a file in it cannot be read or written"}),
        (DriverError(SECRET), 503, {"error": "The driver failed in a way that has no name of its own"}),
    ],
    ids=lambda value: value.code if isinstance(value, WhatsAppPoolError) else "",
)
def test_an_error_carries_what_the_client_needs(error: WhatsAppPoolError, status: int, body: dict[str, Any]) -> None:
    assert said(error) == (status, {"code": error.code, **body}, {})


@pytest.mark.parametrize(
    ("seconds", "milliseconds", "header"), [(45.0, 45000, "45"), (0.2, 200, "1"), (1.0001, 1001, "2"), (0.0, 0, "1")]
)
def test_when_to_come_again(seconds: float, milliseconds: int, header: str) -> None:
    status, body, headers = said(RateLimitExceeded("in detail", retry_after=seconds))
    assert status == 429
    assert body == {"error": "Rate limit exceeded", "code": "rate_limit_exceeded", "retryAfter": milliseconds}
    assert headers == {"Retry-After": header}


def test_a_code_is_shown_to_who_may_pair() -> None:
    qr = QRCode("2@secret", datetime(2026, 1, 1, tzinfo=UTC))
    error = AuthenticationRequired("m", qr=qr, pairing_code="ABCD1234")
    assert said(error)[1] == {"error": "Authentication required", "code": "authentication_required"}
    assert said(error, may_pair=True)[1] == said(error)[1] | {"qrCode": qr.data_url(), "pairingCode": "ABCD1234"}


async def test_the_errors_that_the_node_service_had(open_service: OpenService) -> None:
    async with open_service(settings={"rate_limit_max": 1}) as service:
        assert (await service.send()).json() == {
            "success": False,
            "error": f"Session not found for company {COMPANY}",
            "code": "session_not_found",
        }
        status = await service.pool.create_session(COMPANY)
        assert status.qr is not None
        answer = await service.send()
        assert answer.status_code == 409
        assert answer.json() == {
            "success": False,
            "error": "Authentication required",
            "code": "authentication_required",
            "qrCode": status.qr.data_url(),
        }
        service.driver.link.up()
        await service.pool.wait_until_connected(COMPANY, timeout=10)
        assert (await service.send()).status_code == 201
        answer = await service.send()
        assert answer.status_code == 429
        body = answer.json()
        wait = body.pop("retryAfter")
        assert body == {"success": False, "error": "Rate limit exceeded", "code": "rate_limit_exceeded"}
        assert 0 < wait <= 60_001
        assert answer.headers["retry-after"] == str(-(-wait // 1000))


async def test_what_nobody_foresaw_is_logged_and_not_told(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(service.pool, "get_sessions", explode)
    answer = await service.get("/sessions")
    assert answer.status_code == 500
    assert answer.json() == {
        "success": False,
        "error": "The request failed; the log says more",
        "code": "internal_error",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [record.levelno for record in caplog.records if record.name.startswith("wasessionpool.fastapi")] == [
        logging.ERROR
    ]


async def test_what_is_left_out_of_the_answer_is_in_the_log(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise StorageError(SECRET)

    monkeypatch.setattr(service.pool, "get_sessions", fail)
    answer = await service.get("/sessions")
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_error")
    assert SECRET not in answer.text
    assert SECRET in caplog.text


async def test_a_send_that_is_not_acknowledged(open_service: OpenService) -> None:
    async def ended(link: FakeLink) -> None:
        link.up()

        async def end(*_: Any) -> None:
            raise SendTimeout("nobody knows")

        link.on_send = end

    async with open_service() as service:
        service.driver.script = ended
        await service.pool.create_session(COMPANY)
        answer = await service.send()
        assert answer.status_code == 504
        assert (answer.json()["code"], answer.json()["outcome"]) == ("send_timeout", "unknown")
        assert answer.json()["sendId"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"to": "123", "message": "x"}, "invalid_recipient"),
        ({"to": BOB, "message": " "}, "invalid_message"),
        ({"to": BOB, "message": "x" * 65_537}, "payload_too_large"),
    ],
)
async def test_what_the_pool_refuses(service: Service, body: dict[str, str], code: str) -> None:
    await service.connect()
    answer = await service.post(f"/sessions/{COMPANY}/messages", json=body)
    assert answer.json()["code"] == code
    assert answer.status_code == STATUS[code]
    assert service.driver.link.sent == []


async def test_a_full_pool(open_service: OpenService) -> None:
    async with open_service(settings={"max_sessions": 1}) as service:
        assert (await service.post("/sessions", json={"companyId": COMPANY})).status_code == 201
        answer = await service.post("/sessions", json={"companyId": "962303"})
        assert (answer.status_code, answer.json()["code"]) == (503, "pool_full")
        answer = await service.post("/sessions", json={"companyId": COMPANY, "device": "MAIN"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_company_id")


@pytest.mark.parametrize(
    "asked", [{"proxy": "ftp://user:password@host"}, {"proxy": "nonsense"}, {"metadata": {"a": "x" * 5000}}]
)
async def test_a_session_that_cannot_be_so_is_the_clients_mistake(service: Service, asked: dict[str, Any]) -> None:
    answer = await service.post("/sessions", json={"companyId": COMPANY, **asked})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "password" not in answer.text
    assert await service.pool.get_sessions() == []


def test_no_error_is_left_out_of_the_public_names() -> None:
    assert all(
        hasattr(wasessionpool, error.__name__) for error in descendants(WhatsAppPoolError) if error.code in STATUS
    )
