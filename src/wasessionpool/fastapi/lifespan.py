"""How an application opens the pool and its endpoints get it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from ..errors import ConfigurationError, PoolClosed
from ..pool import WhatsAppSessionPool

STATE = "wasessionpool"
"""The name of the pool in what a lifespan yields, and so in ``request.state``."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]


def _pool_of(connection: HTTPConnection) -> WhatsAppSessionPool:
    pool = getattr(connection.state, STATE, None)
    if not isinstance(pool, WhatsAppSessionPool):
        raise ConfigurationError("no lifespan has opened a pool: include create_router(), or use pool_lifespan()")
    return pool


PoolDependency = Annotated[WhatsAppSessionPool, Depends(_pool_of)]
"""The open pool, for an endpoint of yours: ``async def endpoint(pool: PoolDependency)``."""


def pool_lifespan(app: FastAPI) -> Lifespan:
    """Return the lifespan for an application that *mounts* ``app``, made by ``create_app``.

    Nobody runs the lifespan of a mounted application, so the outer one has to, or no pool is opened::

        api = create_app(pool, prefix="")
        app = FastAPI(lifespan=pool_lifespan(api))
        app.mount("/whatsapp", api)

    In a lifespan of your own: ``async with pool_lifespan(api)(app) as state: yield state``.
    """

    @asynccontextmanager
    async def lifespan(_outer: Any) -> AsyncIterator[dict[str, Any]]:
        async with app.router.lifespan_context(app) as state:
            yield dict(state or {})

    return lifespan


@asynccontextmanager
async def opened(pool: WhatsAppSessionPool) -> AsyncIterator[None]:
    """Open the pool, and close it at the end; one that the application has opened already is left to it."""
    try:
        await pool.get_sessions()
    except PoolClosed:
        async with pool:
            yield
    else:
        yield
