"""A running service, asked over HTTP."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx
from pydantic import ValidationError

import wasessionpool

from ..http.bodies import Answer, ErrorBody
from .ending import CommandFailed, printable

PREFIX = "/api/whatsapp"
"""Where the REST interface is, at a URL that names no path."""
CONNECTING = 10.0
"""Seconds until somebody answers the call."""
ANSWERING = 90.0
"""Seconds for the answer; what takes longest, to unlink a phone, may take 70 s by the default settings."""
UNASKED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
"""Errors before anything of the request was written; after any other one nobody knows what became of it."""

A = TypeVar("A", bound=Answer)


class Refused(CommandFailed):
    """The service has said no, and why."""

    def __init__(self, body: ErrorBody) -> None:
        wait = f"; try again in {body.retry_after / 1000:.0f} s" if body.retry_after is not None else ""
        super().__init__(body.error + wait)
        self.body = body


class NoAnswer(CommandFailed):
    """The request was written, and no answer of the service came: what it has done of what it was asked is unknown."""


class Client:
    """Asks the service at ``url``; raises ``CommandFailed`` in whatever way that does not work out.

    Certificates are checked, against the roots of ``SSL_CERT_FILE`` where it is set; ``HTTPS_PROXY`` and ``NO_PROXY``
    are honoured, a redirect is not followed.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self.url = url
        headers = {"Accept": "application/json", "User-Agent": f"wasessionpool/{wasessionpool.__version__}"}
        if api_key:
            headers["X-API-Key"] = api_key
        try:
            self._client = httpx.AsyncClient(base_url=url, headers=headers)
        except (OSError, ValueError, httpx.InvalidURL) as error:
            raise CommandFailed(f"cannot ask {url}: {error} (SSL_CERT_FILE, HTTPS_PROXY)") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(
        self,
        answer: type[A],
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        device: str | None = None,
        timeout: float = ANSWERING,
    ) -> A:
        """Return the answer; raises ``Refused`` where the service says no, ``NoAnswer`` where it may have done it."""
        params = {"device": device} if device is not None else None
        try:
            with anyio.fail_after(timeout + CONNECTING):
                response = await self._client.request(
                    method, path, json=body, params=params, timeout=httpx.Timeout(timeout, connect=CONNECTING)
                )
        except (TimeoutError, httpx.ReadTimeout):
            raise NoAnswer(f"{self.url} did not answer within {timeout:g} s") from None
        except UNASKED as error:
            raise CommandFailed(self._why(error)) from None
        except httpx.HTTPError as error:
            raise NoAnswer(self._why(error)) from None
        if response.is_success:
            return self._read(answer, response)
        raise Refused(self._read(ErrorBody, response))

    def _read(self, kind: type[A], response: httpx.Response) -> A:
        """Return what the service says; what is not from a service, as a proxy's page, ends the command."""
        try:
            return kind.model_validate_json(response.content)
        except ValidationError:
            media = printable(response.headers.get("content-type", "no type")).partition(";")[0]
            where = f" ({response.headers['location']})" if response.has_redirect_location else ""
            failed = NoAnswer if response.is_server_error else CommandFailed
            raise failed(
                f"{self.url} answered {response.status_code} {media}{where}, which is not what a service of this "
                "library says: is the URL right, and what is before the service up?"
            ) from None

    def _why(self, error: httpx.HTTPError) -> str:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"the certificate of {self.url} is not accepted: {cause.verify_message} (SSL_CERT_FILE: roots)"
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, httpx.ConnectTimeout):
            return f"nothing answers at {self.url} within {CONNECTING:g} s"
        because = str(error) or type(error).__name__
        reached = "nothing answers at" if isinstance(error, httpx.ConnectError) else "no answer from"
        return f"{reached} {self.url}: {because}"


def base_url(given: str) -> str:
    """Return where the calls are; raises ``ValueError`` for what is no URL of a service."""
    try:
        parts = urlsplit(given.strip())
        parts.port  # noqa: B018 - it is checked by being read
    except ValueError:
        raise ValueError(f"{given!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not given.isprintable() or " " in given.strip():
        raise ValueError(f"{given!r} is not a URL as http://127.0.0.1:8000 or https://host/api/whatsapp")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the URL of a service has no user, query or fragment; its key goes in --api-key")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or PREFIX}"
