"""The recipes for a service say what there is: commands, options, variables, routes, and times that are long enough."""

from __future__ import annotations

import json
import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt

from wasessionpool import PoolSettings
from wasessionpool.cli.app import app
from wasessionpool.cli.client import PREFIX as CLIENT_PREFIX
from wasessionpool.cli.serving import grace
from wasessionpool.fastapi import create_app
from wasessionpool.fastapi.app import PREFIX
from wasessionpool.settings import OTHERS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVE, MIGRATION = ROOT / "docs" / "serve.md", ROOT / "docs" / "migration.md"
VARIABLES = {f"WHATSAPP_{name.upper()}" for name in PoolSettings.model_fields} | OTHERS
DIRECTIVES = {
    "Unit": {"Description", "After", "Wants"},
    "Service": {
        "Type", "User", "Group", "StateDirectory", "StateDirectoryMode", "LogsDirectory", "LogsDirectoryMode",
        "Environment", "EnvironmentFile", "ExecStart", "ExecReload", "Restart", "RestartSec", "TimeoutStopSec",
        "LimitNOFILE", "UMask", "NoNewPrivileges", "PrivateTmp", "ProtectHome", "ProtectSystem",
    },
    "Install": {"WantedBy"},
}  # fmt: skip
"""Those of systemd that the unit uses: one that is misspelt is only a warning to systemd."""


def block(page: Path, info: str) -> str:
    [content] = [
        token.content
        for token in MarkdownIt().parse(page.read_text("utf-8"))
        if token.type == "fence" and token.info.strip() == info
    ]
    return content


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of this library that a page has, in a block or within a sentence."""
    found = []
    for page in PAGES:
        for line in re.findall(
            r"(?:^|`|/|whatsapp )(wasessionpool (?!not found)[a-z][^`\n]*)", page.read_text("utf-8"), re.MULTILINE
        ):
            words = shlex.split(line.partition(" · ")[0].replace("…", "x"), comments=True)
            found.append((page.name, words[1:]))
    return found


def check(words: list[str]) -> None:
    """Raise ``AssertionError`` where there is no such command, or none with these options."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, "a command is missing"
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
        if not words:
            return
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_command_of_the_docs_exists(page: str, words: list[str]) -> None:
    check(words)


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for words in (["fly"], ["serve", "--workers", "4"], ["keys", "make"]):
        with pytest.raises(AssertionError):
            check(words)
    assert len(commands()) > 30


def test_the_options_of_serve_are_described() -> None:
    described = set(
        re.findall(r"`(--[a-z-]+)`", SERVE.read_text().partition("| option | means |")[2].partition("\n\n")[0])
    )
    group = typer.main.get_command(app)
    names = {name for parameter in group.commands["serve"].params for name in parameter.opts}  # type: ignore[attr-defined]
    assert described - {"--json"} == names - {"--session-path", "--json", "--help"}


def seconds_to_end() -> float:
    settings = PoolSettings()
    return grace(settings) + settings.shutdown_timeout


def test_the_unit_can_be_right() -> None:
    unit = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(block(SERVE, "ini"))
    for section in unit.sections():
        assert set(unit[section]) <= DIRECTIVES[section]
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > seconds_to_end()
    assert service["Environment"].partition("=")[0] in VARIABLES
    check(shlex.split(service["ExecStart"])[1:])
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    assert (service["StateDirectoryMode"], service["UMask"]) == ("0700", "0077")


def test_the_container_can_be_right() -> None:
    lines = block(SERVE, "dockerfile").splitlines()
    instructions = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
    known = {"FROM", "RUN", "USER", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD"}
    assert set(instructions) == known
    assert instructions["USER"] == "whatsapp"
    assert lines.index("USER whatsapp") > max(n for n, line in enumerate(lines) if line.startswith("RUN"))
    variable, _, path = instructions["ENV"].partition("=")
    assert variable in VARIABLES
    assert instructions["VOLUME"] == path
    command = json.loads(instructions["CMD"])
    check(command[1:])
    port = command[command.index("--port") + 1]
    assert instructions["EXPOSE"] == port
    asks = json.loads(instructions["HEALTHCHECK"].partition(" CMD ")[2])
    compile(asks[2], "healthcheck", "exec")
    assert f"http://127.0.0.1:{port}/health'" in asks[2]
    for name in ("--stop-timeout", "stop_grace_period:", "terminationGracePeriodSeconds:"):
        values = re.findall(rf"{name} (\d+)", SERVE.read_text())
        assert values, name
        assert all(float(value) > seconds_to_end() for value in values)


@pytest.mark.parametrize("page", [SERVE, MIGRATION], ids=lambda page: page.name)
def test_every_variable_is_one(page: Path) -> None:
    named = set(re.findall(r"\bWHATSAPP_[A-Z_]+", page.read_text()))
    assert named
    assert named <= VARIABLES | {"WHATSAPP_"}


def test_what_the_node_service_had_is_here() -> None:
    paths = {
        (method.upper(), path.replace("{companyId}", ":companyId"))
        for path, calls in create_app(keys=["a-long-random-key"]).openapi()["paths"].items()
        for method in calls
    } | {("GET", "/health")}
    rows = re.findall(r"^\| `([A-Z]+) (/\S+)` \| the same", MIGRATION.read_text(), re.MULTILINE)
    assert len(rows) == 7
    assert set(rows) <= paths
    for setting in ("session_path", "rate_limit_window", "rate_limit_max", "health_check_interval"):
        assert f"`WHATSAPP_{setting.upper()}" in MIGRATION.read_text()


def test_a_client_asks_where_the_service_answers() -> None:
    assert CLIENT_PREFIX == PREFIX
