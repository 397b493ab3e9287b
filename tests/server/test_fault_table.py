"""The table of `docs/faults.md`, reproduced row by row with plain neonize.

All rows run at once, in as few processes as can be: the longest take the 75 s that whatsmeow waits for an answer.
Nothing of a row's expectation is known here: calls and observations are read from the document.
"""

from __future__ import annotations

import inspect
import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import Any

import anyio
import pytest

from wasessionpool.testing import PairingError, WhatsAppServer
from wasessionpool.testing.whatsapp.fault_calls import FaultCalls

pytestmark = pytest.mark.timeout(300)

TABLE = Path(__file__).parents[2] / "docs" / "faults.md"
COLUMNS = ("Fault", "Calls", "Events", "Seconds", "Link", "Device", "A send")
PROCESSES_AT_ONCE = 2
QUIET = 1.5
"""How long nothing must follow after the events of a row."""
LONGEST = 120.0
PROMPT = 12.0
"""What counts as at once, on a machine that does much else."""

Spawn = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True)
class Row:
    """One fault, as the document has it."""

    fault: str
    calls: str
    events: str
    seconds: str
    link: str
    device: str
    send: str

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Calls, in backticks, and acts of the client, in italics, in order."""
        return re.findall(r"`([^`]+)`|\*(\w+)\*", self.calls)

    @property
    def begins_connected(self) -> bool:
        """Whether a linked client that is connected stands at the beginning."""
        return not re.search(r"\*(pair|start|restart)\*", self.calls)

    @property
    def expected(self) -> list[list[str]]:
        """What may be seen, in order; where two things race there are two."""
        return [[] if events == "none" else events.split(" → ") for events in self.events.split(" or ")]

    @property
    def at_least(self) -> float:
        """Before when the last event must not come."""
        return float(self.seconds.partition("–")[0] or 0)

    @property
    def patience(self) -> float:
        """Until when to look for the events."""
        return float(self.seconds.partition("–")[2] or 0) + PROMPT

    @property
    def runs_alone(self) -> bool:
        """Whether it concerns everyone, keeps everyone waiting, starts a client in mid-test, or ends the process."""
        concerns_all = re.search(r"whatsapp\.(?!phone)|\.flood\(", self.calls) is not None
        return concerns_all or not self.begins_connected or "dies" in self.events


def read_table() -> list[Row]:
    """Return the rows under the heading of `COLUMNS`; one with more or fewer cells is a TypeError."""
    lines = iter(TABLE.read_text("utf-8").splitlines())
    while _cells(next(lines)) != list(COLUMNS):
        pass
    next(lines)
    return [Row(*_cells(line)) for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


ROWS = read_table()


@dataclass
class Observation:
    """What plain neonize showed, in the words of the document."""

    events: list[str] = field(default_factory=list)
    seconds: float = 0.0
    link: str = ""
    device: str = ""
    send: str = "–"
    send_seconds: float = 0.0


def summarised(events: list[str]) -> list[str]:
    """Write what comes several times in a row once, with the number of times."""
    groups = [(name, len(list(group))) for name, group in itertools.groupby(events)]
    return [name if count == 1 else f"{name} ×{count}" for name, count in groups]


def matches(expected: list[str], seen: list[str]) -> bool:
    """Compare events; `Name…` stands for one or more, and an error's text for any that contains it."""
    return len(expected) == len(seen) and all(map(_matches, expected, seen))


def _matches(expected: str, seen: str) -> bool:
    if expected.endswith("…"):
        return re.sub(r" ×\d+$", "", seen) == expected.removesuffix("…")
    name, _, text = expected.partition(": ")
    return seen == expected or (bool(text) and seen.startswith(f"{name}: ") and text in seen)


