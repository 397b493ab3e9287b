"""``disconnect``, ``logout`` and ``delete``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool import SessionKey
from wasessionpool.cli.records import find
from wasessionpool.operations import LogOut
from wasessionpool.testing.driver import FakeDriver

KEY = SessionKey("962302")
ENDINGS = ["disconnect", "logout", "delete"]


def test_disconnect_keeps_the_keys_and_starts_nothing(command: Any, sessions: Path, drivers: list[FakeDriver]) -> None:
    done = command("disconnect", "962302", "--session-path", str(sessions))
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "962302 stays down until it is asked for again; its keys are kept\n",
        "",
    )
    record = anyio.run(find, KEY, sessions)
    assert (record.desired, record.linked) == ("stopped", True)
    assert drivers[-1].links == []


def test_logout_tells_whatsapp_and_stays_known(command: Any, sessions: Path, drivers: list[FakeDriver]) -> None:
    done = command("logout", "962302", "--session-path", str(sessions))
    assert (done.returncode, done.stdout) == (0, "962302 was linked to +79686484488; its keys are erased\n")
    assert drivers[-1].link.operations == [LogOut()]
    record = anyio.run(find, KEY, sessions)
    assert (record.linked, record.status) == (False, "logged_out")


def test_delete_leaves_nothing(command: Any, sessions: Path, drivers: list[FakeDriver]) -> None:
    done = command("delete", "962302", "--session-path", str(sessions), "--json")
    assert (done.returncode, json.loads(done.stdout)) == (
        0,
        {"company_id": "962302", "device": "main", "done": "delete", "was_linked": True},
    )
    assert drivers[-1].link.operations == [LogOut()]
    assert sorted(path.name for path in sessions.iterdir()) == [".pool", "962303"]
    done = command("delete", "962303", "--device", "sales", "--session-path", str(sessions))
    assert done.stdout == "962303:sales was not linked to a phone; nothing of it is left\n"
    assert sorted(path.name for path in sessions.iterdir()) == [".pool"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_session_that_another_process_runs_is_left_to_it(
    command: Any, sessions: Path, held: int, ending: str
) -> None:
    done = command(ending, "962302", "--session-path", str(sessions))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"wasessionpool: session 962302 is run by process {held} on ")
    assert done.stderr.endswith(": go through it with --url, where it is a service, or stop it first\n")
    assert anyio.run(find, KEY, sessions).linked


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_unknown_session_is_an_error_and_creates_nothing(command: Any, tmp_path: Path, ending: str) -> None:
    done = command(ending, "962302", "--session-path", str(tmp_path / "sessions"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no session 962302" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_bad_id_is_wrong_usage(process: Any, ending: str) -> None:
    done = process(ending, "../x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not 1–64" in done.stderr
    assert done.stderr.count("\n") == 1
