"""The REST section of the Node service's documentation, line by line: uvicorn, the pool and the unmodified neonize."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from httpx2 import AsyncClient as Client

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.fastapi import create_app
from wasessionpool.testing import WhatsAppServer

from .conftest import BOB, COMPANY, KEY, OTHER
from .serving import serve

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150)]
EXAMPLES = Path(__file__).parents[2] / "examples" / "rest"
PHONES = {COMPANY: "79686484488", OTHER: "79686484499"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppServer]:
    async with WhatsAppServer() as server:
        yield server


class Service:
    """A pool on the loopback WhatsApp behind uvicorn, and a client of it."""

    def __init__(self, whatsapp: WhatsAppServer, pool: WhatsAppSessionPool, address: str, client: Client) -> None:
        self.whatsapp = whatsapp
        self.pool = pool
        self.address = address
        self.client = client

    async def scan(self, company_id: str = COMPANY) -> None:
        """Scan the QR that the service shows."""
        qr = (await self.client.get(f"/api/whatsapp/sessions/{company_id}/qr")).json()
        assert ISO.fullmatch(qr["expiresAt"])
        await self.whatsapp.phone(PHONES[company_id]).scan(qr["text"])
        await self.pool.wait_until_connected(company_id, timeout=30)


@asynccontextmanager
async def serving(whatsapp: WhatsAppServer, directory: Path, **settings: Any) -> AsyncIterator[Service]:
    async with whatsapp.driver(spare_timeout=0) as driver:
        pool = WhatsAppSessionPool(PoolSettings(session_path=directory / "sessions", **settings), driver=driver)
        async with (
            serve(create_app(pool, keys=[KEY])) as address,
            Client(base_url=address, headers={"X-API-Key": KEY}, timeout=60) as client,
        ):
            yield Service(whatsapp, pool, address, client)


async def test_the_documentation_of_the_node_service_holds(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    bob = whatsapp.contact(BOB)
    async with serving(whatsapp, tmp_path, rate_limit_max=2) as service:
        client = service.client

        # Session Not Found
        send = {"to": BOB, "message": "Hello from WhatsApp Business!"}
        answer = await client.post(f"/api/whatsapp/sessions/{COMPANY}/messages", json=send)
        assert answer.status_code == 404
        body = answer.json()
        assert (body["success"], body["error"]) == (False, f"Session not found for company {COMPANY}")

        # Create Session: the answer has the QR
        answer = await client.post("/api/whatsapp/sessions", json={"companyId": COMPANY})
        assert answer.status_code == 201
        assert answer.json()["qrCode"].startswith("data:image/png;base64,")

        # Authentication Required
        answer = await client.post(f"/api/whatsapp/sessions/{COMPANY}/messages", json=send)
        body = answer.json()
        assert (body["success"], body["error"]) == (False, "Authentication required")
        assert body["qrCode"].startswith("data:image/png;base64,")

        await service.scan(COMPANY)
        answer = await client.post("/api/whatsapp/sessions", json={"companyId": COMPANY})
        assert answer.status_code == 200
        assert set(answer.json()) == {"success", "session"}
        await client.post("/api/whatsapp/sessions", json={"companyId": OTHER})
        await service.scan(OTHER)

        # Send Message
        answer = await client.post(f"/api/whatsapp/sessions/{COMPANY}/messages", json=send)
        assert answer.status_code == 201
        received = await bob.next_message()
        assert (received.text, received.id) == (send["message"], answer.json()["messageId"])
        assert received.sender == PHONES[COMPANY]

        # List All Sessions
        body = (await client.get("/api/whatsapp/sessions")).json()
        assert (body["success"], body["count"]) == (True, 2)
        assert [(one["companyId"], one["status"], one["phoneNumber"]) for one in body["sessions"]] == [
            (company_id, "connected", f"+{number}") for company_id, number in PHONES.items()
        ]
        assert all(ISO.fullmatch(one["connectedAt"]) for one in body["sessions"])
        metrics = {"totalSessions": 2, "activeConnections": 2, "messagesSent": 1, "messagesReceived": 0}
        assert body["metrics"] == metrics

        # Get Session Status
        body = (await client.get(f"/api/whatsapp/sessions/{COMPANY}")).json()
        assert (body["success"], body["session"]["status"]) == (True, "connected")

        # Get Metrics, Health Check
        body = (await client.get("/api/whatsapp/metrics")).json()
        assert body["success"] is True
        assert metrics.items() <= body["metrics"].items()
        assert (await client.get("/health")).json()["status"] == "ok"
        assert (await client.get("/health/ready")).status_code == 200

        # Rate Limit Exceeded
        assert (await client.post(f"/api/whatsapp/sessions/{COMPANY}/messages", json=send)).status_code == 201
        answer = await client.post(f"/api/whatsapp/sessions/{COMPANY}/messages", json=send)
        assert answer.status_code == 429
        body = answer.json()
        assert (body["success"], body["error"]) == (False, "Rate limit exceeded")
        assert 0 < body["retryAfter"] <= 60_001

        # Delete Session
        answer = await client.delete(f"/api/whatsapp/sessions/{COMPANY}")
        assert answer.json() == {"success": True}
        assert whatsapp.phone(PHONES[COMPANY]).devices == ()
        assert not (tmp_path / "sessions" / COMPANY).exists()
        assert (await client.get(f"/api/whatsapp/sessions/{COMPANY}")).status_code == 404


async def run(address: str, *command: str) -> str:
    """Run an example against the service and return what it printed."""
    environment = {**os.environ, "WHATSAPP_URL": address, "WHATSAPP_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    process = await anyio.run_process(command, check=False, env=environment)
    assert process.returncode == 0, process.stderr.decode()
    assert process.stderr == b""
    return process.stdout.decode()


async def test_the_examples_by_curl(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    bob, text = whatsapp.contact(BOB), 'Hello from "WhatsApp" \\ Business!\n\tGood bye\r\n\x01 & \x1b'
    async with serving(whatsapp, tmp_path) as service:
        address, pool = service.address, service.pool

        async def ask(*arguments: str) -> Any:
            return json.loads(await run(address, str(EXAMPLES / "client.sh"), *arguments))

        assert (await ask("health"))["status"] == "ok"
        assert (await ask("status", COMPANY))["code"] == "session_not_found"
        assert "qrCode" in await ask("create", COMPANY)
        status = await pool.get_session_status(COMPANY)
        assert status.qr is not None
        assert (await run(address, str(EXAMPLES / "client.sh"), "qr", COMPANY)).strip() == status.qr.terminal().strip()
        await service.scan()
        sent = await ask("send", COMPANY, BOB, text)
        received = await bob.next_message()
        assert (received.text, received.id) == (text, sent["messageId"])
        assert (await ask("list"))["count"] == 1
        assert f"Session {COMPANY} is connected." in (await ask("explain", COMPANY))["text"]
        assert (await ask("metrics"))["metrics"]["messagesSent"] == 1
        assert (await ask("disconnect", COMPANY))["session"]["status"] == "disconnected"
        assert (await ask("restart", COMPANY))["success"] is True
        await pool.wait_until_connected(COMPANY, timeout=30)
        assert (await ask("logout", COMPANY))["session"]["status"] == "logged_out"
        assert whatsapp.phone(PHONES[COMPANY]).devices == ()
        assert await ask("delete", COMPANY) == {"success": True}
        assert await pool.get_sessions() == []


async def test_the_examples_in_python(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    bob = whatsapp.contact(BOB)
    async with serving(whatsapp, tmp_path) as service:

        async def ask(*arguments: str) -> str:
            return await run(service.address, sys.executable, str(EXAMPLES / "client.py"), *arguments)

        assert "Failed to send the message" in await ask("send", COMPANY, BOB, "Hello")
        assert "Scan this QR code: data:image/png;base64," in await ask("create", COMPANY)
        assert await ask("monitor") == f"Company {COMPANY}: pairing\n"
        await service.scan()
        assert "Session created" in await ask("create", COMPANY)
        assert "Message sent" in await ask("send", COMPANY, BOB, "Hello from WhatsApp!")
        assert (await bob.next_message()).text == "Hello from WhatsApp!"
        assert await ask("monitor") == f"Company {COMPANY}: connected\n"


async def test_a_client_that_stalls_holds_up_nobody(whatsapp: WhatsAppServer, tmp_path: Path) -> None:
    async with serving(whatsapp, tmp_path) as service:
        client, port = service.client, int(service.address.rpartition(":")[2])
        head = (
            f"POST /api/whatsapp/sessions/{COMPANY}/messages HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        stalled = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(50)]
        for stream in stalled:
            await stream.send(head.encode())
        assert (await client.get("/api/whatsapp/sessions")).status_code == 200
        for stream in stalled:
            await stream.aclose()
        assert (await client.get("/health/ready")).status_code == 200


async def test_a_body_that_does_not_come_ends_the_connection(tmp_path: Path) -> None:
    pool = WhatsAppSessionPool(PoolSettings(session_path=tmp_path / "sessions"))
    async with serve(create_app(pool, keys=[KEY], body_timeout=0.2)) as address:
        stream = await anyio.connect_tcp("127.0.0.1", int(address.rpartition(":")[2]))
        async with stream:
            await stream.send(
                f"POST /api/whatsapp/sessions HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
                "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".encode()
            )
            said = b""
            with pytest.raises(anyio.EndOfStream):
                while True:
                    said += await stream.receive()
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in said


async def test_a_body_of_another_type_is_read_before_it_is_refused(tmp_path: Path) -> None:
    pool = WhatsAppSessionPool(PoolSettings(session_path=tmp_path / "sessions"))
    path, key = "/api/whatsapp/sessions HTTP/1.1\r\nHost: x\r\n", f"X-API-Key: {KEY}\r\n"
    async with serve(create_app(pool, keys=[KEY])) as address:
        stream = await anyio.connect_tcp("127.0.0.1", int(address.rpartition(":")[2]))
        async with stream:
            await stream.send(f"POST {path}{key}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n".encode())
            await stream.send(b"{}")
            await stream.send(f"GET {path}{key}Connection: close\r\n\r\n".encode())
            said = b""
            with pytest.raises(anyio.EndOfStream):
                while True:
                    said += await stream.receive()
        assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [b"415", b"200"]