class Session:
    """One client in a process of several, and the world as its row sees it."""

    def __init__(self, row: Row, number: int, whatsapp: WhatsAppServer, folder: Path) -> None:
        self.row = row
        self.name = f"row{number}"
        self.whatsapp = whatsapp
        self.phone = whatsapp.phone(f"7968648{number:04}")
        self.ann = whatsapp.contact(f"7900123{number:04}")
        self.database = folder / f"{self.name}.db"
        self.client: Any = None
        self.seen: list[str] = []
        self.qr: str | None = None
        self._read = 0

    def attach(self, client: Any) -> None:
        """Let the session live in this process from now on."""
        self.client, self.qr, self._read = client, None, 0
        self.seen.clear()

    def pull(self) -> list[str]:
        """Take over this session's new events, and return all that were seen since the last clearing."""
        while self._read < len(self.client.events):
            event = self.client.events[self._read]
            self._read += 1
            if event.get("session", self.name) != self.name:
                continue
            if event["event"] == "QR":
                self.qr = event["text"]
            elif "error" in event:
                self.seen.append(f"{event['event']}: {event['error']}")
            else:
                self.seen.append(event["event"])
        return self.seen

    async def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Tell whether a condition on what was seen came to hold in time."""

        def holds() -> bool:
            self.pull()
            return condition()

        with suppress(TimeoutError):
            await self.client.wait(holds, timeout, "")
        return holds()

    async def start(self) -> None:
        await self.client.call("start", self.name, str(self.database))

    async def pair(self) -> None:
        """Show a code and have it scanned; the device may refuse."""
        await self.start()
        assert await self.wait(lambda: self.qr is not None, 20), f"{self.row.fault}: no code"
        self.seen.clear()
        with suppress(PairingError):
            await self.phone.scan(self.qr)

    async def send(self, timeout: float) -> tuple[str, float]:
        """Send a message, and return what became of it and the seconds that took."""
        text, started = f"from {self.name}, number {len(self.ann.received)}", anyio.current_time()
        try:
            await self.client.call("send", self.name, self.ann.number, text, timeout=timeout)
        except TimeoutError:
            outcome = "waits"
        except RuntimeError as error:
            outcome = f"`{str(error).partition(': ')[2].strip()}`"
        else:
            outcome = "arrives" if [message.text for message in self.ann.received].count(text) == 1 else "is lost"
        return outcome, anyio.current_time() - started

    async def make_ready(self) -> None:
        """Link the device, and let its phone hand over the keys of the app state, which is a message."""
        await self.pair()
        ready = {"Connected", "Message"}
        assert await self.wait(lambda: ready <= set(self.seen), 20), f"{self.row.fault}: {self.seen}"

    async def call(self, code: str) -> None:
        names = {"whatsapp": self.whatsapp, "phone": self.phone, "ann": self.ann}
        value = eval(code, {"__builtins__": {}}, names)  # noqa: S307 - the project's own document
        if inspect.isawaitable(value):
            await value

    async def settle(self) -> None:
        """Wait for what a row says of the link and the device, and no event tells: they go after the event."""
        with anyio.move_on_after(PROMPT):
            while not self.is_settled():  # noqa: ASYNC110
                await anyio.sleep(0.05)

    def is_settled(self) -> bool:
        """Look at the server's connections, of which one that is turned away is nobody's, and into the database."""
        clients = [connection.client for connection in self.whatsapp._connections]
        is_held = any(client.startswith(("unlinked", self.phone.number)) for client in clients)
        return not (self.row.link == "down" and is_held) and not (self.row.device == "gone" and self.is_paired())

    def is_paired(self) -> bool:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
            return bool(database.execute("select count(*) from whatsmeow_device").fetchone()[0])


async def reproduce(session: Session) -> Observation:
    """Do what a row says, and look until as much has happened as it says, and then a moment longer."""
    row, found = session.row, Observation()
    session.pull()
    session.seen.clear()
    done = anyio.Event()

    async def send() -> None:
        found.send, found.send_seconds = await session.send(PROMPT if row.send == "waits" else LONGEST)
        done.set()

    async with anyio.create_task_group() as tasks:
        begun = anyio.current_time()
        for code, act in row.steps:
            if code:
                begun = anyio.current_time()
                await session.call(code)
            elif act == "send":
                tasks.start_soon(send)
                if (code, act) != row.steps[-1]:
                    await session.ann.next_message(PROMPT)
            elif act in ("start", "restart"):
                await session.start()
            elif act == "pair":
                await session.pair()
        if await session.wait(lambda: matches(row.expected[0], summarised(session.seen)), row.patience):
            found.seconds = anyio.current_time() - begun
        await session.settle()
        if ("", "send") not in row.steps and row.send != "–":
            await anyio.sleep(QUIET)
            tasks.start_soon(send)
        if row.send != "–":
            await done.wait()
        await anyio.sleep(QUIET)
    found.events = summarised(session.pull())
    found.link = "up" if session.phone.connected else "down"
    found.device = "kept" if session.is_paired() else "gone"
    return found


@contextmanager
def noting(row: Row, found: dict[str, Observation]) -> Iterator[None]:
    """Let an error in one row fail that row, and no other."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the row's own test shows it
        found[row.fault] = Observation(["".join(format_exception(error))])


