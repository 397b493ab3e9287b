"""The calls of the REST interface, as a router to include."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Security
from fastapi.params import Depends
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.responses import Response

from ..http.accept import choose
from ..http.access import Access
from ..http.bodies import (
    COMPANY_SCHEMA,
    DEVICE_SCHEMA,
    IDEMPOTENCY_SCHEMA,
    Alive,
    CreatedSession,
    CreateSession,
    Done,
    Explanation,
    Metrics,
    OneSession,
    Readiness,
    SendMessage,
    Sent,
    Sessions,
    WaitingQR,
)
from ..http.calls import Calls
from ..http.keys import ConfiguredKeys
from ..http.quota import Quota
from ..http.readiness import readiness
from ..http.reading import BODY_TIMEOUT, MAX_BODY
from ..http.tokens import Tokens
from ..models import MAIN_DEVICE
from ..pool import WhatsAppSessionPool, get_pool
from .lifespan import STATE, opened
from .openapi import WITH_BODY, errors
from .route import Route, TheCalls, TheGrant, respond

REQUEST_LIMIT = 6000
"""Requests a minute a key: twice what a hundred sessions may send."""

CompanyId = Annotated[str, Path(alias="companyId", description="The company", json_schema_extra=COMPANY_SCHEMA)]
Device = Annotated[str, Query(description="One of the company's devices", json_schema_extra=DEVICE_SCHEMA)]
MaybeDevice = Annotated[str | None, Query(include_in_schema=False)]
"""The body names it; no schema could say that the query may not name another one."""
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Sends a message once", json_schema_extra=IDEMPOTENCY_SCHEMA),
]
SCHEMES: list[Depends] = [
    Security(APIKeyHeader(name="X-API-Key", scheme_name="apiKey", auto_error=False)),
    Security(HTTPBearer(scheme_name="bearer", description="A key or a JSON Web Token", auto_error=False)),
]
"""They are here for the OpenAPI document: ``Access`` has looked at the headers before."""
QR_TYPES = ("application/json", "image/png", "image/svg+xml", "text/plain")


def create_router(
    pool: WhatsAppSessionPool | None = None,
    *,
    keys: Iterable[str] | None = None,
    tokens: Tokens | None = None,
    allow_anonymous: bool = False,
    request_limit: int | None = REQUEST_LIMIT,
    max_body: int = MAX_BODY,
    body_timeout: float = BODY_TIMEOUT,
    tags: list[str | Enum] | None = None,
) -> APIRouter:
    """Return the router, whose lifespan opens ``pool`` unless the application has; by default ``get_pool()``.

    ``keys`` are API keys, in plain or as ``sha256:<hex>``, each with every right; by default those of
    ``WHATSAPP_API_KEYS``. Keys made by ``StoredKeys`` count as well, and ``tokens``. Where there is none of all these,
    the lifespan raises ``ConfigurationError``, unless ``allow_anonymous`` lets everybody in.

    A key may make ``request_limit`` requests a minute (``None``: any number). A body has at most ``max_body`` bytes,
    and ``body_timeout`` seconds to come.
    """
    chosen = pool if pool is not None else get_pool()
    access = Access(
        ConfiguredKeys(keys) if keys is not None else ConfiguredKeys.from_env(),
        lambda: chosen.backends.shelf,
        tokens=tokens,
        allow_anonymous=allow_anonymous,
        quota=Quota(request_limit) if request_limit is not None else None,
    )

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[dict[str, Any]]:
        async with opened(chosen):
            await access.check()
            yield {STATE: chosen}

    settings = {"access": access, "calls": Calls(chosen), "max_body": max_body, "body_timeout": body_timeout}
    router = APIRouter(
        route_class=type("Route", (Route,), settings),
        lifespan=lifespan,
        tags=tags if tags is not None else ["whatsapp"],
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
    )
    _add_sessions(router)
    _add_session(router)
    _add_metrics(router)
    add_health(router)
    return router


def _operation_id(route: APIRoute) -> str:
    return f"whatsapp_{route.name}"


def _add_sessions(router: APIRouter) -> None:
    router.get("/sessions", dependencies=SCHEMES, response_model=Sessions, responses=errors())(list_sessions)
    router.post(
        "/sessions",
        dependencies=SCHEMES,
        status_code=201,
        response_model=CreatedSession,
        responses={
            200: {"model": CreatedSession, "description": "The session is known"},
            **errors(404, 409, *WITH_BODY),
        },
    )(create_session)


def _add_session(router: APIRouter) -> None:
    one = "/sessions/{companyId}"
    router.get(one, dependencies=SCHEMES, response_model=OneSession, responses=errors(404))(get_session)
    router.delete(one, dependencies=SCHEMES, response_model=Done, responses=errors(404, 409))(delete_session)
    for name, endpoint in (
        ("disconnect", disconnect_session),
        ("restart", restart_session),
        ("logout", logout_session),
    ):
        router.post(f"{one}/{name}", dependencies=SCHEMES, response_model=OneSession, responses=errors(404, 409))(
            endpoint
        )
    router.get(
        f"{one}/qr",
        dependencies=SCHEMES,
        response_model=WaitingQR,
        responses={
            200: {"content": {kind: {"schema": {"type": "string"}} for kind in QR_TYPES[1:]}},
            **errors(404, 406, 409),
        },
    )(get_qr)
    router.post(
        f"{one}/messages",
        dependencies=SCHEMES,
        status_code=201,
        response_model=Sent,
        responses=errors(404, 409, 423, 502, 504, *WITH_BODY),
    )(send_message)
    router.get(f"{one}/explain", dependencies=SCHEMES, response_model=Explanation, responses=errors(404))(
        explain_session
    )


def _add_metrics(router: APIRouter) -> None:
    router.get("/metrics", dependencies=SCHEMES, response_model=Metrics, responses=errors())(get_metrics)
    router.get(
        "/metrics/prometheus",
        dependencies=SCHEMES,
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors(501)},
    )(get_prometheus_metrics)


def add_health(router: APIRouter, *, in_schema: bool = True) -> None:
    """Add the calls that need no key and say nothing of tenants."""
    router.get("/health", response_model=Alive, include_in_schema=in_schema)(get_health)
    router.get(
        "/health/ready",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "It cannot do its work"}},
        include_in_schema=in_schema,
    )(get_readiness)


async def list_sessions(calls: TheCalls, grant: TheGrant) -> Response:
    """List the sessions that the key reaches, connected or not."""
    return respond(await calls.list_sessions(grant))


async def create_session(calls: TheCalls, grant: TheGrant, body: CreateSession, device: MaybeDevice = None) -> Response:
    """Start a session, or tell how it stands.

    Answers once it is connected, a code waits to be confirmed on the phone, or 30 s have passed. Of a session that is
    not linked the answer has the ``qrCode``, or the ``pairingCode`` where a ``phoneNumber`` was given.
    """
    is_new, answer = await calls.create_session(grant, body, device)
    return respond(answer, 201 if is_new else 200)


async def get_session(
    calls: TheCalls, grant: TheGrant, company_id: CompanyId, device: Device = MAIN_DEVICE
) -> Response:
    """Tell how a session stands."""
    return respond(await calls.get_session(grant, company_id, device))


async def delete_session(
    calls: TheCalls, grant: TheGrant, company_id: CompanyId, device: Device = MAIN_DEVICE
) -> Response:
    """Unlink the session from its phone and forget everything of it; an unknown one is no error."""
    return respond(await calls.delete_session(grant, company_id, device))


async def disconnect_session(
    calls: TheCalls, grant: TheGrant, company_id: CompanyId, device: Device = MAIN_DEVICE
) -> Response:
    """End the link and keep the keys, until the session is created anew."""
    return respond(await calls.disconnect_session(grant, company_id, device))


async def restart_session(
    calls: TheCalls, grant: TheGrant, company_id: CompanyId, device: Device = MAIN_DEVICE
) -> Response:
    """End the link and begin a new one."""
    return respond(await calls.restart_session(grant, company_id, device))


async def logout_session(
    calls: TheCalls, grant: TheGrant, company_id: CompanyId, device: Device = MAIN_DEVICE
) -> Response:
    """Unlink the session from its phone and erase its keys; it stays known."""
    return respond(await calls.logout_session(grant, company_id, device))


async def get_qr(
    calls: TheCalls,
    grant: TheGrant,
    company_id: CompanyId,
    device: Device = MAIN_DEVICE,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Show the QR that waits to be scanned: as JSON, PNG, SVG or text for a terminal, by ``Accept``."""
    media_type = choose(accept, QR_TYPES)
    qr = await calls.get_qr(grant, company_id, device)
    match media_type:
        case "image/png":
            return Response(qr.png(), media_type=media_type)
        case "image/svg+xml":
            return Response(qr.svg(), media_type=media_type)
        case "text/plain":
            return Response(qr.terminal(), media_type="text/plain; charset=utf-8")
    return respond(WaitingQR(text=qr.text, data_url=qr.data_url(), expires_at=qr.expires_at))


