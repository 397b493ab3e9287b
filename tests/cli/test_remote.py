"""Commands that go through a running service by ``--url``, on a WhatsApp on loopback or a fake driver."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from wasessionpool import SessionKey
from wasessionpool.cli.client import base_url
from wasessionpool.cli.records import find
from wasessionpool.testing import WhatsAppServer

pytestmark = pytest.mark.anyio

OWN = "79686484488"
ANN = "79001234567"
API_KEY = "the-key-of-all-the-tests"
KEYS = {"WHATSAPP_API_KEYS": API_KEY}


@pytest.fixture
def ask(start_command: Any) -> Any:
    """Run a command to its end through the service at ``url``, and return its code, its JSON and its stderr."""

    async def ask(url: str, *arguments: str, key: str = API_KEY) -> tuple[int, list[Any], str]:
        async with start_command(*arguments, "--url", url, WHATSAPP_API_KEY=key) as command:
            return await command.end(), command.printed, command.stderr

    return ask


async def test_a_session_from_its_pairing_to_its_end(
    start_service: Any, start_command: Any, ask: Any, tmp_path: Path
) -> None:
    async with WhatsAppServer() as whatsapp:
        phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN, name="Ann")
        async with start_service(driver="loopback", **KEYS, **dict(whatsapp.environment)) as (service, url):
            async with start_command("pair", "962302", WHATSAPP_URL=url, WHATSAPP_API_KEY=API_KEY) as pairing:
                await phone.scan((await pairing.next(event="qr"))["text"])
                linked = await pairing.next(event="linked")
                assert (linked["phone_number"], linked["already_linked"]) == (f"+{OWN}", False)
                assert (await pairing.end(), pairing.stderr) == (0, "")
            code, printed, _ = await ask(url, "pair", "962302")
            assert (code, printed[-1]["event"], printed[-1]["already_linked"]) == (0, "linked", True)

            code, [sent], said = await ask(url, "send", "962302", f"+{ANN}", "Hello Ann")
            got = await ann.next_message()
            assert (code, said, got.text, got.id) == (0, "", "Hello Ann", sent["id"])
            assert (sent["to"], sent["company_id"], sent["device"]) == (f"{ANN}@s.whatsapp.net", "962302", "main")
            await service.said(f'"message_id":"{sent["id"]}"')

            code, [status], said = await ask(url, "status", "962302")
            assert (code, said, status["status"], status["linked"]) == (0, "", "connected", True)
            assert (status["phone_number"], status["holder"]) == (f"+{OWN}", url)
            assert [one["company_id"] for one in (await ask(url, "sessions"))[1][0]] == ["962302"]
            assert "Session 962302 is connected." in (await ask(url, "explain", "962302"))[1][0]["text"]

            held = start_command("send", "962302", ANN, "no", "--session-path", str(tmp_path / "whatsapp_sessions"))
            async with held as local:
                assert await local.end() == 1
            assert "962302 is run by process " in local.stderr
            assert "with --url" in local.stderr

            code, [ended], said = await ask(url, "logout", "962302")
            assert (code, said, ended["done"], ended["was_linked"]) == (0, "", "logout", True)
            assert phone.devices == ()
            code, _, said = await ask(url, "send", "962302", ANN, "Nobody gets this")
            assert (code, said) == (
                1,
                f"wasessionpool: session 962302 is not linked to a phone: wasessionpool pair 962302 --url {url}\n",
            )
            assert (await ask(url, "delete", "962302"))[1][0]["was_linked"] is False
            code, printed, said = await ask(url, "status", "962302")
            assert (code, printed) == (1, [])
            assert f"there is no session 962302 at {url}; to create it: wasessionpool pair 962302 --url" in said


async def test_pair_by_a_code(start_service: Any, start_command: Any) -> None:
    async with (
        WhatsAppServer() as whatsapp,
        start_service(driver="loopback", **KEYS, **dict(whatsapp.environment)) as (_, url),
        start_command("pair", "962302", "--phone-number", OWN, "--url", url, "--api-key", API_KEY) as pairing,
    ):
        await whatsapp.phone(OWN).enter_code((await pairing.next(event="pairing_code"))["code"])
        assert (await pairing.next(event="linked"))["phone_number"] == f"+{OWN}"
        assert (await pairing.end(), pairing.stderr) == (0, "")


async def test_a_code_that_nobody_confirms_is_offered_no_more(start_service: Any, ask: Any, tmp_path: Path) -> None:
    async with start_service(**KEYS) as (_, url):
        code, printed, said = await ask(url, "pair", "962302", "--timeout", "5")
        assert (code, printed[-1]["text"]) == (1, "2@fake")
        assert said == "wasessionpool: nobody scanned the QR code within 5 s; run this command again\n"
    record = await find(SessionKey("962302"), tmp_path / "whatsapp_sessions")
    assert (record.desired, record.linked) == ("stopped", False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_pairing_at_the_service_too(
    start_service: Any, start_command: Any, ask: Any, number: signal.Signals
) -> None:
    async with start_service(**KEYS) as (_, url):
        async with start_command("pair", "962302", "--url", url, WHATSAPP_API_KEY=API_KEY) as pairing:
            await pairing.next(event="qr")
            pairing.process.send_signal(number)
            assert (await pairing.end(), pairing.stderr) == (128 + number, "wasessionpool: interrupted\n")
        [status] = (await ask(url, "status", "962302"))[1]
        assert (status["status"], status["disconnect_reason"]) == ("disconnected", "requested")


async def test_what_is_told_to_people(start_service: Any, process: Any, sessions: Path) -> None:
    async with start_service("--session-path", str(sessions), **KEYS) as (service, url):
        await service.said("session 962302: connected")

        async def shown(*arguments: str) -> str:
            done = await anyio.to_thread.run_sync(
                lambda: process(*arguments, WHATSAPP_URL=url, WHATSAPP_API_KEY=API_KEY)
            )
            assert (done.returncode, done.stderr) == (0, "")
            return str(done.stdout)

        rows = (await shown("sessions")).splitlines()
        assert [row.split()[:3] for row in rows[1:]] == [
            ["962302", "+79686484488", "yes"],
            ["962303:sales", "-", "no"],
        ]
        assert rows[1].endswith(f" connected, held by {url}")
        assert re.search(r"^phone number +\+79686484488$", await shown("status", "962302"), re.MULTILINE)
        assert await shown("send", "962302", ANN, "Hello") == f"sent FAKE1 to {ANN}@s.whatsapp.net\n"
        stays = await shown("disconnect", "962302")
        assert stays == "962302 stays down until it is asked for again; its keys are kept\n"
        done = await anyio.to_thread.run_sync(
            lambda: process("send", "962302", ANN, "Hello", "--url", url, WHATSAPP_API_KEY=API_KEY)
        )
        assert done.returncode == 1
        assert done.stderr.endswith(f"to start it: wasessionpool pair 962302 --url {url}\n")


async def test_a_key_that_is_missing_or_wrong_is_said(start_service: Any, ask: Any) -> None:
    async with start_service(**KEYS) as (_, url):
        code, printed, said = await ask(url, "sessions", key="")
        assert (code, printed) == (1, [])
        assert said == f"wasessionpool: {url} asks for a key: give it in WHATSAPP_API_KEY, or with --api-key\n"
        code, _, said = await ask(url, "sessions", key="another")
        assert (code, "does not know the key" in said) == (1, True)
        code, _, said = await ask(f"{url}/elsewhere", "sessions")
        assert (code, "is not where the REST interface is" in said) == (1, True)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Answer every request with the same bytes, as whatever is not a service does."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            if answer:
                await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


def page(status: str, body: str, *headers: str, media: str = "text/html") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {media}", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, *headers, "", body]).encode()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (page("502 Bad Gateway", "<h1>Bad Gateway</h1>"), "answered 502 text/html, which is not what"),
        (page("200 OK", "<p>Welcome to nginx"), "answered 200 text/html, which is not what"),
        (page("200 OK", json.dumps({"sessions": 1}), media="application/json"), "answered 200 application/json"),
        (page("302 Found", "", "Location: https://login.example/"), "answered 302 text/html (https://login.example/)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer from"),
        (b"", "no answer from"),
    ],
)
async def test_what_is_no_service_is_one_line(ask: Any, answer: bytes, says: str) -> None:
    async with answering(answer) as url:
        code, printed, said = await ask(url, "sessions")
    assert (code, printed) == (1, [])
    assert says in said
    assert said.startswith("wasessionpool: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (page("504 Gateway Time-out", "<h1>Gateway Time-out</h1>"), "answered 504 text/html, which is not what"),
        (page("502 Bad Gateway", ""), "answered 502 text/html, which is not what"),
        (b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{", "no answer from"),
        (b"", "no answer from"),
    ],
)
async def test_a_send_without_an_answer_may_have_gone_out(ask: Any, answer: bytes, says: str) -> None:
    async with answering(answer) as url:
        code, printed, said = await ask(url, "send", "962302", ANN, "Hello")
    assert (code, printed) == (1, [])
    assert said.startswith("wasessionpool: whether the message went out is unknown: ")
    assert says in said
    assert said.count("\n") == 1


async def test_a_send_whose_service_is_killed_may_have_gone_out(
    start_service: Any, start_command: Any, sessions: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "arriving")
    async with start_service("--session-path", str(sessions), **KEYS, driver="held") as (service, url):
        async with start_command("send", "962302", ANN, "Hello", "--url", url, WHATSAPP_API_KEY=API_KEY) as sending:
            with anyio.fail_after(30):
                while not (tmp_path / "sending").exists():  # noqa: ASYNC110 - a file tells nobody
                    await anyio.sleep(0.01)
            service.process.kill()
            assert await sending.end() == 1
        assert sending.stderr.startswith(
            f"wasessionpool: whether the message went out is unknown: no answer from {url}"
        )


async def test_a_page_that_refuses_a_send_says_that_nothing_is_there(ask: Any) -> None:
    async with answering(page("404 Not Found", "<h1>Not Found</h1>")) as url:
        code, _, said = await ask(url, "send", "962302", ANN, "Hello")
    assert (code, "unknown" in said) == (1, False)


async def test_a_service_that_is_down_is_one_line(ask: Any) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        code, _, said = await ask(url, "send", "962302", ANN, "Hello")
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith(f"wasessionpool: nothing answers at {url}/api/whatsapp: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--url", "ftp://host"], "is not a URL as http://127.0.0.1:8000"),
        (["--url", "127.0.0.1:8000"], "is not a URL as http://127.0.0.1:8000"),
        (["--url", "http://user:secret@host"], "has no user, query or fragment"),
        (["--url", "http://host", "--session-path", "x"], "leave out --session-path"),
        (["--api-key", "x"], "name it with --url"),
        (["--url", "http://host", "--api-key", "ключ"], "an API key is printable ASCII"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(command: Any, arguments: list[str], says: str) -> None:
    done = command("sessions", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "secret" not in done.stderr


def test_a_session_path_that_is_typed_goes_before_the_variable(command: Any, sessions: Path) -> None:
    done = command("status", "962302", "--session-path", str(sessions), WHATSAPP_URL="http://127.0.0.1:9")
    assert (done.returncode, "stopped" in done.stdout) == (0, True)


def test_a_url_without_a_path_means_where_serve_puts_it() -> None:
    assert base_url("http://127.0.0.1:8000/") == "http://127.0.0.1:8000/api/whatsapp"
    assert base_url(" https://[::1]:8000 ") == "https://[::1]:8000/api/whatsapp"
    assert base_url("https://host/whatsapp/") == "https://host/whatsapp"
