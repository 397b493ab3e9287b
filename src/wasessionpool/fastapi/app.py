"""The REST interface as an application of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
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
    if prefix:
        at_the_root = type(router)(route_class=router.route_class, redirect_slashes=False)
        add_health(at_the_root, in_schema=False)
        app.include_router(at_the_root)
    app.add_exception_handler(HTTPException, _failed)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["X-API-Key", "Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Retry-After"],
        )
    return app


async def _failed(_request: Request, error: Exception) -> Response:
    """Answer what no route of ours answers: an unknown path, another method."""
    response = failure(error)
    secure(response)
    return response
