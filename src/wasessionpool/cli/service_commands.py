"""The commands about a service: ``serve``, and the keys that it asks for."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ..models import SessionKey
from .ending import WRONG_USAGE, CommandFailed, end, reported, run, usage
from .options import Json, SessionPath, settings_of
from .output import Output

keys = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Make, list and revoke API keys; a service that runs takes them up at once.",
)


class LogFormat(StrEnum):
    """How lines of the log are written."""

    TEXT = "text"
    JSON = "json"


class Right(StrEnum):
    """What a key may allow; READ looks at sessions, SEND sends, MANAGE pairs and ends them."""

    READ = "read"
    SEND = "send"
    MANAGE = "manage"


@reported()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is all of IPv4, :: all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Serve HTTPS by this certificate with its chain, as PEM.", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="The certificate's key, where it is in another file.", show_default=False)
    ] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Let requests in that name no key; they may do everything.")
    ] = False,
    jwt_key: Annotated[
        Path | None,
        typer.Option(help="Accept tokens, too, signed by the owner of this public key, as PEM.", show_default=False),
    ] = None,
    jwt_issuer: Annotated[str | None, typer.Option(help="Who signs the tokens.", show_default=False)] = None,
    jwt_audience: Annotated[str | None, typer.Option(help="Whom they are for: us.", show_default=False)] = None,
    jwt_company_claim: Annotated[str, typer.Option(help="The claim that names the companies.")] = "companies",
    access_log: Annotated[
        Path | None, typer.Option(help="Append a line for each request; else standard output.", show_default=False)
    ] = None,
    error_log: Annotated[
        Path | None, typer.Option(help="Append all other lines; else standard error.", show_default=False)
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Else text, and json with --json.", show_default=False)
    ] = None,
    session_path: SessionPath = None,
    as_json: Json = False,
) -> None:
    """Run the sessions and serve the REST interface, in one process, until SIGTERM or SIGINT."""
    settings = settings_of(session_path)
    if tls_key is not None and tls_certificate is None:
        end("--tls-key needs its --tls-certificate", WRONG_USAGE)
    if len({jwt_key is None, jwt_issuer is None, jwt_audience is None}) > 1:
        end("--jwt-key, --jwt-issuer and --jwt-audience go together", WRONG_USAGE)
    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise CommandFailed(f"{' and '.join(missing)} not found: pip install 'wasessionpool[cli,fastapi]'")
    from ..http.tokens import Tokens
    from .service_log import STDERR, STDOUT, LogFile, ServiceLog
    from .serving import Certificate, serve

    tokens = None
    if jwt_key is not None and jwt_issuer is not None and jwt_audience is not None:
        with usage():
            tokens = Tokens(issuer=jwt_issuer, audience=jwt_audience, key_file=jwt_key, company_claim=jwt_company_claim)
    log = ServiceLog(
        access=LogFile(access_log, otherwise=STDOUT),
        error=LogFile(error_log, otherwise=STDERR),
        as_json=as_json if log_format is None else log_format is LogFormat.JSON,
    )
    certificate = None if tls_certificate is None else Certificate(tls_certificate, tls_key)
    output = Output(as_json=as_json)
    asyncio.run(
        serve(
            settings,
            host=host,
            port=port,
            certificate=certificate,
            allow_anonymous=allow_anonymous,
            tokens=tokens,
            log=log,
            output=output,
        )
    )


@keys.command()
@reported()
def create(
    right: Annotated[
        list[Right] | None, typer.Option(help="What it allows; may be repeated. Else everything.", show_default=False)
    ] = None,
    company: Annotated[
        list[str] | None,
        typer.Option(help="A company that it reaches; may be repeated. Else all of them.", show_default=False),
    ] = None,
    name: Annotated[str, typer.Option(help="What you know it by.", show_default=False)] = "",
    session_path: SessionPath = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once: only its hash is kept."""
    settings, companies = settings_of(session_path), company or []
    with usage():
        for company_id in companies:
            SessionKey(company_id)
    from .key_shelf import create_key

    rights = [one.value for one in right or Right]
    output = Output(as_json=as_json)
    run(lambda: create_key(settings.session_path, rights=rights, companies=companies, name=name, output=output))


@keys.command("list")
@reported()
def list_keys(session_path: SessionPath = None, as_json: Json = False) -> None:
    """List the keys that were made, by id; claims nothing."""
    settings = settings_of(session_path)
    from .key_shelf import show_keys

    run(lambda: show_keys(settings.session_path, Output(as_json=as_json)))


@keys.command()
@reported()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    session_path: SessionPath = None,
    as_json: Json = False,
) -> None:
    """Refuse a key from the next request on."""
    settings = settings_of(session_path)
    from .key_shelf import revoke_key

    run(lambda: revoke_key(settings.session_path, key_id, Output(as_json=as_json)))
