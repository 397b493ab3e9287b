"""``sessions`` and ``status``, of what a real pool has left or holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def listed(command: Any, path: Path) -> dict[str, Any]:
    done = command("sessions", "--session-path", str(path), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return {f"{record['company_id']}:{record['device']}": record for record in json.loads(done.stdout)}


def test_sessions_that_nobody_runs_are_disconnected(command: Any, sessions: Path) -> None:
    found = listed(command, sessions)
    assert list(found) == ["962302:main", "962303:sales"]
    assert found["962302:main"]["phone_number"] == "+79686484488"
    assert [(record["status"], record["holder"], record["linked"]) for record in found.values()] == [
        ("disconnected", None, True),
        ("disconnected", None, False),
    ]


def test_a_proxy_and_its_password_are_never_shown(command: Any, sessions: Path) -> None:
    assert "secret" in (sessions / "962302" / "session.json").read_text()
    for arguments in (["sessions"], ["sessions", "--json"], ["status", "962302"], ["status", "962302", "--json"]):
        done = command(*arguments, "--session-path", str(sessions))
        assert done.returncode == 0
        assert "proxy" not in done.stdout
        assert "secret" not in done.stdout


def test_a_status_saved_by_a_pool_that_was_killed_is_not_believed(command: Any, sessions: Path) -> None:
    page = sessions / "962302" / "session.json"
    page.write_text(page.read_text().replace('"status": "disconnected"', '"status": "connected"'))
    assert '"status": "connected"' in page.read_text()
    assert listed(command, sessions)["962302:main"]["status"] == "disconnected"
    shown = command("status", "962302", "--session-path", str(sessions)).stdout
    assert "stopped" in shown
    assert "status           connected" not in shown


def test_a_session_that_a_process_runs_names_it(command: Any, sessions: Path, held: int) -> None:
    done = command("status", "962302", "--session-path", str(sessions))
    assert f"connected, held by process {held} on " in done.stdout
    record = listed(command, sessions)["962302:main"]
    assert (record["status"], record["holder"].split(" on ")[0]) == ("connected", f"process {held}")


def test_the_columns_in_a_pipe_are_plain(process: Any, sessions: Path) -> None:
    done = process("sessions", "--session-path", str(sessions), FORCE_COLOR="1")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["SESSION", "PHONE", "NUMBER", "LINKED", "STATUS"],
        ["962302", "+79686484488", "yes", "stopped"],
        ["962303:sales", "-", "no", "stopped"],
    ]


def test_a_device_is_named_apart(command: Any, sessions: Path) -> None:
    done = command("status", "962303", "--device", "sales", "--session-path", str(sessions))
    assert done.returncode == 0
    assert f"wasessionpool pair 962303 --device sales --session-path {sessions}" in done.stdout
    assert command("status", "962303", "--session-path", str(sessions)).returncode == 1


def test_the_session_path_comes_from_the_environment(command: Any, sessions: Path) -> None:
    done = command("status", "962303", "--device", "sales", WHATSAPP_SESSION_PATH=str(sessions))
    assert done.returncode == 0
    assert "wasessionpool pair 962303 --device sales\n" in done.stdout


def test_a_name_cannot_command_the_terminal(command: Any, sessions: Path) -> None:
    page = sessions / "962302" / "session.json"
    record = json.loads(page.read_text())
    record["record"]["push_name"] = "Ann\x1b]0;owned\x07\nstatus  connected"
    page.write_text(json.dumps(record))
    done = command("status", "962302", "--session-path", str(sessions))
    assert "\x1b" not in done.stdout
    assert "name             Ann�]0;owned� status connected\n" in done.stdout


def test_reading_creates_and_changes_nothing(command: Any, sessions: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sessions.rglob("*")}
    listed(command, sessions)
    command("status", "962302", "--session-path", str(sessions))
    assert {path: path.stat().st_mtime_ns for path in sessions.rglob("*")} == before

    missing = tmp_path / "missing"
    assert listed(command, missing) == {}
    done = command("sessions", "--session-path", str(missing))
    assert (done.returncode, done.stdout) == (0, f"there is no session path {missing}\n")
    done = command("status", "962302", "--session-path", str(missing))
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    assert not missing.exists()


def test_a_damaged_record_is_named(command: Any, process: Any, sessions: Path) -> None:
    (sessions / "962302" / "session.json").write_text("{")
    done = command("status", "962302", "--session-path", str(sessions))
    assert done.returncode == 1
    assert "session.json is damaged" in done.stderr
    done = process("sessions", "--session-path", str(sessions), "--json")
    assert done.returncode == 0
    assert [record["company_id"] for record in json.loads(done.stdout)] == ["962303"]
    assert done.stderr.count("\n") == 1
    assert "962302" in done.stderr
