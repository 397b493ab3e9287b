"""The commands and their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..addresses import Address, parse_phone_number
from ..messages import OutgoingMessage, to_message
from ..models import MAIN_DEVICE, SessionKey
from ..settings import PoolSettings
from .ending import WRONG_USAGE, end, reported, run, usage
from .output import Output

if TYPE_CHECKING:
    from .leaving import Ending

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Company = Annotated[str, typer.Argument(metavar="COMPANY", help="The company's id.")]
Device = Annotated[str, typer.Option(help="The company's linked device.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
SessionPath = Annotated[
    Path | None,
    typer.Option(
        help="Where the sessions lie; else WHATSAPP_SESSION_PATH, else whatsapp_sessions.", show_default=False
    ),
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"wasessionpool {version('wasessionpool')}, neonize {version('neonize')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the versions, and end.")
    ] = False,
) -> None:
    """Keep many companies' WhatsApp sessions alive."""


@app.command()
@reported()
def demo(
    session_path: Annotated[
        Path | None,
        typer.Option(
            help="A directory, new or empty, that keeps the demonstration's files; else a temporary one.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the pool at work on loopback: no phone, no network."""
    from .demo import demonstrate

    output = Output(as_json=as_json)
    run(lambda: demonstrate(session_path, output))


@app.command()
@reported()
def pair(
    company: Company,
    device: Device = MAIN_DEVICE,
    phone_number: Annotated[
        str | None,
        typer.Option(help="The phone's number: show a code to type in, in place of a QR code.", show_default=False),
    ] = None,
    timeout: Timeout = 180.0,
    session_path: SessionPath = None,
    as_json: Json = False,
) -> None:
    """Link a session, new or known, to a phone by a QR code or a code to type in."""
    key, settings = _key(company, device), _settings(session_path)
    if phone_number is not None:
        with usage():
            parse_phone_number(phone_number)
    from ..pool import WhatsAppSessionPool
    from .pairing import pair

    output = Output(as_json=as_json)
    run(lambda: pair(WhatsAppSessionPool(settings), key, phone_number=phone_number, timeout=timeout, output=output))


@app.command()
@reported()
def send(
    company: Company,
    to: Annotated[str, typer.Argument(metavar="TO", help="A phone number with its country code, or a JID.")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="The text; - reads it from standard input.")],
    device: Device = MAIN_DEVICE,
    timeout: Timeout = 60.0,
    session_path: SessionPath = None,
    as_json: Json = False,
) -> None:
    """Start a linked session, send one text message, and print its id."""
    key, settings = _key(company, device), _settings(session_path)
    with usage():
        content = _content(message)
        Address.parse(to)
    from ..pool import WhatsAppSessionPool
    from .sending import send

    output = Output(as_json=as_json)
    run(lambda: send(WhatsAppSessionPool(settings), key, to, content, timeout=timeout, output=output))


@app.command()
@reported()
def status(
    company: Company, device: Device = MAIN_DEVICE, session_path: SessionPath = None, as_json: Json = False
) -> None:
    """Show one session and who runs it; claims nothing."""
    key, settings = _key(company, device), _settings(session_path)
    from .listing import show_status

    run(lambda: show_status(key, settings.session_path, Output(as_json=as_json)))


@app.command()
@reported()
def sessions(session_path: SessionPath = None, as_json: Json = False) -> None:
    """List the sessions and who runs them; claims nothing."""
    settings = _settings(session_path)
    from .listing import show_sessions

    run(lambda: show_sessions(settings.session_path, Output(as_json=as_json)))


@app.command()
@reported()
def explain(
    company: Company, device: Device = MAIN_DEVICE, session_path: SessionPath = None, as_json: Json = False
) -> None:
    """Say in plain words what happened to a session and what follows; claims nothing."""
    key, settings = _key(company, device), _settings(session_path)
    from .listing import show_explanation

    run(lambda: show_explanation(key, settings.session_path, Output(as_json=as_json)))


@app.command()
@reported()
def logs(
    company: Company,
    device: Device = MAIN_DEVICE,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines, the newest.")] = 100,
    session_path: SessionPath = None,
    as_json: Json = False,
) -> None:
    """Show a session's own log; claims nothing."""
    key, settings = _key(company, device), _settings(session_path)
    from .logs import show_logs

    run(lambda: show_logs(key, settings.session_path, lines, Output(as_json=as_json)))


@app.command()
@reported()
def disconnect(
    company: Company, device: Device = MAIN_DEVICE, session_path: SessionPath = None, as_json: Json = False
) -> None:
    """Let no pool start a session by itself; its keys are kept."""
    _leave(company, device, "disconnect", session_path, as_json=as_json)


@app.command()
@reported()
def logout(
    company: Company, device: Device = MAIN_DEVICE, session_path: SessionPath = None, as_json: Json = False
) -> None:
    """Unlink a session from its phone and erase its keys."""
    _leave(company, device, "logout", session_path, as_json=as_json)


@app.command()
@reported()
def delete(
    company: Company, device: Device = MAIN_DEVICE, session_path: SessionPath = None, as_json: Json = False
) -> None:
    """Unlink a session from its phone and forget everything of it."""
    _leave(company, device, "delete", session_path, as_json=as_json)


@app.command()
@reported()
def prune(
    company: Annotated[
        str | None, typer.Argument(metavar="[COMPANY]", help="Only this session, also a linked one, of any age.")
    ] = None,
    device: Device = MAIN_DEVICE,
    older_than: Annotated[float, typer.Option(metavar="DAYS", min=0, help="Only what lay untouched for so long.")] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what was found.")] = False,
    session_path: SessionPath = None,
    as_json: Json = False,
) -> None:
    """Find sessions that are not linked to a phone, and files left over; with --yes remove them."""
    settings = _settings(session_path)
    if company is None and device != MAIN_DEVICE:
        end("a --device is a company's: name the company too", WRONG_USAGE)
    named = None if company is None else _key(company, device)
    from .listing import command_of
    from .pruning import prune

    command = command_of("prune", named, settings.session_path)
    if named is None:
        command += f" --older-than {older_than:g}"
    output = Output(as_json=as_json)
    run(lambda: prune(settings.session_path, named, older_than=older_than, remove=yes, command=command, output=output))


@app.command()
@reported()
def doctor(session_path: SessionPath = None, as_json: Json = False) -> None:
    """Check what the pool needs on this machine."""
    settings = _settings(session_path)
    from .doctor import examine

    run(lambda: examine(settings.session_path, Output(as_json=as_json)))


def _leave(company: str, device: str, ending: Ending, session_path: Path | None, *, as_json: bool) -> None:
    key, settings = _key(company, device), _settings(session_path)
    from ..pool import WhatsAppSessionPool
    from .leaving import leave

    run(lambda: leave(WhatsAppSessionPool(settings), key, ending, Output(as_json=as_json)))


def _settings(session_path: Path | None) -> PoolSettings:
    with usage():
        settings = PoolSettings.from_env(
            autostart=False, **({} if session_path is None else {"session_path": session_path})
        )
    return settings.model_copy(update={"session_path": settings.session_path.absolute()})


def _key(company_id: str, device: str) -> SessionKey:
    with usage():
        return SessionKey(company_id, device)


def _content(message: str) -> OutgoingMessage:
    if message == "-":
        try:
            message = sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            end(f"standard input is not UTF-8: {error.reason} at byte {error.start}", WRONG_USAGE)
    return to_message(message)
