from __future__ import annotations

from collections.abc import Iterator

import pytest

from .valkey import Valkey


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def valkey(server: Valkey) -> Iterator[Valkey]:
    """An empty Valkey that runs; the test may stop it."""
    with server.client as client:
        client.flushall()
    yield server
    server.kill()
    server.start()
