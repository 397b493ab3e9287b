"""``doctor``."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from wasessionpool.cli import doctor
from wasessionpool.shelves.directory import DirectoryShelf


def findings(command: Any, *arguments: str, code: int, **env: str) -> dict[str, dict[str, str]]:
    done = command("doctor", "--json", *arguments, **env)
    assert done.returncode == code, done.stderr
    return {finding["check"]: finding for finding in map(json.loads, done.stdout.splitlines())}


def test_this_machine_is_fit(command: Any, sessions: Path) -> None:
    (sessions / "962302" / "auth_info" / "device.db").touch(0o600)
    found = findings(command, "--session-path", str(sessions), code=0)
    assert found["worker"] == {"check": "worker", "outcome": "ok", "detail": "a worker process can load neonize"}
    assert {name for name, finding in found.items() if finding["outcome"] != "ok"} <= {"ffmpeg"}
    assert found["sessions"]["detail"] == "2 known"
    assert "cli" in found["extras"]["detail"]
    lines = command("doctor", "--session-path", str(sessions)).stdout.splitlines()
    assert len(lines) == len(found)
    assert "ok    worker          a worker process can load neonize" in lines


def test_what_fails_is_listed_and_ends_with_one_line(command: Any, sessions: Path) -> None:
    sessions.chmod(0o755)
    done = command("doctor", "--session-path", str(sessions))
    assert (done.returncode, done.stderr) == (1, "wasessionpool: failed: session path, sessions\n")
    assert f"chmod 700 {sessions}" in done.stdout
    assert f"keys are gone: wasessionpool pair 962302 --session-path {sessions}" in done.stdout


def test_a_holder_is_named(command: Any, sessions: Path, held: int) -> None:
    (sessions / "962302" / "auth_info" / "device.db").touch(0o600)
    found = findings(command, "--session-path", str(sessions), code=0)
    assert f"962302 is held by process {held} on " in found["sessions"]["detail"]


def test_damaged_keys_are_named_with_what_to_do(command: Any, sessions: Path) -> None:
    keys = sessions / "962302" / "auth_info" / "device.db"
    keys.write_bytes(bytes(range(256)) * 16)
    keys.chmod(0o600)
    found = findings(command, "--session-path", str(sessions), code=1)["sessions"]
    assert found["outcome"] == "fail"
    says = f"962302: {keys} is damaged: file is not a database; look at the disk, then: wasessionpool logout 962302 "
    assert found["detail"].startswith(says)
    assert found["detail"].endswith(f"wasessionpool pair 962302 --session-path {sessions}")
    assert sorted(file.name for file in keys.parent.iterdir()) == ["device.db"]


def test_what_is_damaged_open_or_left_over_is_named_with_what_to_do(command: Any, sessions: Path) -> None:
    (sessions / "962302" / "auth_info" / "device.db").write_text("not a database")
    (sessions / "962302" / "session.json").write_text("{")
    (sessions / "962303" / "devices" / "sales" / ".session.json.x").touch(0o600)
    found = findings(command, "--session-path", str(sessions), code=1)
    assert found["records"]["outcome"] == "fail"
    assert "962302: " in found["records"]["detail"]
    assert "is damaged; what it said is lost (metadata, proxy)" in found["records"]["detail"]
    assert found["permissions"] == {
        "check": "permissions",
        "outcome": "warn",
        "detail": f"{sessions}/962302/auth_info/device.db can be read by others: chmod -R go-rwx {sessions}",
    }
    assert found["left over"]["detail"].startswith("962303:sales (never linked); to see what is old enough to go: ")
    assert found["left over"]["detail"].endswith(f"wasessionpool prune --session-path {sessions}")


@pytest.mark.parametrize("damaged", [False, True])
def test_the_shelf_is_read_and_left_as_it_is(tmp_path: Path, damaged: bool) -> None:
    kept = DirectoryShelf(tmp_path / "a?b#c")
    assert doctor.shelf(kept.path.parents[1]) == doctor.Finding("shelf", "ok", "nothing kept yet")
    assert not kept.path.parent.exists()

    async def keep() -> None:
        async with kept:
            await kept.put("key", b"value")

    anyio.run(keep)
    assert doctor.shelf(kept.path.parents[1]) == doctor.Finding("shelf", "ok", "readable")
    if damaged:
        kept.path.write_bytes(b"x" * 8192)
        finding = doctor.shelf(kept.path.parents[1])
        assert (finding.check, finding.outcome) == ("shelf", "fail")
        assert f"{kept.path} is damaged: file is not a database; all API keys that were made, " in finding.detail
        assert kept.path.read_bytes() == b"x" * 8192
        anyio.run(keep)
        finding = doctor.shelf(kept.path.parents[1])
        assert (finding.outcome, "pool.db.damaged was put aside" in finding.detail) == ("warn", True)


def test_prune_leaves_the_shelf_alone(command: Any, sessions: Path) -> None:
    shelf = DirectoryShelf(sessions)

    async def keep() -> None:
        async with shelf:
            await shelf.put("key", b"value")

    anyio.run(keep)
    assert command("prune", "--session-path", str(sessions), "--older-than", "0", "--yes").returncode == 0
    assert doctor.shelf(sessions).detail == "readable"
    anyio.run(keep)


def test_a_missing_path_is_fine_and_stays_missing(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "below" / "sessions"
    assert "does not exist yet" in findings(command, "--session-path", str(path), code=0)["session path"]["detail"]
    assert list(tmp_path.iterdir()) == []


def test_a_path_below_a_file_fails(command: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = findings(command, "--session-path", str(tmp_path / "file" / "sessions"), code=1)
    assert "cannot be created" in found["session path"]["detail"]


def test_a_group_that_can_read_is_a_warning(sessions: Path) -> None:
    sessions.chmod(0o750)
    finding = doctor.directory(sessions)
    assert (finding.outcome, "chmod 700" in finding.detail) == ("warn", True)


def test_no_ffmpeg_is_a_warning(command: Any, tmp_path: Path) -> None:
    found = findings(command, PATH=str(tmp_path), code=0)
    assert found["ffmpeg"]["outcome"] == "warn"


@pytest.mark.parametrize(
    ("name", "machine", "libc", "mac", "outcome", "says"),
    [
        ("Linux", "x86_64", "glibc2.36", "", "ok", "glibc2.36"),
        ("Linux", "aarch64", "glibc2.17", "", "ok", "aarch64"),
        ("Darwin", "arm64", "", "12.0.1", "ok", "12.0.1"),
        ("Linux", "x86_64", "", "", "fail", "Alpine is not supported"),
        ("Linux", "armv7l", "glibc2.36", "", "fail", "x86-64 and arm64 only"),
        ("Darwin", "x86_64", "", "11.7", "fail", "macOS 12 or later"),
        ("Windows", "AMD64", "", "", "fail", "Windows AMD64 is not supported"),
    ],
)
def test_platforms(name: str, machine: str, libc: str, mac: str, outcome: str, says: str) -> None:
    finding = doctor.system(name, machine, libc=libc, mac=mac)
    assert finding.outcome == outcome
    assert says in finding.detail


def test_an_old_python_fails() -> None:
    assert doctor.python((3, 10, 14)).outcome == "fail"


@pytest.mark.parametrize(
    ("version", "outcome"), [("0.5.2", "ok"), ("0.5.2.post1", "ok"), ("0.6.0", "fail"), ("0.5.1", "fail")]
)
def test_versions_of_neonize(monkeypatch: pytest.MonkeyPatch, version: str, outcome: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    finding = doctor.neonize()
    assert finding.outcome == outcome
    assert (outcome == "ok") != ("pip install 'neonize>=0.5.2,<0.6'" in finding.detail)


def test_a_worker_that_cannot_load_neonize_says_why(command: Any, tmp_path: Path) -> None:
    (tmp_path / "neonize").mkdir()
    (tmp_path / "neonize" / "__init__.py").touch()
    found = findings(command, code=1, PYTHONPATH=str(tmp_path))
    assert found["worker"]["outcome"] == "fail"
    assert "neonize" in found["worker"]["detail"]