async def in_shared_process(rows: list[Row], spawn: Spawn, folder: Path, found: dict[str, Observation]) -> None:
    """Link a client for each row, one after the other, and then let all faults happen at once.

    Those that take the longest to show are linked last: a keepalive comes so and so long after the connection.
    """
    async with WhatsAppServer() as whatsapp, spawn(whatsapp.environment) as client:
        sessions = []
        for number, row in enumerate(sorted(rows, key=lambda row: row.at_least)):
            session = Session(row, number, whatsapp, folder)
            session.attach(client)
            with noting(row, found):
                await session.make_ready()
                sessions.append(session)

        async def observe(session: Session) -> None:
            with noting(session.row, found):
                found[session.row.fault] = await reproduce(session)

        async with anyio.create_task_group() as tasks:
            for session in sessions:
                tasks.start_soon(observe, session)


async def in_own_process(row: Row, number: int, spawn: Spawn, folder: Path) -> Observation:
    async with WhatsAppServer() as whatsapp:
        session = Session(row, 1000 + number, whatsapp, folder)
        if ("", "restart") in row.steps:
            async with spawn(whatsapp.environment) as client:
                session.attach(client)
                await session.make_ready()
        async with spawn(whatsapp.environment) as client:
            session.attach(client)
            if row.begins_connected:
                await session.make_ready()
            return await reproduce(session)


async def reproduce_all(rows: list[Row], spawn: Spawn, folder: Path) -> dict[str, Observation]:
    found: dict[str, Observation] = {}
    limiter = anyio.CapacityLimiter(PROCESSES_AT_ONCE)

    async def alone(number: int, row: Row) -> None:
        async with limiter:
            with noting(row, found):
                found[row.fault] = await in_own_process(row, number, spawn, folder)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_shared_process, [row for row in rows if not row.runs_alone], spawn, folder, found)
        for number, row in enumerate(rows):
            if row.runs_alone:
                tasks.start_soon(alone, number, row)
    return found


@pytest.fixture(scope="module")
def observations(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, spawn_sessions: Spawn
) -> dict[str, Observation]:
    """Run the rows that were selected, all at once."""
    chosen = [
        item.callspec.params["row"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec")
    ]
    return anyio.run(reproduce_all, chosen, spawn_sessions, tmp_path_factory.mktemp("devices"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_neonize_shows_what_the_document_says(row: Row, observations: dict[str, Observation]) -> None:
    found = observations[row.fault]
    assert any(matches(expected, found.events) for expected in row.expected), found
    assert found.seconds >= row.at_least, found
    outcome, _, seconds = row.send.partition(" after ")
    assert outcome.strip("`") in found.send, found
    at_best = float(seconds.removesuffix(" s") or 0)
    assert at_best - 1 <= found.send_seconds <= at_best + PROMPT, found
    assert (found.link, found.device) == (row.link, row.device), found


def test_the_document_has_the_rows_of_every_call() -> None:
    """A fault that nobody has looked at is in no table."""
    calls = {name for name, value in vars(FaultCalls).items() if inspect.isfunction(value) and name[0] != "_"}
    named = {call for row in ROWS for call in re.findall(r"\.(\w+)\(", row.calls)}
    assert calls - {"speak", "end_faults"} <= named
    assert len({row.fault for row in ROWS}) == len(ROWS)
