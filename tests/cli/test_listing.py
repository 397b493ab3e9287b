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
    assert f"\nstatus           connected, held by process {held} on " in done.stdout
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
    for name in ("status", "explain", "logs"):
        command(name, "962302", "--session-path", str(sessions))
    command("doctor", "--session-path", str(sessions))
    command("prune", "--older-than", "0", "--session-path", str(sessions))
    assert {path: path.stat().st_mtime_ns for path in sessions.rglob("*")} == before

    missing = tmp_path / "missing"
    assert listed(command, missing) == {}
    done = command("sessions", "--session-path", str(missing))
    assert (done.returncode, done.stdout) == (0, f"there is no session path {missing}\n")
    done = command("status", "962302", "--session-path", str(missing))
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    assert not missing.exists()


def test_a_damaged_record_is_named_and_its_session_known(command: Any, process: Any, sessions: Path) -> None:
    (sessions / "962302" / "auth_info" / "device.db").write_bytes(b"keys")
    (sessions / "962302" / "session.json").write_text("{")
    done = command("status", "962302", "--session-path", str(sessions))
    assert done.returncode == 0
    assert "stopped (its session.json was damaged)\nlinked           yes\n" in done.stdout
    done = process("sessions", "--session-path", str(sessions), "--json")
    assert done.returncode == 0
    assert [(record["company_id"], record["linked"]) for record in json.loads(done.stdout)] == [
        ("962302", True),
        ("962303", False),
    ]
    assert done.stderr.count("\n") == 1
    assert "warning: session 962302: " in done.stderr
    assert (sessions / "962302" / "session.json").read_text() == "{"


def explained(command: Any, path: Path, *arguments: str) -> str:
    done = command("explain", *arguments, "--session-path", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def edit(path: Path, **fields: Any) -> None:
    page = json.loads(path.read_text())
    path.write_text(json.dumps({**page, "record": {**page["record"], **fields}}))


def test_a_session_that_nobody_runs_is_explained(command: Any, sessions: Path) -> None:
    assert explained(command, sessions, "962302") == (
        "Session 962302 is disconnected. The pool that ran it was closed. The next pool that opens the session path "
        "starts it, unless it was told to stay down. Nobody runs it now.\n"
    )
    text = explained(command, sessions, "962303", "--device", "sales")
    assert text.startswith("Session 962303:sales is disconnected. ")
    assert text.endswith(f"wasessionpool pair 962303 --device sales --session-path {sessions}\n")


def test_a_status_of_a_killed_pool_is_not_explained_as_if_it_held(command: Any, sessions: Path) -> None:
    edit(sessions / "962302" / "session.json", status="reconnecting", disconnect_reason="network")
    assert "The next pool that opens the session path starts it" in explained(command, sessions, "962302")
    edit(sessions / "962302" / "session.json", status="failed", disconnect_reason="replaced", desired="stopped")
    assert "find the other client first" in explained(command, sessions, "962302")
    edit(sessions / "962302" / "session.json", restricted_until="2099-01-01T00:00:00Z")
    assert "by itself in " in explained(command, sessions, "962302")


def test_a_session_that_a_process_runs_is_explained_with_it(command: Any, sessions: Path, held: int) -> None:
    text = explained(command, sessions, "962302")
    assert text.startswith("Session 962302 is connected. It is linked to +79686484488, and has been connected for ")
    assert f"It is run by process {held} on " in text
    record = json.loads(explained(command, sessions, "962302", "--json"))
    assert (record["company_id"], record["text"].split(". ")[0]) == ("962302", "Session 962302 is connected")


def test_logs_are_shown_newest_last(command: Any, sessions: Path) -> None:
    log = sessions / "962302" / "debug.log"
    lines = log.read_text().splitlines()
    assert len(lines) > 3
    log.with_name("debug.log.1").write_text("2026-01-01T00:00:00.000Z DEBUG older\n")
    with log.open("a") as file:
        file.write("Traceback\x1b[2J of something\n")
    shown = command("logs", "962302", "--session-path", str(sessions)).stdout.splitlines()
    assert shown == ["2026-01-01T00:00:00.000Z DEBUG older", *lines, "Traceback�[2J of something"]
    done = command("logs", "962302", "-n", "2", "--json", "--session-path", str(sessions))
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["level"], first["text"]) == ("DEBUG", lines[-1].split(" ", 2)[2])
    assert second == {"time": None, "level": None, "text": "Traceback\x1b[2J of something"}


def test_a_session_without_a_log_says_so(command: Any, sessions: Path) -> None:
    (sessions / "962302" / "debug.log").unlink()
    done = command("logs", "962302", "--session-path", str(sessions))
    assert (done.returncode, done.stdout) == (
        0,
        "session 962302 has no debug.log yet: it is written while a pool runs the session\n",
    )
    done = command("logs", "nobody", "--session-path", str(sessions))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no session nobody" in done.stderr
