"""The REST interface for FastAPI; it needs the extra ``fastapi``.

Include the router in an application of your own, which opens the pool with it::

    app = FastAPI()
    app.include_router(create_router(pool), prefix="/api/whatsapp")

or take a whole application: ``uvicorn --factory wasessionpool.fastapi:create_app``.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("fastapi") is None:
    raise ImportError("fastapi not found: pip install 'wasessionpool[fastapi]'")

from ..http.tokens import Tokens
from .app import create_app
from .lifespan import PoolDependency, pool_lifespan
from .router import create_router

__all__ = ["PoolDependency", "Tokens", "create_app", "create_router", "pool_lifespan"]
