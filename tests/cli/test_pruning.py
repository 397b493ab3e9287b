"""``prune``: first shows, then does; a linked session only where it is named."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def old(sessions: Path) -> Path:
    """A session path with a linked session, one never linked, one logged out, and files left over, all 40 days old."""
    main, sales = sessions / "962302", sessions / "962303" / "devices" / "sales"
    gone = sessions / "962304"
    gone.mkdir(0o700)
    page = json.loads((main / "session.json").read_text())
    page["record"].update(company_id="962304", linked=False, status="logged_out", disconnect_reason="logged_out")
    (gone / "session.json").write_text(json.dumps(page))
    for file in (main / "session.json.damaged", main / "inbox.damaged", main / ".session.json.x", main / "inbox"):
        file.touch(0o600)
    (sales / "inbox").touch(0o600)
    age(sessions, 40)
    return sessions


def age(path: Path, days: float) -> None:
    for file in path.rglob("*"):
        os.utime(file, (then := time.time() - days * 86400, then))


def found(command: Any, path: Path, *arguments: str, outcome: str = "would go") -> dict[str, Any]:
    done = command("prune", "--session-path", str(path), "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    records = list(map(json.loads, done.stdout.splitlines()))
    assert {record["outcome"] for record in records} <= {outcome}
    return {
        f"{record['company_id']}:{record['device']}": (record["because"], [Path(f).name for f in record["files"]])
        for record in records
    }


LEFT = [".session.json.x", "inbox.damaged", "session.json.damaged"]
EXPECTED = {
    "962302:main": ("left over", LEFT),
    "962303:sales": ("never linked", []),
    "962304:main": ("logged out", []),
}


def test_what_would_go_is_shown_and_stays(command: Any, old: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in old.rglob("*")}
    assert found(command, old) == EXPECTED
    done = command("prune", "--session-path", str(old))
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "SESSION",
        "962302",
        "962303:sales",
        "962304",
        "nothing",
    ]
    last = f"nothing was removed; to do it: wasessionpool prune --session-path {old} --older-than 30 --yes"
    assert done.stdout.splitlines()[-1] == last
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*")} == before


def test_with_yes_it_goes_and_linked_sessions_stay(command: Any, old: Path) -> None:
    kept = (old / "962302" / "session.json").read_text()
    assert found(command, old, "--yes", outcome="removed") == EXPECTED
    assert sorted(path.name for path in old.iterdir()) == [".pool", "962302"]
    assert (old / "962302" / "session.json").read_text() == kept
    assert (old / "962302" / "inbox").exists()
    assert not any((old / "962302" / name).exists() for name in LEFT)
    assert command("prune", "--yes", "--session-path", str(old)).stdout == "there is nothing to remove\n"


def test_what_is_younger_stays(command: Any, old: Path) -> None:
    assert found(command, old, "--older-than", "41") == {}
    age(old / "962304", 1)
    assert "962304:main" not in found(command, old)
    assert found(command, old, "--older-than", "0.5") == EXPECTED


def test_an_inbox_of_no_linked_device(command: Any, old: Path) -> None:
    os.utime(old / "962304" / "session.json")
    inbox = old / "962304" / "inbox"
    inbox.touch()
    assert "962304:main" not in found(command, old)
    age(inbox.parent, 40)
    os.utime(old / "962304" / "session.json")
    assert found(command, old)["962304:main"] == ("inbox of no linked device", ["inbox"])


def test_keys_are_believed_more_than_a_record(command: Any, old: Path) -> None:
    """A pool that was killed between the phone's confirmation and its note of it."""
    keys = old / "962303" / "devices" / "sales" / "auth_info"
    with closing(sqlite3.connect(keys / "device.db")) as database:
        database.execute("create table whatsmeow_device (jid text)")
        database.execute("insert into whatsmeow_device values ('79686484488:1@s.whatsapp.net')")
        database.commit()
    age(old, 40)
    assert "962303:sales" not in found(command, old)
    (keys / "device.db").write_text("not a database")
    age(old, 40)
    assert "962303:sales" not in found(command, old)


def test_a_linked_session_goes_only_where_it_is_named(command: Any, old: Path) -> None:
    because = "named; the phone +79686484488 goes on listing it"
    assert found(command, old, "962302") == {"962302:main": (because, [])}
    done = command("prune", "962302", "--session-path", str(old))
    assert done.stdout.endswith(f"to do it: wasessionpool prune 962302 --session-path {old} --yes\n")
    assert found(command, old, "962302", "--yes", outcome="removed") == {"962302:main": (because, [])}
    assert sorted(path.name for path in old.iterdir()) == [".pool", "962303", "962304"]
    assert found(command, old, "962303", "--device", "sales") == {"962303:sales": ("named", [])}


def test_what_the_shelf_has_of_a_session_goes_with_it(command: Any, old: Path) -> None:
    with closing(sqlite3.connect(old / ".pool" / "pool.db")) as shelf:
        shelf.execute("delete from shelf")
        entries = [
            (f"{kind}/{session}/1", b"{}", float("inf"))
            for kind in ("pace", "recipient", "send", "statistics")
            for session in ("962304/main", "962304/sales", "9623040/main")
        ]
        shelf.executemany("insert into shelf values (?, ?, ?)", entries)
        shelf.commit()
    assert found(command, old, "962304", "--yes", outcome="removed") == {"962304:main": ("named", [])}
    with closing(sqlite3.connect(old / ".pool" / "pool.db")) as shelf:
        left = {name for (name,) in shelf.execute("select key from shelf")}
    assert left == {name for name, _, _ in entries if not name.startswith(f"{name.split('/')[0]}/962304/main/")}


@pytest.mark.parametrize("arguments", [[], ["--yes"]])
def test_a_session_that_a_process_runs_stays(command: Any, sessions: Path, held: int, arguments: list[str]) -> None:
    done = command("prune", "962302", "--session-path", str(sessions), *arguments)
    assert done.returncode == 0
    assert f"kept: process {held} on " in done.stdout
    assert (sessions / "962302" / "session.json").exists()


def test_what_cannot_be_found(command: Any, sessions: Path, tmp_path: Path) -> None:
    for arguments, code, says in (
        (["nobody", "--session-path", str(sessions)], 1, "there is no session nobody"),
        (["--session-path", str(tmp_path / "nothing")], 1, "there is no session path"),
        (["--device", "sales", "--session-path", str(sessions)], 2, "name the company too"),
    ):
        done = command("prune", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
