"""What cannot work: one line on stderr, an exit code, and never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import wasessionpool
from wasessionpool.cli.ending import printable


def complaint(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line on stderr."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("wasessionpool: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status", "../x"], "company id '../x' is not 1–64 of"),
        (["pair", "."], "company id '.' is not"),
        (["pair", "962302\n"], r"company id '962302\n' is not"),
        (["send", "962302", "79001234567", "hi", "--device", "any"], "'any' is reserved"),
        (["send", "962302", "79001234567", ""], "the message is empty"),
        (["send", "962302", "79001234567", " \n"], "the message is empty"),
        (["send", "962302", "79001234567", "-"], "the message is empty"),
        (["send", "962302", "12", "hi"], "not an international phone number: '12'"),
        (["send", "962302", "ann@example.com", "hi"], "not a JID"),
    ],
)
def test_a_bad_argument_is_wrong_usage(command: Any, tmp_path: Path, arguments: list[str], says: str) -> None:
    assert says in complaint(command(*arguments), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"WHATSAPP_PROVIDER": "baileys"}, "link each phone anew"),
        ({"WHATSAPP_MAX_SESSIONS": "many"}, "WHATSAPP_MAX_SESSIONS"),
        ({"WHATSAPP_SEND_TIMEOUT": "soon"}, "WHATSAPP_SEND_TIMEOUT='soon'"),
    ],
)
@pytest.mark.parametrize("name", ["sessions", "doctor"])
def test_a_bad_setting_in_the_environment_is_wrong_usage(
    command: Any, variables: dict[str, str], says: str, name: str
) -> None:
    assert says in complaint(command(name, **variables), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["sessions", "--bogus"],
        ["send", "962302"],
        ["pair"],
        ["sessions", "--session-path", ""],
        ["demo", "--session-path", " "],
    ],
)
def test_an_unknown_word_is_wrong_usage(process: Any, arguments: list[str]) -> None:
    done = process(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["sessions"], ["status", "962302"], ["send", "962302", "79001234567", "hi"]])
def test_a_file_in_place_of_the_session_path(command: Any, tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    says = complaint(command(*arguments, "--session-path", str(file)), 1)
    assert f"{file} is not a directory" in says


def test_pairing_onto_a_file(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in complaint(command("pair", "962302", "--session-path", str(file)), 1)


def test_a_path_that_is_open_to_all_names_what_mends_it(command: Any, sessions: Path) -> None:
    sessions.chmod(0o755)
    says = complaint(command("pair", "962302", "--session-path", str(sessions)), 1)
    assert f"chmod 700 {sessions}" in says


def test_an_unknown_session_cannot_send_and_is_not_created(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    says = complaint(command("send", "962302", "79001234567", "hi", "--session-path", str(path)), 1)
    assert f"wasessionpool pair 962302 --session-path {path}" in says
    assert not path.exists()


def test_an_unlinked_session_cannot_send(command: Any, sessions: Path) -> None:
    arguments = ["send", "962303", "79001234567", "hi", "--device", "sales", "--session-path", str(sessions)]
    assert f"pair 962303 --device sales --session-path {sessions}" in complaint(command(*arguments), 1)


@pytest.mark.parametrize("arguments", [["send", "962302", "79001234567", "hi"], ["pair", "962302"]])
def test_a_session_that_another_process_holds(command: Any, sessions: Path, held: int, arguments: list[str]) -> None:
    says = complaint(command(*arguments, "--session-path", str(sessions)), 1)
    assert f"session 962302 is run by process {held} on " in says


def test_a_full_device_is_said(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "wasessionpool", "sessions"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "wasessionpool: No space left on device\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_command_runs_is_said(tmp_path: Path, number: signal.Signals) -> None:
    script = (
        "import os, sys; sys.argv[1:] = ['send', '962302', '79001234567', '-']\n"
        "from types import SimpleNamespace as Stream\n"
        f"sys.stdin = Stream(buffer=Stream(read=lambda: os.kill(os.getpid(), {number:d})))\n"
        "from wasessionpool.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False
    )
    assert complaint(done, 128 + number) == "wasessionpool: interrupted\n"


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_standard_stream_may_be_closed(sessions: Path, descriptor: int) -> None:
    def status(path: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wasessionpool", "status", "962302", "--session-path", path]
        without = ["/bin/sh", "-c", f'"$@" {descriptor}>&-', "sh"]
        return subprocess.run([*without, *command], capture_output=True, text=True, timeout=30, check=False)

    done = status(str(sessions))
    assert (done.returncode, done.stderr, "+79686484488" in done.stdout) == (0, "", descriptor != 1)
    done = status("/nonexistent")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", int(descriptor != 2))


def test_a_process_ends_with_the_same_line_and_code(process: Any, tmp_path: Path) -> None:
    assert "there is no session 962302 in the session path" in complaint(process("status", "962302"), 1)
    assert "is not 1–64" in complaint(process("status", "../x"), 2)
    done = process("sessions")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"there is no session path {tmp_path}/whatsapp_sessions\n",
        "",
    )


@pytest.mark.parametrize("missing", ["typer", "rich", "httpx"])
def test_without_the_extra_the_install_command_is_named(tmp_path: Path, missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from wasessionpool.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False
    )
    assert f"{missing} not found: pip install 'wasessionpool[cli]'" in complaint(done, 1)


def test_without_the_server_the_demonstration_names_its_extra(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['trustme'] = None; sys.argv[1:] = ['demo']; from wasessionpool.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False
    )
    assert "trustme is not installed: pip install 'wasessionpool[cli,testing]'" in complaint(done, 1)


def test_help_loads_neither_driver_nor_server(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from wasessionpool.cli import main\n"
        "try: main()\n"
        "finally: print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    for name in ("demo", "pair", "send", "status", "sessions", "doctor"):
        assert f"\n  {name} " in done.stdout
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert loaded.isdisjoint(
        {"neonize", "rich", "cryptography", "qrcode", "wasessionpool.testing", "wasessionpool.drivers.neonize"}
    )


def test_the_versions_are_told(process: Any) -> None:
    done = process("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wasessionpool {wasessionpool.__version__}, neonize {version('neonize')}\n"


def test_one_line_is_one_line() -> None:
    assert printable(" a\nb\x1b[2J\t\u202ec ") == "a b�[2J �c"
