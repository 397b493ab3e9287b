"""What the tests of the REST interface share: a pool on a fake driver behind an application, asked in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from fastapi import FastAPI

from wasessionpool import PoolSettings, WhatsAppSessionPool
from wasessionpool.fastapi import create_app
from wasessionpool.http.keys import StoredKeys
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.stores.memory import MemoryStore
from wasessionpool.testing import FakeCoordinator, FakeDriver

COMPANY, OTHER = "962302", "962303"
BOB = "79001234567"
KEY = "the-key-of-all-the-tests"
PREFIX = "/api/whatsapp"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Service:
    """An application on an open pool. ``ask`` and its likes send the key, unless told otherwise."""

    def __init__(self, app: FastAPI, pool: WhatsAppSessionPool, driver: FakeDriver, shelf: MemoryShelf) -> None:
        self.app = app
        self.pool = pool
        self.driver = driver
        self.keys = StoredKeys(shelf)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://service")

    async def ask(
        self, method: str, path: str, *, key: str | None = KEY, headers: dict[str, str] | None = None, **request: Any
    ) -> httpx2.Response:
        """Ask below the prefix."""
        sent = ({"X-API-Key": key} if key is not None else {}) | (headers or {})
        return await self.client.request(method, PREFIX + path, headers=sent, **request)

    async def raw(self, method: str, target: str, content: bytes = b"", **headers: str) -> httpx2.Response:
        """Ask for a target below the prefix as it is written: a client would tidy it up."""
        path, _, query = (PREFIX + target).partition("?")
        sent = {"x-api-key": KEY, "content-type": "application/json", **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("service", 80),
        }
        said: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            said.append(message)

        await self.app(scope, receive, send)
        start, *parts = said
        return httpx2.Response(
            start["status"], headers=start["headers"], content=b"".join(part.get("body", b"") for part in parts)
        )

    async def get(self, path: str, **request: Any) -> httpx2.Response:
        return await self.ask("GET", path, **request)

    async def post(self, path: str, **request: Any) -> httpx2.Response:
        return await self.ask("POST", path, **request)

    async def delete(self, path: str, **request: Any) -> httpx2.Response:
        return await self.ask("DELETE", path, **request)

    async def send(self, company_id: str = COMPANY, **request: Any) -> httpx2.Response:
        return await self.post(f"/sessions/{company_id}/messages", json={"to": BOB, "message": "Hello"}, **request)

    async def connect(self, company_id: str = COMPANY, **named: str) -> None:
        """Create a session and link it."""
        await self.pool.create_session(company_id, **named)  # type: ignore[arg-type]
        self.driver.link.up()
        await self.pool.wait_until_connected(company_id, timeout=10, device=named.get("device", "main"))


OpenService = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def open_service() -> OpenService:
    """Open a service; ``create_app``'s options by keyword, and the pool's in ``settings``."""

    @asynccontextmanager
    async def open_(
        *,
        settings: dict[str, Any] | None = None,
        driver: FakeDriver | None = None,
        backends: dict[str, Any] | None = None,
        **options: Any,
    ) -> AsyncIterator[Service]:
        driver, shelf = driver or FakeDriver(), MemoryShelf()
        async with MemoryStore() as store:
            pool = WhatsAppSessionPool(
                PoolSettings(session_path="/nonexistent", **(settings or {})),
                driver=driver,
                **{"store": store, "shelf": shelf, "coordinator": FakeCoordinator()} | (backends or {}),
            )
            app = create_app(pool, **{"keys": [KEY]} | options)
            async with app.router.lifespan_context(app):
                service = Service(app, pool, driver, shelf)
                async with service.client:
                    yield service

    return open_


@pytest.fixture
async def service(open_service: OpenService) -> AsyncIterator[Service]:
    async with open_service() as service:
        yield service
