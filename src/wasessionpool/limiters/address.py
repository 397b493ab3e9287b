"""Where Redis is: a URL, of which nothing but the hosts is ever printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..errors import ConfigurationError

try:
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import (
        AuthenticationError,
        AuthorizationError,
        ConnectionError,  # noqa: A004
        NoPermissionError,
        RedisError,
    )
except ImportError:
    raise ConfigurationError("redis_url needs Redis' client: pip install 'wasessionpool[redis]'") from None

DEFAULT_PORT = 6379
FAILURES = (RedisError, OSError)
"""What a client raises."""

REFUSALS = (AuthenticationError, AuthorizationError, NoPermissionError)
"""What it raises where the password or the rights are not enough."""

KINDS = ("redis", "rediss", "redis+cluster", "rediss+cluster")


@dataclass(frozen=True, repr=False)
class RedisAddress:
    """One server, or some of a cluster's."""

    url: str
    scheme: str
    username: str | None
    password: str | None
    hosts: tuple[tuple[str, int], ...]
    options: dict[str, Any]

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Read ``redis://user:password@host:port/0``, or ``redis+cluster://host:port,host:port``; ``s`` means TLS.

        Raises ``ConfigurationError``, which does not repeat it.
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
                url, scheme, unquote(username) or None, unquote(password) or None, places, dict(parse_qsl(query))
            )
            address.client(1.0)
        except (ValueError, TypeError):
            raise ConfigurationError(f"redis_url is not of the form {scheme}://user:password@host:port") from None
        return address

    def __repr__(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    def client(self, timeout: float) -> Any:
        """Return a client, connected to nothing yet, that waits for an answer at most ``timeout`` seconds."""
        options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        if not self.scheme.endswith("cluster"):
            # A connection that lay idle may have ended unnoticed: that is no sign of a server that is gone.
            return Redis.from_url(self.url, retry=Retry(NoBackoff(), 1), retry_on_error=[ConnectionError], **options)
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self.hosts],
            username=self.username,
            password=self.password,
            ssl=self.scheme.startswith("rediss"),
            **options,
            **self.options,
        )


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
