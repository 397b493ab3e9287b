"""The log of a service, in this process."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasessionpool.cli import service_log
from wasessionpool.cli.service_log import JsonLines, LogFile, ServiceLog, TextLines
from wasessionpool.http.request_log import ACCESS

LIBRARY = logging.getLogger("wasessionpool.somewhere")


@pytest.fixture(autouse=True)
def last_lines_are_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_log, "PATIENCE", 30.0)


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root, library = logging.getLogger(), logging.getLogger("wasessionpool")
    handlers, levels = root.handlers[:], (root.level, library.level)
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    library.setLevel(levels[1])


def log_in(directory: Path, *, as_json: bool = False) -> ServiceLog:
    return ServiceLog(
        access=LogFile(directory / "access", otherwise=1),
        error=LogFile(directory / "error", otherwise=2),
        as_json=as_json,
    )


def test_requests_and_the_rest_go_apart(tmp_path: Path) -> None:
    with log_in(tmp_path):
        logging.getLogger(ACCESS).info("a request")
        LIBRARY.info("Reconnecting session %s", "962302")
        LIBRARY.debug("not told")
        logging.getLogger("uvicorn.error").info("not told")
        logging.getLogger("uvicorn.error").warning("a warning")
    assert [line.split(": ", 1)[1] for line in (tmp_path / "access").read_text().splitlines()] == ["a request"]
    said = (tmp_path / "error").read_text().splitlines()
    assert [line.split(": ", 1)[1] for line in said] == ["Reconnecting session 962302", "a warning"]
    assert said[0].split()[1:3] == ["INFO", "wasessionpool.somewhere:"]


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_that_is_logged_begins_a_line_or_commands_a_terminal(tmp_path: Path, as_json: bool) -> None:
    with log_in(tmp_path, as_json=as_json):
        LIBRARY.warning("a\nb \x1b[2J %s", "2026 ERROR forged\r\n")
    [line] = (tmp_path / "error").read_text().splitlines()
    assert "\x1b" not in line
    if as_json:
        assert json.loads(line)["message"].startswith("a\nb ")


def test_a_defect_has_its_traceback() -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        record = LIBRARY.makeRecord("x", logging.ERROR, "", 0, "failed", (), (type(error), error, error.__traceback__))
    assert json.loads(JsonLines().format(record))["traceback"].endswith("ZeroDivisionError")
    assert TextLines().format(record).splitlines()[-1] == "ZeroDivisionError"


def test_a_line_that_cannot_be_formatted_ends_nothing(tmp_path: Path) -> None:
    with log_in(tmp_path):
        LIBRARY.warning("%d", "no number")
        LIBRARY.warning("the next")
    first, second = (tmp_path / "error").read_text().splitlines()
    assert first == "a line of wasessionpool.somewhere cannot be written: TypeError"
    assert second.endswith("the next")


def test_lines_that_nobody_takes_are_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_log, "WAITING", 3)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    log = ServiceLog(
        access=LogFile(None, otherwise=writing), error=LogFile(tmp_path / "error", otherwise=2), as_json=False
    )
    with log:
        for _ in range(10):
            logging.getLogger(ACCESS).info("a request")
        reader = threading.Thread(target=drain, args=(reading,))
        reader.start()
    os.close(writing)
    reader.join()
    os.close(reading)
    dropped = [
        line for line in (tmp_path / "error").read_text().splitlines() if "lines of this log were dropped" in line
    ]
    assert sum(int(line.split(": ")[1].split()[0]) for line in dropped) in (6, 7)


def drain(descriptor: int) -> None:
    while os.read(descriptor, 65536):
        pass


def test_a_file_that_cannot_be_reopened_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    with log_in(directory) as log:
        LIBRARY.warning("before")
        moved = directory.rename(tmp_path / "moved")
        log.reopen()
        LIBRARY.warning("after")
    said = (moved / "error").read_text()
    assert said.count("a log goes on in its old file: ") == 2
    assert said.splitlines()[-1].endswith("after")
    assert moved.joinpath("access").stat().st_mode & 0o777 == 0o600