async def send_message(
    calls: TheCalls,
    grant: TheGrant,
    company_id: CompanyId,
    body: SendMessage,
    device: Device = MAIN_DEVICE,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send a message; answers once WhatsApp's server has acknowledged it.

    By the same ``Idempotency-Key`` it is sent once in 24 h, however often it is asked for, and the answer is the same.
    Where it is unknown whether it went out, the answer is 504 each time, until that is known.
    """
    return respond(await calls.send_message(grant, company_id, device, body, idempotency_key), 201)


async def explain_session(
    calls: TheCalls, grant: TheGrant, company_id: CompanyId, device: Device = MAIN_DEVICE
) -> Response:
    """Say what happened to a session, what happens next and when, in plain words."""
    return respond(await calls.explain_session(grant, company_id, device))


async def get_metrics(calls: TheCalls, grant: TheGrant) -> Response:
    """Count sessions and messages since the service started."""
    return respond(await calls.get_metrics(grant))


async def get_prometheus_metrics(calls: TheCalls, grant: TheGrant) -> Response:
    """Give the pool's figures to Prometheus; a key that is limited to companies is refused."""
    media_type, text = await calls.get_prometheus_metrics(grant)
    return Response(text, media_type=media_type)


async def get_health() -> Response:
    """Say that the service is alive."""
    return respond(Alive())


async def get_readiness(calls: TheCalls) -> Response:
    """Say whether the service can do its work, and what keeps it from that."""
    answer = await readiness(calls.pool)
    return respond(answer, 200 if answer.success else 503)
