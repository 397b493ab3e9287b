"""The commands and their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..addresses import Address, parse_phone_number
from ..messages import OutgoingMessage, to_message
from ..models import MAIN_DEVICE, SessionKey
from .ending import WRONG_USAGE, end, reported, run, usage
from .options import ApiKey, Company, Device, Json, SessionPath, Timeout, Url, directory, key_of, place_of, settings_of
from .output import Output
from .places import Ending, Place
from .service_commands import keys, serve

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.command()(serve)
app.add_typer(keys, name="keys")


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
            parser=directory,
            metavar="<path>",
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
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Link a session, new or known, to a phone by a QR code or a code to type in."""
    key, place = key_of(company, device), place_of(session_path, url, api_key)
    if phone_number is not None:
        with usage():
            parse_phone_number(phone_number)
    from .pairing import pair

    output = Output(as_json=as_json)
    run(lambda: pair(place, key, phone_number=phone_number, timeout=timeout, output=output))


@app.command()
@reported()
def send(
    company: Company,
    to: Annotated[str, typer.Argument(metavar="TO", help="A phone number with its country code, or a JID.")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="The text; - reads it from standard input.")],
    device: Device = MAIN_DEVICE,
    timeout: Timeout = 60.0,
    session_path: SessionPath = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Send one text message from a linked session, and print its id."""
    key, place = key_of(company, device), place_of(session_path, url, api_key)
    with usage():
        content = _content(message)
        Address.parse(to)
    from .sending import send

    run(lambda: send(place, key, to, content, timeout=timeout, output=Output(as_json=as_json)))


@app.command()
@reported()
def status(
    company: Company,
    device: Device = MAIN_DEVICE,
    session_path: SessionPath = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show one session and who runs it; claims nothing."""
    key, place = key_of(company, device), place_of(session_path, url, api_key)
    from .listing import show_status

    run(lambda: show_status(place, key, Output(as_json=as_json)))


@app.command()
@reported()
def sessions(session_path: SessionPath = None, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """List the sessions and who runs them; claims nothing."""
    place = place_of(session_path, url, api_key)
    from .listing import show_sessions

    run(lambda: show_sessions(place, Output(as_json=as_json)))


@app.command()
@reported()
def explain(
    company: Company,
    device: Device = MAIN_DEVICE,
    session_path: SessionPath = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Say in plain words what happened to a session and what follows; claims nothing."""
    key, place = key_of(company, device), place_of(session_path, url, api_key)
    from .listing import show_explanation

    run(lambda: show_explanation(place, key, Output(as_json=as_json)))


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
    key, settings = key_of(company, device), settings_of(session_path)
    from .logs import show_logs

    run(lambda: show_logs(key, settings.session_path, lines, Output(as_json=as_json)))


@app.command()
@reported()
def disconnect(
    company: Company,
    device: Device = MAIN_DEVICE,
    session_path: SessionPath = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Let no pool start a session by itself; its keys are kept."""
    _leave(place_of(session_path, url, api_key), key_of(company, device), "disconnect", as_json=as_json)


@app.command()
@reported()
def logout(
    company: Company,
    device: Device = MAIN_DEVICE,
    session_path: SessionPath = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Unlink a session from its phone and erase its keys."""
    _leave(place_of(session_path, url, api_key), key_of(company, device), "logout", as_json=as_json)


@app.command()
@reported()
def delete(
    company: Company,
    device: Device = MAIN_DEVICE,
    session_path: SessionPath = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Unlink a session from its phone and forget everything of it."""
    _leave(place_of(session_path, url, api_key), key_of(company, device), "delete", as_json=as_json)


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
    settings = settings_of(session_path)
    if company is None and device != MAIN_DEVICE:
        end("a --device is a company's: name the company too", WRONG_USAGE)
    named = None if company is None else key_of(company, device)
    from .pruning import prune
    from .records import command_of

    command = command_of("prune", named, settings.session_path)
    if named is None:
        command += f" --older-than {older_than:g}"
    output = Output(as_json=as_json)
    run(lambda: prune(settings.session_path, named, older_than=older_than, remove=yes, command=command, output=output))


@app.command()
@reported()
def doctor(session_path: SessionPath = None, as_json: Json = False) -> None:
    """Check what the pool needs on this machine."""
    settings = settings_of(session_path)
    from .doctor import examine

    run(lambda: examine(settings.session_path, Output(as_json=as_json)))


def _leave(place: Place, key: SessionKey, ending: Ending, *, as_json: bool) -> None:
    from .leaving import leave

    run(lambda: leave(place, key, ending, Output(as_json=as_json)))


def _content(message: str) -> OutgoingMessage:
    if message == "-":
        try:
            message = sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            end(f"standard input is not UTF-8: {error.reason} at byte {error.start}", WRONG_USAGE)
    return to_message(message)
