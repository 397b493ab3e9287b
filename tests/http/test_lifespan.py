"""How an application opens the pool: by the router, by its own lifespan, by mounting; and how its endpoints get it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from wasessionpool import ConfigurationError, PoolClosed, PoolSettings, WhatsAppSessionPool
from wasessionpool import pool as pool_module
from wasessionpool.fastapi import PoolDependency, create_app, create_router, pool_lifespan
from wasessionpool.shelves.memory import MemoryShelf
from wasessionpool.testing import FakeCoordinator, FakeDriver

from .conftest import COMPANY, KEY

KEYS = {"X-API-Key": KEY}


@pytest.fixture
def pool(tmp_path: Path) -> WhatsAppSessionPool:
    return WhatsAppSessionPool(
        PoolSettings(session_path=tmp_path / "sessions"),
        driver=FakeDriver(),
        shelf=MemoryShelf(),
        coordinator=FakeCoordinator(),
    )


def closed(client: TestClient, pool: WhatsAppSessionPool) -> bool:
    async def ask() -> bool:
        try:
            await pool.get_sessions()
        except PoolClosed:
            return True
        return False

    assert client.portal is not None
    return client.portal.call(ask)


def check(client: TestClient, prefix: str) -> None:
    """Check that the calls work below ``prefix``."""
    assert client.post(f"{prefix}/sessions", json={"companyId": COMPANY}, headers=KEYS).status_code == 201
    assert client.get(f"{prefix}/sessions", headers=KEYS).json()["count"] == 1
    assert client.get(f"{prefix}/sessions").json()["code"] == "unauthorized"
    assert client.get(f"{prefix}/health/ready").json() == {"success": True, "status": "ok"}


def test_the_router_opens_the_pool_and_closes_it(pool: WhatsAppSessionPool) -> None:
    app = FastAPI()
    app.include_router(create_router(pool, keys=[KEY]), prefix="/whatsapp")
    with TestClient(app) as client:
        check(client, "/whatsapp")
        portal = client.portal
        assert not closed(client, pool)
    assert portal is not None
    with TestClient(FastAPI()) as client:
        assert closed(client, pool)


def test_routers_may_be_included_in_routers(pool: WhatsAppSessionPool) -> None:
    from fastapi import APIRouter

    outer = APIRouter(prefix="/v1")
    outer.include_router(create_router(pool, keys=[KEY]), prefix="/whatsapp")
    app = FastAPI()
    app.include_router(outer, prefix="/api")
    with TestClient(app) as client:
        check(client, "/api/v1/whatsapp")


def test_a_pool_that_the_application_opened_is_left_to_it(pool: WhatsAppSessionPool) -> None:
    order = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with pool:
            yield {"own": 1}
            await pool.get_sessions()
            order.append("open until the end")

    app = FastAPI(lifespan=lifespan)
    app.include_router(create_router(pool, keys=[KEY]), prefix="/whatsapp")
    with TestClient(app) as client:
        check(client, "/whatsapp")
    assert order == ["open until the end"]


def test_endpoints_of_the_application_get_the_pool(pool: WhatsAppSessionPool) -> None:
    app = FastAPI()
    app.include_router(create_router(pool, keys=[KEY]), prefix="/whatsapp")

    @app.get("/mine")
    async def mine(pool: PoolDependency) -> dict[str, int]:
        return {"sessions": len(await pool.get_sessions())}

    with TestClient(app) as client:
        assert client.get("/mine").json() == {"sessions": 0}
        check(client, "/whatsapp")
        assert client.get("/mine").json() == {"sessions": 1}


def test_without_a_lifespan_an_endpoint_says_what_is_missing() -> None:
    app = FastAPI()

    @app.get("/mine")
    async def mine(pool: PoolDependency) -> None:
        raise AssertionError(pool)

    with TestClient(app) as client, pytest.raises(ConfigurationError, match="pool_lifespan"):
        client.get("/mine")


def test_a_mounted_application_has_its_lifespan_run_by_the_outer_one(pool: WhatsAppSessionPool) -> None:
    api = create_app(pool, prefix="", keys=[KEY])
    app = FastAPI(lifespan=pool_lifespan(api))
    app.mount("/whatsapp", api)

    @app.get("/mine")
    async def mine(pool: PoolDependency) -> dict[str, int]:
        return {"sessions": len(await pool.get_sessions())}

    with TestClient(app) as client:
        check(client, "/whatsapp")
        assert client.get("/mine").json() == {"sessions": 1}
        assert client.get("/whatsapp/nothing").json()["code"] == "not_found"
        assert client.get("/nothing").json() == {"detail": "Not Found"}


def test_it_can_be_mounted_in_starlette_and_by_a_lifespan_of_ones_own(pool: WhatsAppSessionPool) -> None:
    api = create_app(pool, keys=[KEY])

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with pool_lifespan(api)(app) as state:
            assert set(state) == {"wasessionpool"}
            yield state

    app = Starlette(routes=[Mount("/outer", api)], lifespan=lifespan)
    with TestClient(app) as client:
        check(client, "/outer/api/whatsapp")


def test_a_mount_without_a_lifespan_says_so(pool: WhatsAppSessionPool) -> None:
    app = FastAPI()
    app.mount("/whatsapp", create_app(pool, prefix="", keys=[KEY]))
    with TestClient(app) as client:
        answer = client.get("/whatsapp/sessions", headers=KEYS)
        assert (answer.status_code, answer.json()["code"]) == (503, "pool_closed")
        assert client.get("/whatsapp/health").status_code == 200
        answer = client.get("/whatsapp/health/ready")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["pool_closed: the pool is not open"]


def test_an_application_without_keys_does_not_start(pool: WhatsAppSessionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHATSAPP_API_KEYS", raising=False)
    app = FastAPI()
    app.include_router(create_router(pool), prefix="/whatsapp")
    with pytest.raises(ConfigurationError, match="WHATSAPP_API_KEYS"), TestClient(app):
        raise AssertionError("it started")


def test_errors_of_other_routes_stay_as_they_are(pool: WhatsAppSessionPool) -> None:
    app = FastAPI()
    app.include_router(create_router(pool, keys=[KEY]), prefix="/whatsapp")

    @app.get("/mine")
    async def mine(number: int) -> int:
        return number

    with TestClient(app) as client:
        assert client.get("/mine?number=x").json()["detail"]
        assert client.get("/mine?number=7").headers.get("x-frame-options") is None
        assert client.post("/whatsapp/sessions", json={}, headers=KEYS).json()["code"] == "invalid_request"


def test_the_pool_of_the_process_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_SESSION_PATH", str(tmp_path / "sessions"))
    monkeypatch.setenv("WHATSAPP_API_KEYS", KEY)
    pool_module._default_pool.cache_clear()
    try:
        with TestClient(create_app()) as client:
            assert client.get("/api/whatsapp/sessions", headers=KEYS).json()["count"] == 0
            assert client.get("/health").json() == {"success": True, "status": "ok"}
        assert (tmp_path / "sessions").is_dir()
    finally:
        pool_module._default_pool.cache_clear()


def test_without_fastapi_it_says_how_to_get_it() -> None:
    script = "import sys; sys.modules['fastapi'] = None; import wasessionpool.fastapi"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "pip install 'wasessionpool[fastapi]'" in process.stderr


def test_the_example_in_its_docstring_can_be_read() -> None:
    import wasessionpool.fastapi

    code = (wasessionpool.fastapi.__doc__ or "").split("::\n")[1].split("\nor ")[0]
    ast.parse("\n".join(line.strip() for line in code.splitlines()))
