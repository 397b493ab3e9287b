"""Where Redis is: a URL, of which nothing but the hosts is ever printed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from ..errors import ConfigurationError

try:
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.connection import parse_url
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import (
        AuthenticationError,
        AuthorizationError,
        ConnectionError,  # noqa: A004
        NoPermissionError,
        RedisClusterException,
        RedisError,
    )
except ImportError:
    raise ConfigurationError("redis_url needs Redis' client: pip install 'wasessionpool[redis]'") from None

DEFAULT_PORT = 6379
FAILURES = (RedisError, RedisClusterException, OSError)
"""What a client raises."""

REFUSALS = (AuthenticationError, AuthorizationError, NoPermissionError)
"""What it raises where the password or the rights are not enough."""

NO_CLUSTER = "cluster support disabled"
"""What a server says that is no node of a cluster."""

KINDS = ("redis", "rediss", "redis+cluster", "rediss+cluster")


@dataclass(frozen=True, repr=False)
class RedisAddress:
    """One server, or some of a cluster's."""

    url: str
    """Without the query."""
    scheme: str
    username: str | None
    password: str | None
    hosts: tuple[tuple[str, int], ...]
    query: str

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Read ``redis://user:password@host:port/0``, or ``redis+cluster://host:port,host:port``; ``s`` means TLS.

        Raises ``ConfigurationError``, which repeats nothing of it but the name of an option that is not taken.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in KINDS:
            raise ConfigurationError(f"redis_url has to begin with one of {', '.join(f'{kind}://' for kind in KINDS)}")
        place, _, query = rest.partition("?")
        credentials, _, hosts = place.partition("/")[0].rpartition("@")
        username, _, password = credentials.partition(":")
        try:
            places = tuple(_host(each) for each in hosts.split(","))
            if len(places) > 1 and not scheme.endswith("cluster"):
                raise ValueError(hosts)
            address = cls(
                f"{scheme}://{place}", scheme, unquote(username) or None, unquote(password) or None, places, query
            )
            replace(address, query="")._try()
        except Exception:  # noqa: BLE001 - what a client raises that is made with what it does not take, is up to it
            raise ConfigurationError(f"redis_url is not of the form {scheme}://user:password@host:port") from None
        for option in query.split("&"):
            try:
                replace(address, query=option)._try()
            except Exception:  # noqa: BLE001 - as above
                name = option.partition("=")[0]
                raise ConfigurationError(
                    f"redis_url has the option {name}, which Redis' client does not take, or not with this value: "
                    "correct it or leave it out"
                ) from None
        return address

    def __repr__(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    def client(self, timeout: float) -> Any:
        """Return a client, connected to nothing yet, that waits for an answer at most ``timeout`` seconds."""
        options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        if not self._cluster:
            # A connection that lay idle may have ended unnoticed: that is no sign of a server that is gone.
            return Redis.from_url(
                f"{self.url}?{self.query}", retry=Retry(NoBackoff(), 1), retry_on_error=[ConnectionError], **options
            )
        options.update(parse_url(f"redis://?{self.query}"))
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self.hosts],
            username=self.username,
            password=self.password,
            ssl=self.scheme.startswith("rediss"),
            **options,
        )

    @property
    def _cluster(self) -> bool:
        return self.scheme.endswith("cluster")

    def _try(self) -> None:
        """Make a client and a connection, which looks at its options, but open none."""
        client = self.client(1.0)
        if self._cluster:
            for node in client.nodes_manager.startup_nodes.values():
                node.acquire_connection()
        else:
            client.connection_pool.make_connection()


def refusal(error: BaseException | None) -> str | None:
    """Say why it is no use to ask again, by what a client raised and what led to that; ``None``: it may be of use."""
    while error is not None:
        if isinstance(error, REFUSALS):
            return type(error).__name__
        if NO_CLUSTER in str(error):
            return "it is no cluster: begin with redis:// or rediss://"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _host(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    number = int(port) if port else DEFAULT_PORT
    if not host or not 0 < number < 65536:
        raise ValueError(text)
    return host, number
