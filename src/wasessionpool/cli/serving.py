"""``serve``: the REST interface in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

import uvicorn

from ..debug_log import line_of
from ..events import Event
from ..fastapi.app import PREFIX, create_app
from ..http.keys import VARIABLE
from ..http.request_log import RequestLog
from ..http.tokens import Tokens
from ..pool import WhatsAppSessionPool
from ..settings import PoolSettings
from .ending import CommandFailed, on_first_signal, usage
from .key_shelf import keys_at
from .output import Output
from .service_log import ServiceLog

logger = logging.getLogger(__name__)

BACKLOG = 2048
LONGEST = 30.0
"""Seconds that ``POST /sessions`` waits for a code; what else takes long follows from the settings."""
MARGIN = 5
"""Seconds more that requests under way have when the service ends."""
TOLD = ("connected", "disconnected", "reconnect_failed", "health_check_failed", "restricted", "logout", "error")
"""The events that are lines of the log; an attempt to reconnect has one already."""


@dataclass(frozen=True)
class Certificate:
    """What the service proves itself by, as PEM; one file may hold both."""

    certificate: Path
    key: Path | None = None

    def load_into(self, context: ssl.SSLContext) -> None:
        """Raise ``CommandFailed`` where the files cannot be used."""

        def locked() -> NoReturn:
            raise CommandFailed(f"the key of {self} is encrypted: decrypt it, in a file of mode 0600")

        for file in filter(None, (self.certificate, self.key)):
            try:
                with file.open("rb"):
                    pass
            except OSError as error:
                raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
        try:
            context.load_cert_chain(self.certificate, self.key, locked)
        except ssl.SSLError as error:
            because = error.reason or "there is no certificate with its key, as PEM"
            raise CommandFailed(f"{self} cannot be used: {because}") from None

    def __str__(self) -> str:
        return " with ".join(map(str, filter(None, (self.certificate, self.key))))


async def serve(
    settings: PoolSettings,
    *,
    host: str,
    port: int,
    certificate: Certificate | None,
    allow_anonymous: bool,
    tokens: Tokens | None,
    log: ServiceLog,
    output: Output,
) -> None:
    """Serve until SIGTERM or SIGINT: then take no new request, finish those under way, and close the pool."""
    if certificate is not None:
        certificate.load_into(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    if not (
        allow_anonymous or tokens or os.environ.get(VARIABLE, "").strip(", ") or await keys_at(settings.session_path)
    ):
        raise CommandFailed(
            "no API key is configured: make one with `wasessionpool keys create`, or set "
            f"{VARIABLE}, or let everybody in with --allow-anonymous"
        )
    with log, listening(host, port) as listener:
        url = _url(host, listener, certificate)
        if allow_anonymous and not is_loopback(listener):
            logger.warning("anonymous requests are allowed: whoever reaches %s can do everything", url)
        pool = WhatsAppSessionPool(settings)
        pool.on(*TOLD)(_tell)
        with usage():
            app = create_app(pool, allow_anonymous=allow_anonymous, tokens=tokens)
        server = Server(app, settings, certificate, on_started=lambda: _started(url, output))
        on_first_signal(server.stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.hang_up, log)
        async with app.router.lifespan_context(app):
            await server.serve([listener])
        logger.info("the service has ended")


class Server(uvicorn.Server):
    """uvicorn, whose process ends with 0 after a signal and leaves the lifespan to who opened it."""

    def __init__(
        self,
        app: object,
        settings: PoolSettings,
        certificate: Certificate | None,
        *,
        on_started: Callable[[], None],
    ) -> None:
        self._certificate = certificate
        self._on_started = on_started
        super().__init__(
            uvicorn.Config(
                RequestLog(app),  # type: ignore[arg-type]
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=grace(settings),
                ssl_certfile=certificate.certificate if certificate else None,
                ssl_keyfile=certificate.key if certificate else None,
            )
        )

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    def stop(self, number: int) -> None:
        name = signal.Signals(number).name
        logger.info("%s: the service ends; no new requests, %d under way", name, len(self.server_state.tasks))
        self.should_exit = True

    def hang_up(self, log: ServiceLog) -> None:
        """Go on with the files that are at the paths now: logs, and the certificate, for new connections."""
        log.reopen()
        context = getattr(self.config, "ssl", None)
        if self._certificate is None or context is None:
            return
        try:
            self._certificate.load_into(context)
        except CommandFailed as error:
            logger.error("the old certificate is kept: %s", error)


def grace(settings: PoolSettings) -> int:
    """Return the seconds that requests under way have when the service ends.

    What takes longest is to unlink a phone: the link is made, the server told, and the link ended.
    """
    unlinking = settings.connect_timeout + settings.send_timeout + settings.shutdown_timeout
    return math.ceil(max(LONGEST, unlinking)) + MARGIN


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens, at ``::`` for IPv4 too where the system can; raises ``CommandFailed``."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except socket.gaierror as error:
        raise CommandFailed(f"cannot listen on {host}: {error.strerror}") from None
    except OSError as error:
        because = os.strerror(error.errno) if error.errno else str(error)
        raise CommandFailed(f"cannot listen on {host}, port {port}: {because}") from None


def _url(host: str, listener: socket.socket, certificate: Certificate | None) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http{'s' if certificate else ''}://{name}:{listener.getsockname()[1]}{PREFIX}"


def is_loopback(listener: socket.socket) -> bool:
    """Say whether only this host reaches it."""
    return ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _started(url: str, output: Output) -> None:
    logger.info("serving %s", url)
    output.json({"event": "serving", "url": url, "pid": os.getpid()})
    output.line(f"serving {url}")


async def _tell(event: Event) -> None:
    logger.info("session %s: %s", event.key, line_of(event), extra={"session": str(event.key)})
