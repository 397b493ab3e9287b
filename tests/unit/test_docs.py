"""The docs say what the code does: their tables are complete, their diagram is the state machine, their code runs."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CoroutineType, ModuleType
from typing import Any

import pytest
from markdown_it import MarkdownIt

from wasessionpool import DisconnectReason, PoolSettings, Status, WhatsAppSessionPool, defaults
from wasessionpool.events import EVENT_TYPES
from wasessionpool.state import TABLE, Signal
from wasessionpool.testing import FakeCoordinator, FakeDriver, FakeLink

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
COMPANY = "962302"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    info: str
    content: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    for token in MarkdownIt().parse(page.read_text("utf-8")):
        if token.type == "fence":
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content)


BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.info == "python"]
LOOPBACK = {"whatsapp-server.md", "faults.md"}
"""Pages whose code is about the loopback server: `tests/server/test_docs.py` runs it."""
RUN_HERE = [block for block in PYTHON if block.page.name not in LOOPBACK and "def test_" not in block.content]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return load(DOCS / "_ext" / "tables.py")


def test_every_setting_is_described(tables: ModuleType) -> None:
    described = {}
    for block in BLOCKS:
        if block.info == "{settings}":
            described |= tables.described(block.content.splitlines())
    assert set(PoolSettings.model_fields) <= set(described)
    printed = tables.settings_table(described)
    for name, field in PoolSettings.model_fields.items():
        assert f"| `{name}` | `{tables._printed(field.default)}` | `WHATSAPP_{name.upper()}`" in printed
    assert all(described.values())


def test_every_reason_is_described(tables: ModuleType) -> None:
    [block] = [block for block in BLOCKS if block.info == "{reasons}"]
    assert set(tables.described(block.content.splitlines())) == {reason.value for reason in DisconnectReason}


def test_every_event_and_error_is_printed(tables: ModuleType) -> None:
    rows = tables.events_table().splitlines()[2:]
    assert {row.split("`")[1] for row in rows} == EVENT_TYPES
    rows = tables.errors_table().splitlines()[2:]
    assert {row.split("`")[1] for row in rows} == {error.__name__ for error in tables.known_errors()}
    assert not [row for row in rows if "|  |" in row.replace("|  |", "", 1)]
    assert "`retry_after`" in next(row for row in rows if "RateLimitExceeded" in row)
    for name in ("events", "errors", "states"):
        assert [block for block in BLOCKS if block.info == f"{{{name}}}"], f"no page prints {name}"


def drawn() -> set[tuple[Status, Signal, Status]]:
    """Read the arrows of the diagram; those that begin nowhere hold for the statuses that the line above names."""
    [diagram] = [block.content for block in BLOCKS if block.page.name == "concepts.md" and "─START→" in block.content]
    found: set[tuple[Status, Signal, Status]] = set()
    group: list[str] = []
    for line in diagram.splitlines():
        if line.endswith(":"):
            group = re.findall(r"\w+", line.partition("(")[2])
        for source, signal, target in re.findall(r"(?=\b(\w+) ─(\w+)→ (\w+))\w", line):
            found.add((Status(source), Signal(signal.lower()), Status(target)))
        for signal, target in re.findall(r"(?:^|·) *─(\w+)→ (\w+)", line):
            found |= {(Status(source), Signal(signal.lower()), Status(target)) for source in group}
    return found


def test_the_diagram_is_the_state_machine() -> None:
    machine = {(status, signal, after) for status, signals in TABLE.items() for signal, after in signals.items()}
    assert drawn() == machine


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_in_the_docs_can_be_read(block: Block) -> None:
    compile(block.content, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("block", RUN_HERE, ids=str)
async def test_python_in_the_docs_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block as if it stood in an async function, on a driver whose sessions are linked as soon as asked."""

    async def link(link: FakeLink) -> None:
        if not link.record.linked:
            link.offer_pairing()
        link.up()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(defaults, "make_driver", lambda _settings: FakeDriver(link))
    code = compile(block.content, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def run(names: dict[str, Any]) -> None:
        outcome = eval(code, names)  # noqa: S307 - it is our own
        if isinstance(outcome, CoroutineType):
            await outcome

    if re.search(r"\bpool[.,]", block.content) and "as pool" not in block.content:
        settings = PoolSettings(session_path=tmp_path / "sessions")
        async with WhatsAppSessionPool(settings, coordinator=FakeCoordinator()) as pool:
            await pool.create_session(COMPANY)
            await pool.wait_until_connected(COMPANY, timeout=60)
            await run({"pool": pool})
    else:
        await run({})


def test_pages_are_linked_to() -> None:
    toctrees = "\n".join(block.content for block in blocks(DOCS / "index.md") if block.info == "{toctree}")
    listed = {line for line in toctrees.splitlines() if line and not line.startswith(":")}
    assert {page.stem for page in DOCS.glob("*.md")} == listed | {"index"}
