"""What the commands are told, and what they make of it; a mistake ends the command as wrong usage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ..models import SessionKey
from ..settings import PoolSettings
from .ending import WRONG_USAGE, end, usage
from .places import Place


def directory(text: str) -> Path:
    """Return the path of a directory; an empty one is a variable that was not set, rather than where we are."""
    if not text.strip():
        raise typer.BadParameter("it is empty; the current directory is '.'")
    return Path(text)


Company = Annotated[str, typer.Argument(metavar="COMPANY", help="The company's id.")]
Device = Annotated[str, typer.Option(help="The company's linked device.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
SessionPath = Annotated[
    Path | None,
    typer.Option(
        parser=directory,
        metavar="<path>",
        help="Where the sessions lie; else WHATSAPP_SESSION_PATH, else whatsapp_sessions.",
        show_default=False,
    ),
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Go through the service that runs there, as http://127.0.0.1:8000; else WHATSAPP_URL, where it is set.",
        show_default=False,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", help="The service's key; better, unseen by others: WHATSAPP_API_KEY.", show_default=False
    ),
]


def place_of(session_path: Path | None, url: str | None, api_key: str | None) -> Place:
    """Return where the sessions are: at the service that is named, else in the session path.

    What was typed goes before the environment.
    """
    named = url if url is not None or session_path is not None else os.environ.get("WHATSAPP_URL") or None
    if named is None:
        if api_key is not None:
            end("an --api-key is for a service: name it with --url", WRONG_USAGE)
        from .session_path import SessionPath

        return SessionPath(settings_of(session_path, autostart=False))
    if session_path is not None:
        end("the service at --url has a session path of its own: leave out --session-path", WRONG_USAGE)
    from .client import base_url
    from .service import Service

    key = (api_key if api_key is not None else os.environ.get("WHATSAPP_API_KEY", "")).strip()
    if not key.isascii() or not key.isprintable():
        end("an API key is printable ASCII", WRONG_USAGE)
    try:
        return Service(base_url(named), key or None, options=() if url is None else ("--url", url))
    except ValueError as error:
        end(str(error), WRONG_USAGE)


def settings_of(session_path: Path | None, **overrides: Any) -> PoolSettings:
    if session_path is not None:
        overrides["session_path"] = session_path
    with usage():
        settings = PoolSettings.from_env(**overrides)
    return settings.model_copy(update={"session_path": settings.session_path.absolute()})


def key_of(company_id: str, device: str) -> SessionKey:
    with usage():
        return SessionKey(company_id, device)
