"""Each call of the REST interface: what it does and what it answers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from wasessionpool import DisconnectReason, QRCode, SessionStatus, Status
from wasessionpool.hooks import prometheus
from wasessionpool.http.bodies import SessionBody, TransitionBody
from wasessionpool.models import Transition
from wasessionpool.testing import FakeLink

from .conftest import BOB, COMPANY, OTHER, OpenService, Service

pytestmark = pytest.mark.anyio
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


BY_CODE = {"sendsFailed", "errorsByCode", "reconnectsByReason", "receipts", "sessions", "metadata"}
"""Where the names are codes, or the user's own."""


def names(value: Any) -> Iterator[str]:
    """Every name in a JSON value that is of the interface."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            if name not in BY_CODE or isinstance(inner, list):
                yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


async def test_a_new_session_is_created_with_its_qr(service: Service) -> None:
    answer = await service.post("/sessions", json={"companyId": COMPANY})
    assert answer.status_code == 201
    body = answer.json()
    assert body["success"] is True
    assert (body["session"]["companyId"], body["session"]["status"]) == (COMPANY, "pairing")
    status = await service.pool.get_session_status(COMPANY)
    assert status.qr is not None
    assert body["qrCode"] == status.qr.data_url()
    assert "pairingCode" not in body


async def test_of_several_that_create_a_session_at_once_one_has(service: Service) -> None:
    told: list[int] = []

    async def create() -> None:
        told.append((await service.post("/sessions", json={"companyId": COMPANY})).status_code)

    for expected in ([200, 200, 201], [200, 200, 200]):
        told.clear()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(create)
        assert sorted(told) == expected


async def test_a_known_session_is_told(service: Service) -> None:
    await service.connect()
    answer = await service.post("/sessions", json={"companyId": COMPANY})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"success", "session"}
    assert body["session"]["status"] == "connected"


async def test_a_session_with_all_that_can_be_asked_for(service: Service) -> None:
    asked = {
        "companyId": COMPANY,
        "device": "sales",
        "phoneNumber": "+7 968 648-44-88",
        "metadata": {"owner": {"first_name": "Ann"}, "tags": [1, 2.5, None, True]},
        "proxy": "http://127.0.0.1:3128",
    }
    answer = await service.post("/sessions", json=asked)
    assert answer.status_code == 201
    body = answer.json()
    assert body["pairingCode"] == "ABCD1234"
    assert "qrCode" not in body
    assert (body["session"]["device"], body["session"]["metadata"]) == ("sales", asked["metadata"])
    assert service.driver.link.record.proxy == asked["proxy"]
    assert service.driver.link.record.pairing_number == "79686484488"


async def test_sessions_are_listed_as_documented(service: Service) -> None:
    await service.connect()
    await service.pool.create_session(OTHER)
    await service.send()
    body = (await service.get("/sessions")).json()
    assert set(body) == {"success", "count", "sessions", "metrics"}
    assert body["count"] == 2
    assert [one["companyId"] for one in body["sessions"]] == [COMPANY, OTHER]
    assert [one["status"] for one in body["sessions"]] == ["connected", "pairing"]
    assert body["sessions"][0]["phoneNumber"] == "+79686484488"
    assert TIME.fullmatch(body["sessions"][0]["connectedAt"])
    assert body["sessions"][1]["connectedAt"] is None
    assert body["metrics"] == {"totalSessions": 2, "activeConnections": 1, "messagesSent": 1, "messagesReceived": 0}


def test_a_session_is_told_in_full() -> None:
    assert set(SessionBody.model_fields) == set(SessionStatus.model_fields) - {"qr", "pairing_code"}
    assert {field.alias for field in TransitionBody.model_fields.values()} == {"time", "from", "to", "reason"}
    assert set(Transition.model_fields) == {"time", "previous", "current", "reason"}


async def test_the_history_of_a_session(service: Service) -> None:
    await service.connect()
    body = (await service.get(f"/sessions/{COMPANY}")).json()
    assert set(body) == {"success", "session"}
    changes = body["session"]["history"]
    assert [(change["from"], change["to"]) for change in changes][-1] == ("pairing", "connected")
    assert all(TIME.fullmatch(change["time"]) for change in changes)


async def test_every_name_is_in_camel_case(service: Service) -> None:
    await service.connect()
    for path in ("/sessions", f"/sessions/{COMPANY}", "/metrics"):
        said = set(names((await service.get(path)).json()))
        assert all(re.fullmatch("[a-z]+([A-Z][a-z]+)*", name) for name in said), said


async def test_a_new_session_may_name_its_device_in_the_query(service: Service) -> None:
    for body, query, device in (({}, "sales", "sales"), ({"device": "sales"}, "sales", "sales"), ({}, "main", "main")):
        answer = await service.post("/sessions", json={"companyId": COMPANY} | body, params={"device": query})
        assert answer.json()["session"]["device"] == device
    for body, query in (({"device": "main"}, "sales"), ({"device": "sales"}, ""), ({}, "any"), ({}, "")):
        answer = await service.post("/sessions", json={"companyId": COMPANY} | body, params={"device": query})
        assert answer.status_code == 422
    assert sorted(status.device for status in await service.pool.get_sessions()) == ["main", "sales"]


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("cannot write /srv/whatsapp/962302/session.json: No space left on device", None),
        ("'/srv/whatsapp/x' is damaged", None),
        ("it failed (open:/srv/whatsapp/x)", None),
        ('Get "https://web.whatsapp.com/ws/chat": read tcp 10.0.0.1:5/tcp: i/o timeout', "as it is"),
    ],
)
async def test_a_last_error_names_no_path_of_the_host(service: Service, detail: str, told: str | None) -> None:
    await service.connect()
    service.driver.link.end(DisconnectReason.STORAGE, detail)
    await service.driver.link.closed.wait()
    shown = "It failed on the service's host; the log says more" if told is None else detail
    assert (await service.get(f"/sessions/{COMPANY}")).json()["session"]["lastError"] == shown
    assert (await service.get("/sessions")).json()["sessions"][0]["lastError"] == shown
    assert f"The last error was: {shown}" in (await service.get(f"/sessions/{COMPANY}/explain")).json()["text"]
    assert (await service.pool.get_session_status(COMPANY)).last_error == detail


async def test_each_device_is_a_session_of_its_own(service: Service) -> None:
    await service.connect()
    await service.connect(device="sales")
    for device in ("main", "sales"):
        body = (await service.get(f"/sessions/{COMPANY}", params={"device": device})).json()
        assert body["session"]["device"] == device
    assert (await service.get(f"/sessions/{COMPANY}?device=support")).status_code == 404
    assert (await service.post(f"/sessions/{COMPANY}/disconnect?device=sales")).json()["session"]["device"] == "sales"
    assert (await service.pool.get_session_status(COMPANY)).status is Status.CONNECTED
    await service.send(params={"device": "main"})
    assert len(service.driver.links[0].sent) == 1
    assert (await service.delete(f"/sessions/{COMPANY}?device=sales")).json() == {"success": True}
    assert [status.device for status in await service.pool.get_sessions()] == ["main"]


@pytest.mark.parametrize(
    ("call", "status"), [("disconnect", "disconnected"), ("logout", "logged_out"), ("restart", "connecting")]
)
async def test_what_ends_a_link(service: Service, call: str, status: str) -> None:
    await service.connect()
    link = service.driver.link
    answer = await service.post(f"/sessions/{COMPANY}/{call}")
    assert answer.status_code == 200
    assert answer.json()["session"]["status"] == status
    await link.closed.wait()
    assert (await service.post(f"/sessions/{OTHER}/{call}")).json()["code"] == "session_not_found"


async def test_delete_forgets_and_is_idempotent(service: Service) -> None:
    await service.connect()
    for _ in range(2):
        answer = await service.delete(f"/sessions/{COMPANY}")
        assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert await service.pool.get_sessions() == []


@pytest.mark.parametrize("message", ["Hello", {"kind": "text", "text": "Hello"}, {"text": "Hello"}])
async def test_a_message_is_sent(service: Service, message: Any) -> None:
    await service.connect()
    answer = await service.post(f"/sessions/{COMPANY}/messages", json={"to": "+7 900 123-45-67", "message": message})
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"success", "messageId", "to", "timestamp"}
    assert (body["messageId"], body["to"]) == ("FAKE1", f"{BOB}@s.whatsapp.net")
    assert TIME.fullmatch(body["timestamp"])
    [(_, sent)] = service.driver.link.sent
    assert sent.text == "Hello"


async def test_a_message_with_a_key_is_sent_once(service: Service) -> None:
    await service.connect()
    once = {"Idempotency-Key": "order 4711"}
    first, second = await service.send(headers=once), await service.send(headers=once)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert len(service.driver.link.sent) == 1
    await service.send(headers={"Idempotency-Key": "order 4712"})
    await service.send()
    assert len(service.driver.link.sent) == 3
    other = {"to": BOB, "message": "Good bye"}
    for key, body in (("order 4711", other), ("", other), ("x" * 256, other), ("a\tb", other), ("\xe9", other)):
        answer = await service.raw(
            "POST", f"/sessions/{COMPANY}/messages", json.dumps(body).encode(), **{"idempotency-key": key}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_message"), key
    assert len(service.driver.link.sent) == 3


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/SVG+XML", "image/svg+xml"),
        ("text/plain; q=0.9, application/json;q=0.1", "text/plain; charset=utf-8"),
        ("text/html, image/*;q=0.5", "image/png"),
        ("text/html, application/xml;q=0.9, */*;q=0.8", "application/json"),
        ("image/png;q=0, image/*", "image/svg+xml"),
        ("image/png;q=high, text/plain;q=0.1", "text/plain; charset=utf-8"),
    ],
)
async def test_the_qr_in_the_form_that_is_accepted(service: Service, accept: str | None, media_type: str) -> None:
    status = await service.pool.create_session(COMPANY)
    qr = status.qr
    assert isinstance(qr, QRCode)
    service.client.headers.pop("accept")
    answer = await service.get(f"/sessions/{COMPANY}/qr", headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == "no-store"
    match media_type:
        case "image/png":
            assert answer.content == qr.png()
        case "image/svg+xml":
            assert answer.text == qr.svg()
        case "application/json":
            body = answer.json()
            assert TIME.fullmatch(body.pop("expiresAt"))
            assert body == {"success": True, "text": qr.text, "dataUrl": qr.data_url()}
        case _:
            assert answer.text == qr.terminal()


async def test_a_qr_that_nobody_can_have(service: Service) -> None:
    assert (await service.get(f"/sessions/{COMPANY}/qr")).status_code == 404
    await service.pool.create_session(COMPANY)
    answer = await service.get(f"/sessions/{COMPANY}/qr", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    service.driver.link.up()
    await service.pool.wait_until_connected(COMPANY, timeout=10)
    answer = await service.get(f"/sessions/{COMPANY}/qr")
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (409, "no_qr_waiting", "connected")
    await service.pool.create_session(OTHER, phone_number="79686484499")
    answer = await service.get(f"/sessions/{OTHER}/qr")
    assert answer.status_code == 409
    assert "pairing code" in answer.json()["error"]
    assert "ABCD1234" not in answer.text


async def test_an_explanation(service: Service) -> None:
    await service.connect()
    body = (await service.get(f"/sessions/{COMPANY}/explain")).json()
    assert set(body) == {"success", "text"}
    assert body["text"].startswith(f"Session {COMPANY} is connected.")


async def test_metrics(service: Service) -> None:
    await service.connect()
    await service.send()
    body = (await service.get("/metrics")).json()
    assert set(body) == {"success", "metrics"}
    assert body["metrics"]["totalSessions"] == body["metrics"]["messagesSent"] == 1
    assert {"errors", "reconnects", "workers", "workerRestarts"} <= set(body["metrics"])


async def test_metrics_for_prometheus(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    await service.connect()
    await service.send()
    answer = await service.get("/metrics/prometheus")
    assert answer.status_code == 200
    media_type, text = prometheus.render(await service.pool.get_metrics())
    assert answer.headers["content-type"] == media_type
    assert any(line.endswith("messages_sent_total 1.0") for line in answer.text.splitlines()), answer.text
    assert {line.split(" ")[0] for line in text.decode().splitlines()} == {
        line.split(" ")[0] for line in answer.text.splitlines()
    }
    assert COMPANY not in answer.text
    monkeypatch.delitem(sys.modules, prometheus.__name__)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = await service.get("/metrics/prometheus")
    assert (answer.status_code, answer.json()["code"]) == (501, "not_implemented")
    assert "pip install 'wasessionpool[prometheus]'" in answer.json()["error"]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_it_runs_on_trio_too(open_service: OpenService) -> None:
    async with open_service() as service:
        await service.connect()
        assert (await service.send()).status_code == 201


async def test_a_session_that_does_not_get_there_is_told_as_it_is(open_service: OpenService) -> None:
    async def silent(link: FakeLink) -> None:
        link.lose()

    async with open_service(settings={"reconnect_grace": 0}) as service:
        service.driver.script = silent
        with pytest.MonkeyPatch.context() as patch:
            create = service.pool.create_session

            async def at_once(company_id: str, **named: Any) -> SessionStatus:
                return await create(company_id, **named | {"timeout": 0})

            patch.setattr(service.pool, "create_session", at_once)
            answer = await service.post("/sessions", json={"companyId": COMPANY})
        assert answer.status_code == 201
        assert set(answer.json()) == {"success", "session"}
        assert answer.json()["session"]["status"] in ("connecting", "reconnecting")
