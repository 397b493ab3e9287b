"""The REST interface as an application of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import wasessionpool

from ..pool import WhatsAppSessionPool
from .route import failure, secure
from .router import add_health, create_router

PREFIX = "/api/whatsapp"


def create_app(
    pool: WhatsAppSessionPool | None = None,
    *,
    prefix: str = PREFIX,
    cors_origins: Sequence[str] = (),
    **options: Any,
) -> FastAPI:
    """Return an application that has the calls below ``prefix``, and ``/health`` at its root too.

    ``options`` are those of ``create_router``, which opens the pool. Pages of ``cors_origins`` may call it from a
    browser; by default none. To mount it in another application see ``pool_lifespan``.
    """
    app = FastAPI(
        title="WhatsApp sessions",
        version=wasessionpool.__version__,
        openapi_url=f"{prefix}/openapi.json",
        docs_url=f"{prefix}/docs",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    router = create_router(pool, **options)
    app.include_router(router, prefix=prefix)
    at_the_root = APIRouter(route_class=router.route_class, redirect_slashes=False)
    if prefix:
        add_health(at_the_root, in_schema=False)
        app.include_router(at_the_root)
    routers = {prefix: router, "": at_the_root} if prefix else {"": router}
    app.add_exception_handler(HTTPException, partial(_failed, routers))
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["X-API-Key", "Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Retry-After"],
        )
    return app


async def _failed(routers: Mapping[str, APIRouter], request: Request, error: Exception) -> Response:
    """Answer what no route of ours answers: an unknown path, another method."""
    response = failure(error)
    if response.status_code == 405:
        # Starlette names those of one route only.
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        response.headers["Allow"] = ", ".join(_allowed(routers, path))
    secure(response)
    return response


def _allowed(routers: Mapping[str, APIRouter], path: str) -> list[str]:
    routes = (
        route
        for prefix, router in routers.items()
        for route in router.routes
        if isinstance(route, APIRoute) and path.startswith(prefix) and route.path_regex.match(path.removeprefix(prefix))
    )
    return sorted({method for route in routes for method in route.methods or ()})
