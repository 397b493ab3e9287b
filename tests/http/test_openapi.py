"""The OpenAPI document: complete, with examples that are true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from wasessionpool import WhatsAppSessionPool
from wasessionpool.fastapi import create_app, create_router
from wasessionpool.http import bodies
from wasessionpool.http.rights import NEEDED
from wasessionpool.testing import FakeDriver

from .conftest import KEY, PREFIX, Service

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(WhatsAppSessionPool(driver=FakeDriver()), keys=[KEY]).openapi()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def test_every_call_has_an_id_of_its_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(document)]
    assert sorted(ids) == sorted(f"whatsapp_{name}" for name in NEEDED)


def test_every_call_says_how_to_prove_who_one_is(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["apiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    for operation in operations(document):
        needed = NEEDED[operation["operationId"].removeprefix("whatsapp_")]
        assert operation.get("security") == ([{"apiKey": []}, {"bearer": []}] if needed else None)


def test_every_call_is_described_with_its_errors(document: dict[str, Any]) -> None:
    for operation in operations(document):
        assert operation["description"]
        needed = NEEDED[operation["operationId"].removeprefix("whatsapp_")]
        if needed is None:
            continue
        assert {"401", "403", "422", "429", "500", "503"} <= set(operation["responses"])
        for status, answer in operation["responses"].items():
            if status >= "400":
                content = answer["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
                bodies.ErrorBody.model_validate(content["example"])
                assert content["example"]["success"] is False
        assert "Retry-After" in operation["responses"]["429"]["headers"]


@pytest.mark.parametrize(
    "model",
    [model for model in vars(bodies).values() if isinstance(model, type) and model.__module__ == bodies.__name__],
)
def test_the_examples_are_right(model: Any) -> None:
    extra = model.model_config.get("json_schema_extra") or {}
    for example in extra.get("examples", ()):
        TypeAdapter(model).validate_python(example)


def test_the_paths_are_the_documented_ones(document: dict[str, Any]) -> None:
    assert {path.removeprefix(PREFIX) for path in document["paths"]} == {
        "/sessions",
        "/sessions/{companyId}",
        "/sessions/{companyId}/disconnect",
        "/sessions/{companyId}/restart",
        "/sessions/{companyId}/logout",
        "/sessions/{companyId}/qr",
        "/sessions/{companyId}/messages",
        "/sessions/{companyId}/explain",
        "/metrics",
        "/metrics/prometheus",
        "/health",
        "/health/ready",
    }
    for path, calls in document["paths"].items():
        for operation in calls.values():
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert ("companyId" in names) == ("{companyId}" in path)
            assert ("device" in names) == ("{companyId}" in path)


async def test_it_is_served_and_a_page_draws_it(service: Service, document: dict[str, Any]) -> None:
    assert (await service.client.get(f"{PREFIX}/openapi.json")).json() == document
    answer = await service.client.get(f"{PREFIX}/docs")
    assert answer.status_code == 200
    assert f"{PREFIX}/openapi.json" in answer.text


def test_an_application_may_have_a_route_of_the_same_name() -> None:
    app = FastAPI()
    router = create_router(WhatsAppSessionPool(driver=FakeDriver()), keys=[KEY])
    app.include_router(router, prefix="/whatsapp")

    @app.get("/sessions")
    async def list_sessions() -> None: ...

    ids = [operation["operationId"] for operation in operations(app.openapi())]
    assert len(ids) == len(set(ids))
