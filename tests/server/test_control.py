"""The server as a process of its own, told what to do over HTTP, as an application in any language would."""

from __future__ import annotations

import base64
import inspect
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from anyio import to_thread

from wasessionpool.testing import Contact, Phone, WhatsAppServer
from wasessionpool.testing.whatsapp.group import Group

from .conftest import RAW_CLIENT, start_raw_client

JSON_OR_KNOWN = re.compile(
    r"Any|str|int|float|bool|bytes|ReceivedMessage|Sequence\[str\]|MediaKind|Literal\[[^]]*\]"
    r"|(str|int|float) \| (str|int|None)"
)
OWN = "79686484488"
ANN = "79001234567"


class ServerProcess:
    """The process, and what it said when it was ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.ready = json.loads(process.stdout.readline())
        self.address = urlsplit(self.ready["control"]).netloc

    def request(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = HTTPConnection(self.address, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def post(self, path: str, **arguments: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        status, answer = self.request("POST", path, json.dumps(arguments), headers)
        assert status == 200, answer
        return answer

    def get(self, path: str) -> Any:
        status, answer = self.request("GET", path)
        assert status == 200, answer
        return answer


@contextmanager
def start_server(*arguments: str) -> Iterator[ServerProcess]:
    command = [sys.executable, "-m", "wasessionpool.testing.server", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield ServerProcess(process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.mark.anyio
async def test_a_test_in_another_process(tmp_path: Path) -> None:
    state, wire = tmp_path / "state.json", tmp_path / "wire.log"
    with start_server("--state", str(state), "--wire", str(wire)) as server:

        async def call(path: str, **arguments: Any) -> Any:
            return await to_thread.run_sync(lambda: server.post(path, **arguments))

        assert server.post(f"/contact/{ANN}", name="Ann") == {"number": ANN}
        database = str(tmp_path / "raw.db")
        async with start_raw_client(server.ready["environment"], RAW_CLIENT, database, "Acme") as client:
            device = await call(f"/phone/{OWN}/scan", qr=(await client.next("QR"))["text"])
            assert (device["device"], device["os"]) == (1, "Acme")
            await client.next("Connected")
            assert server.get("/server/accounts") == [ANN, OWN]
            assert server.get("/server/connected") == [OWN]

            sent = await client.call("send", ANN, "the secret word")
            message = await call(f"/contact/{ANN}/next_message", timeout=10)
            assert (message["id"], message["text"], message["sender"]) == (sent, "the secret word", OWN)
            await call(f"/contact/{ANN}/read", message=sent)
            assert [(await client.next("Receipt"))["ids"] for _ in range(2)] == [[sent]] * 2
            answer = await call(f"/contact/{ANN}/send", to=OWN, text="and the answer")
            assert (await client.next("Message"))["id"] == answer

            await call("/server/refuse", status=503)
            assert await call(f"/phone/{OWN}/drop", reset=False) == 1
            await call("/server/wait_refused", count=1)
            await call("/server/accept")
            await call(f"/phone/{OWN}/wait_connected", logins=2)
    assert json.loads(state.read_text())["format"] == 1
    log = wire.read_text()
    assert wire.stat().st_mode & 0o777 == 0o600
    assert any(f"{OWN}:1 ← <message" in line and f'id="{sent}"' in line for line in log.splitlines())
    assert "secret" not in log
    assert "Ann" not in log

    with start_server("--state", str(state)) as server:
        assert server.get(f"/phone/{OWN}/devices")[0]["os"] == "Acme"


@pytest.mark.parametrize("noun", [Contact, Group, Phone, WhatsAppServer])
def test_every_call_can_be_made_in_json(noun: type) -> None:
    for name, function in inspect.getmembers(noun, inspect.isfunction):
        if name.startswith("_") or name in ("contact", "driver", "phone", "save"):
            continue
        parameters = list(inspect.signature(function).parameters.values())[1:]
        unknown = {str(p.annotation) for p in parameters if not JSON_OR_KNOWN.fullmatch(str(p.annotation))}
        assert unknown == set(), f"control.py has to know how {noun.__name__}.{name} is called in JSON"


def test_groups_and_files() -> None:
    with start_server() as server:
        server.post(f"/contact/{ANN}", name="Ann")
        jid = server.post("/server/group", subject="Team", members=[ANN, OWN])
        server.post(f"/group/{jid}/add", numbers=["79007654321"])
        assert set(server.get(f"/group/{jid}/members")) == {ANN, OWN, "79007654321"}
        sent = server.post(f"/contact/{ANN}/send_image", to=OWN, image=base64.b64encode(b"no picture").decode())
        message = server.get(f"/phone/{OWN}/received")[-1]
        assert (message["id"], message["kind"]) == (sent, "image")
        assert base64.b64decode(message["media"]) == b"no picture"
        server.post(f"/phone/{OWN}/react", message=sent, emoji="+")


def test_calls_that_make_no_sense() -> None:
    json_type = {"Content-Type": "application/json"}
    with start_server() as server:
        for method, path, body, headers, status, said in [
            ("GET", "/", None, {}, 404, "/server/NAME"),
            ("GET", "/server/nothing", None, {}, 404, "there are accept, accounts"),
            ("POST", "/server/_turn_away", "{}", json_type, 404, "no _turn_away"),
            ("POST", "/server/save", '{"path": "/tmp/x"}', json_type, 404, "no save"),
            ("POST", f"/phone/{OWN}/drop", '{"hard": 1}', json_type, 400, "unexpected keyword argument 'hard'"),
            ("POST", f"/phone/{OWN}/drop", "[]", json_type, 400, "object of arguments"),
            ("POST", f"/phone/{OWN}/drop", "{", json_type, 400, "not JSON"),
            ("POST", f"/phone/{OWN}/drop", "{}", {"Content-Type": "text/plain"}, 415, "application/json"),
            ("POST", f"/contact/{ANN}/send_image", f'{{"to": "{OWN}", "image": "~"}}', json_type, 400, "not base64"),
            ("POST", f"/contact/{ANN}/send_image", f'{{"to": "{OWN}", "image": 1}}', json_type, 400, "not base64"),
            ("GET", "/server/accounts", None, {"Host": "example.com"}, 403, "loopback"),
            ("POST", f"/phone/{OWN}/scan", '{"qr": "no code"}', json_type, 409, "not a WhatsApp pairing code"),
            ("POST", "/contact/me", "{}", json_type, 409, "not a phone number"),
            ("POST", f"/contact/{ANN}/read", '{"message": "X"}', json_type, 404, "has got no message X"),
            ("POST", f"/contact/{ANN}/next_message", '{"timeout": 0.01}', json_type, 504, "got no message within"),
        ]:
            answer = server.request(method, path, body, headers)
            assert (answer[0], said in answer[1]["message"]) == (status, True), answer


def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path) -> None:
    def fails(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wasessionpool.testing.server", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    ended = fails("--host", "192.0.2.1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "192.0.2.1 is not a loopback address" in ended.stderr

    broken = tmp_path / "state.json"
    broken.write_text("{}")
    ended = fails("--state", str(broken))
    assert ended.returncode == 2
    assert "is no state" in ended.stderr

    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = fails("--port", str(taken.getsockname()[1]))
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
