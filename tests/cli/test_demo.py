"""``demo`` for real: neonize in its workers, on a WhatsApp on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool.cli.ending import CommandFailed
from wasessionpool.cli.output import Output
from wasessionpool.cli.steps import Steps, check

STEPS = 9


@pytest.mark.timeout(120)
def test_every_step_is_seen(command: Any, tmp_path: Path, process: Any) -> None:
    done = process("demo", "--session-path", str(tmp_path / "kept"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(".")[0] for line in lines if line[:1].isdecimal()] == [str(n + 1) for n in range(STEPS)]
    assert sum(line.startswith("   ✓ ") for line in lines) == STEPS
    assert "█" * 50 in done.stdout
    assert "     962302 disconnected: worker_crashed" in lines
    assert "     Ann got, from +79686484488: Hello Ann, this is company 962302" in lines
    assert lines[-1].startswith("All 9 steps were seen, in ")
    assert "\x1b" not in done.stdout
    assert "<" not in done.stdout

    listed = command("sessions", "--session-path", str(tmp_path / "kept"), "--json")
    assert [record["linked"] for record in json.loads(listed.stdout)] == [True, True]


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_a_signal_ends_its_workers(start_command: Any, tmp_path: Path) -> None:
    async with start_command("demo", "--session-path", str(tmp_path / "kept")) as demo:
        await demo.next(step=5)
        workers = children(demo.process.pid)
        assert workers
        demo.process.send_signal(signal.SIGTERM)
        assert (await demo.end(), demo.stderr) == (143, "wasessionpool: interrupted\n")
        assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.timeout(120)
def test_a_step_that_is_not_seen_fails(tmp_path: Path) -> None:
    """A contact that gets another text than was sent: the demonstration must notice."""
    script = """
import dataclasses, sys
from wasessionpool.testing import Contact
from wasessionpool.cli import main
received = Contact.next_message
async def changed(self, timeout=10.0):
    return dataclasses.replace(await received(self, timeout), text="something else")
Contact.next_message = changed
sys.argv[1:] = ["demo", "--json"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    records = list(map(json.loads, done.stdout.splitlines()))
    assert [record["ok"] for record in records] == [True, True, False, False]
    assert records[2]["error"] == "Ann got something else"
    assert records[3] == {"done": True, "ok": False, "steps": 3, "seconds": records[3]["seconds"]}
    assert done.stderr == (
        "wasessionpool: step 3 failed (Each company writes to its customer): Ann got something else\n"
    )


def test_a_directory_in_use_is_not_touched(command: Any, sessions: Path) -> None:
    before = sorted(sessions.rglob("*"))
    done = command("demo", "--session-path", str(sessions))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not an empty directory" in done.stderr
    assert sorted(sessions.rglob("*")) == before


@pytest.mark.anyio
async def test_a_step_has_a_deadline(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(Output(as_json=False))
    with pytest.raises(CommandFailed, match=r"step 1 failed \(Wait\): not within 0.01 s"):
        async with steps.step("Wait", limit=0.01):
            await anyio.sleep_forever()
    assert capsys.readouterr().out == "1. Wait\n   ✗ not within 0.01 s\n"


@pytest.mark.anyio
async def test_a_failure_in_a_task_of_a_step_is_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> None:
        check(False, otherwise="nobody came")

    steps = Steps(Output(as_json=True))
    with pytest.raises(CommandFailed, match="nobody came"):
        async with steps.step("Meet", limit=5), anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["error"] == "nobody came"


def children(pid: int) -> list[int]:
    listed: list[str] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        # A thread may end before its file is read.
        with suppress(FileNotFoundError, ProcessLookupError):
            listed.append(path.read_text())
    return [int(child) for child in " ".join(listed).split() if int(child) != os.getpid()]
