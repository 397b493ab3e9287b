"""``serve``: how it begins, what it logs and how it ends, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jwt
import pytest
import trustme
from anyio.to_thread import run_sync
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wasessionpool import PoolSettings
from wasessionpool.cli.client import ANSWERING
from wasessionpool.cli.serving import LONGEST, MARGIN, Certificate, grace, is_loopback, listening
from wasessionpool.shelves.directory import PLACE

pytestmark = pytest.mark.anyio

SERVE = Path(__file__).parents[2] / "docs" / "serve.md"
KEY = "the-key-of-all-the-tests"
KEYS = {"WHATSAPP_API_KEYS": KEY}
ASKING = {"X-API-Key": KEY}
MESSAGE = {"to": "79001234567", "message": "Hello, and 42 more words"}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_it_serves_and_ends_with_0(start_service: Any) -> None:
    async with start_service(**KEYS) as (service, url), httpx2.AsyncClient(headers=ASKING, timeout=30) as client:
        assert (await client.get(f"{url}/sessions")).json()["count"] == 0
        root = url.removesuffix("/api/whatsapp")
        assert (await client.get(f"{root}/health", headers={"X-API-Key": ""})).json()["status"] == "ok"
        assert (await client.get(f"{root}/health/ready")).status_code == 200
        assert (await client.get(f"{url}/sessions", headers={"X-API-Key": "wrong"})).status_code == 401
        service.process.send_signal(signal.SIGINT)
        assert await service.end() == 0
    assert [line["level"] for line in lines(service.stderr)] == ["INFO"] * 3


async def test_what_happens_to_sessions_is_in_the_log(start_service: Any, sessions: Path) -> None:
    async with start_service("--session-path", str(sessions), driver="unsteady", **KEYS) as (service, _):
        for line in (
            "session 962302: connected",
            "session 962302: disconnected",
            "Reconnecting session 962302: attempt 1",
        ):
            await service.said(line)


async def test_the_health_check_of_the_container_finds_it(start_service: Any) -> None:
    [instruction] = [line for line in SERVE.read_text().splitlines() if line.startswith("HEALTHCHECK ")]
    _, option, script = json.loads(instruction.partition(" CMD ")[2])
    async with start_service(**KEYS) as (service, url):
        here = script.replace("127.0.0.1:8000", url.split("/")[2])
        assert here != script
        here = here.replace("timeout=4)", "timeout=30)")
        await anyio.run_process([sys.executable, option, here])
        service.process.kill()
        await service.end()
        assert (await anyio.run_process([sys.executable, option, here], check=False)).returncode == 1


@pytest.fixture
def held_service(start_service: Any, sessions: Path, tmp_path: Path) -> Any:
    """A service whose sends tell by a pipe that they are under way, and wait for another."""
    os.mkfifo(tmp_path / "sending")
    os.mkfifo(tmp_path / "arriving")
    return start_service("--session-path", str(sessions), driver="held", **KEYS)


async def test_what_is_under_way_is_finished(held_service: Any, tmp_path: Path) -> None:
    answers = []

    async def send(url: str) -> None:
        async with httpx2.AsyncClient(headers=ASKING, timeout=30) as client:
            answers.append(await client.post(f"{url}/sessions/962302/messages", json=MESSAGE))

    async with held_service as (service, url):
        await service.said("session 962302: connected")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, url)
            assert await run_sync((tmp_path / "sending").read_text) == "now"
            service.process.send_signal(signal.SIGTERM)
            await service.said("SIGTERM: the service ends; no new requests, 1 under way")
            port = int(url.split(":")[2].partition("/")[0])
            await refuses(port)
            await run_sync((tmp_path / "arriving").write_text, "now")
        assert (answers[0].status_code, answers[0].json()["messageId"]) == (201, "FAKE1")
        assert await service.end() == 0


async def refuses(port: int) -> None:
    """Return as soon as nothing listens any more."""
    with anyio.fail_after(20):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                return
            await stream.aclose()
            await anyio.sleep(0.01)


async def test_a_second_signal_kills(held_service: Any, tmp_path: Path) -> None:
    async def send(url: str) -> None:
        with pytest.raises(httpx2.TransportError):
            async with httpx2.AsyncClient(headers=ASKING, timeout=30) as client:
                await client.post(f"{url}/sessions/962302/messages", json=MESSAGE)

    async with held_service as (service, url):
        await service.said("session 962302: connected")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, url)
            await run_sync((tmp_path / "sending").read_text)
            service.process.send_signal(signal.SIGTERM)
            await service.said("SIGTERM")
            service.process.send_signal(signal.SIGTERM)
            assert await service.end() == -signal.SIGTERM


async def test_a_request_has_an_id_in_every_line_and_in_its_answer(start_service: Any, sessions: Path) -> None:
    async with (
        start_service("--session-path", str(sessions), **KEYS) as (service, url),
        httpx2.AsyncClient(headers=ASKING, timeout=30) as client,
    ):
        await service.said("session 962302: connected")
        sent = await client.post(
            f"{url}/sessions/962302/messages?device=main", json=MESSAGE, headers={"X-Request-ID": "order-42"}
        )
        assert sent.headers["x-request-id"] == "order-42"
        line = await service.next(request_id="order-42")
        assert (line["method"], line["path"], line["status"]) == ("POST", "/api/whatsapp/sessions/962302/messages", 201)
        made = (await client.get(f"{url}/sessions", headers={"X-Request-ID": "a b"})).headers["x-request-id"]
        assert len(made) == 26
        await service.next(request_id=made)
        service.process.send_signal(signal.SIGTERM)
        assert await service.end() == 0
    [about] = [line for line in lines(service.stderr) if line.get("request_id") == "order-42"]
    assert (about["message_id"], about["session"]) == (sent.json()["messageId"], "962302")
    everything = service.stderr + json.dumps(service.printed)
    assert KEY not in everything
    assert "42 more words" not in everything


async def test_logs_go_to_files_that_may_be_moved(start_service: Any, tmp_path: Path) -> None:
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    access.write_text("before\n")
    arguments = ["--access-log", str(access), "--error-log", str(error), "--log-format", "text"]
    async with (
        start_service(*arguments, **KEYS) as (service, url),
        httpx2.AsyncClient(headers=ASKING, timeout=30) as client,
    ):
        await client.get(f"{url}/sessions", headers={"X-Request-ID": "first"})
        await appears(access, "[first]")
        moved = access.rename(tmp_path / "access.log.1")
        service.process.send_signal(signal.SIGHUP)
        await appears(access, "")
        await client.get(f"{url}/sessions", headers={"X-Request-ID": "second"})
        await appears(access, "[second]")
        service.process.send_signal(signal.SIGTERM)
        assert await service.end() == 0
    assert service.stderr == ""
    assert moved.read_text().splitlines()[0] == "before"
    assert "[second]" not in moved.read_text()
    assert access.stat().st_mode & 0o777 == 0o600
    assert error.stat().st_mode & 0o777 == 0o600
    assert "INFO wasessionpool.cli.serving: serving http" in error.read_text()


async def appears(file: Path, text: str) -> None:
    """Return as soon as the file is there and has the text."""
    await becomes(lambda: file.exists() and text in file.read_text())


async def becomes(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not await run_sync(condition):  # noqa: ASYNC110 - another process tells nothing but by its files
            await anyio.sleep(0.01)


async def test_it_speaks_tls_and_takes_up_a_new_certificate(
    start_service: Any, start_command: Any, tmp_path: Path
) -> None:
    authority, certificate, key = trustme.CA(), tmp_path / "certificate.pem", tmp_path / "key.pem"

    def issue() -> None:
        issued = authority.issue_cert("127.0.0.1")
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))

    def shown() -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            trusting.wrap_socket(plain, server_hostname="127.0.0.1") as line,
        ):
            return line.getpeercert(binary_form=True) or b""

    issue()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    arguments = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    async with start_service(*arguments, **KEYS) as (service, url):
        assert url.startswith("https://127.0.0.1:")
        port = int(url.split(":")[2].partition("/")[0])
        first = await run_sync(shown)
        roots = tmp_path / "roots.pem"
        authority.cert_pem.write_to_path(str(roots))
        asking = {"WHATSAPP_URL": url, "WHATSAPP_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
        async with start_command("sessions", **asking, SSL_CERT_FILE=str(roots)) as trusted:
            assert (await trusted.end(), trusted.stderr, trusted.printed) == (0, "", [[]])
        async with start_command("sessions", **asking) as untrusting:
            assert await untrusting.end() == 1
        assert untrusting.stderr.startswith(f"wasessionpool: the certificate of {url} is not accepted: ")
        assert untrusting.stderr.count("\n") == 1

        issue()
        service.process.send_signal(signal.SIGHUP)
        await becomes(lambda: shown() != first)
        certificate.write_text("nothing")
        service.process.send_signal(signal.SIGHUP)
        await service.said("the old certificate is kept")
        assert await run_sync(shown) != first


async def test_a_key_made_beside_a_running_service_counts_at_once(start_service: Any, start_command: Any) -> None:
    async with start_service("--allow-anonymous") as (_, url), httpx2.AsyncClient(timeout=30) as client:

        async def keys(*arguments: str) -> Any:
            async with start_command("keys", *arguments) as command:
                assert (await command.end(), command.stderr) == (0, "")
            return command.printed[0]

        made = await keys("create", "--right", "read", "--company", "962302", "--name", "shop")
        asking = {"X-API-Key": made["key"]}
        assert (await client.get(f"{url}/sessions", headers=asking)).status_code == 200
        assert (await client.post(f"{url}/sessions", headers=asking, json={})).status_code == 403
        assert (await client.get(f"{url}/sessions/962303", headers=asking)).status_code == 404
        assert [one["id"] for one in await keys("list")] == [made["id"]]
        assert await keys("revoke", made["id"]) == {"id": made["id"], "revoked": True}
        assert (await client.get(f"{url}/sessions", headers=asking)).status_code == 401


async def test_tokens_are_let_in(start_service: Any, tmp_path: Path) -> None:
    key, file = ec.generate_private_key(ec.SECP256R1()), tmp_path / "login.pem"
    file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    claims = {"iss": "https://login.example.org", "aud": "whatsapp", "sub": "ann", "exp": time.time() + 600}
    token = jwt.encode(claims | {"shops": ["962302"], "scope": "read"}, key, "ES256")
    options = ("--jwt-key", str(file), "--jwt-issuer", claims["iss"], "--jwt-audience", "whatsapp")
    async with (
        start_service(*options, "--jwt-company-claim", "shops") as (_, url),
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client,
    ):
        assert (await client.get(f"{url}/sessions")).status_code == 200
        assert (await client.post(f"{url}/sessions", json={"companyId": "962302"})).status_code == 403
        assert (await client.get(f"{url}/sessions", headers={"Authorization": "Bearer x"})).status_code == 401


def test_tokens_without_a_key_to_check_them_by(process: Any, tmp_path: Path) -> None:
    said = process("serve", "--port", "0", "--jwt-issuer", "https://login.example.org")
    assert (said.returncode, "go together" in said.stderr) == (2, True)
    told = ("--jwt-issuer", "us", "--jwt-audience", "us")
    said = process("serve", "--port", "0", "--jwt-key", str(tmp_path / "missing.pem"), *told)
    assert (said.returncode, "cannot be read" in said.stderr) == (2, True)


def complaint(done: Any) -> str:
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.count("\n") == 1
    return str(done.stderr)


def test_without_a_key_it_says_what_to_do_and_opens_nothing(process: Any, tmp_path: Path) -> None:
    said = complaint(process("serve", "--port", "0"))
    for way in ("wasessionpool keys create", "WHATSAPP_API_KEYS", "--allow-anonymous"):
        assert way in said
    assert list(tmp_path.iterdir()) == []
    assert process("serve", "--port", "0", WHATSAPP_API_KEYS="sha256:12").returncode == 2


def test_a_port_that_is_taken_is_said(process: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = complaint(process("serve", "--port", str(port), **KEYS))
    assert said == f"wasessionpool: cannot listen on 127.0.0.1, port {port}: Address already in use\n"
    assert not (tmp_path / "whatsapp_sessions").exists()
    assert "cannot listen on 192.0.2.1" in complaint(process("serve", "--host", "192.0.2.1", **KEYS))


def test_files_are_checked_before_the_start(process: Any, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    assert complaint(process("serve", "--tls-certificate", missing, **KEYS)) == (
        f"wasessionpool: {missing} cannot be read: No such file or directory\n"
    )
    assert process("serve", "--tls-key", missing, **KEYS).returncode == 2
    nowhere = str(tmp_path / "nowhere" / "access.log")
    assert complaint(process("serve", "--access-log", nowhere, **KEYS)).startswith(f"wasessionpool: {nowhere}: ")


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])  # noqa: S104 - nothing is said on it
def test_who_can_reach_it_is_known(host: str, loopback: bool) -> None:
    with listening(host, 0) as listener:
        assert is_loopback(listener) is loopback


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the system has no IPv6 that takes IPv4 too")
@pytest.mark.parametrize(("host", "reached"), [("::", {"127.0.0.1", "::1"}), ("::1", {"::1"})])
def test_all_addresses_are_those_of_ipv4_too(host: str, reached: set[str]) -> None:
    def reaches(address: str) -> bool:
        try:
            socket.create_connection((address, listener.getsockname()[1]), timeout=10).close()
        except ConnectionRefusedError:
            return False
        return True

    with listening(host, 0) as listener:
        assert {address for address in ("127.0.0.1", "::1") if reaches(address)} == reached


def test_what_takes_longest_may_be_finished() -> None:
    settings = PoolSettings(connect_timeout=40.0, send_timeout=20.0, shutdown_timeout=4.5)
    assert grace(settings) == 65 + MARGIN
    brief = PoolSettings(connect_timeout=1.0, send_timeout=1.0, shutdown_timeout=1.0)
    assert grace(brief) == LONGEST + MARGIN
    longest = grace(PoolSettings()) - MARGIN
    assert longest < ANSWERING
    page, total = SERVE.read_text(), grace(PoolSettings()) + PoolSettings().shutdown_timeout
    for name in ("TimeoutStopSec=", "--stop-timeout ", "stop_grace_period: ", "terminationGracePeriodSeconds: "):
        allowed = re.findall(rf"{name}(\d+)", page)
        assert allowed, name
        assert all(float(seconds) > total for seconds in allowed), name
    [proxy] = re.findall(r"proxy_read_timeout (\d+)s", page)
    assert float(proxy) > longest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["service_commands.settings_of", "serving.keys_at"])
def test_a_signal_at_its_beginning_ends_it_with_0(tmp_path: Path, place: str, number: signal.Signals) -> None:
    module, _, name = place.partition(".")
    script = (
        "import os, sys; sys.argv[1:] = ['serve', '--port', '0']\n"
        f"from wasessionpool.cli import main, {module}\n"
        f"{module}.{name} = lambda *_: os.kill(os.getpid(), {number:d})\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, other = tmp_path / "certificate.pem", tmp_path / "other.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(str(other))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    Certificate(certificate).load_into(context)
    with pytest.raises(Exception, match=f"{certificate} with {other} cannot be used: KEY_VALUES_MISMATCH"):
        Certificate(certificate, other).load_into(context)
    with pytest.raises(Exception, match=f"{other} cannot be used"):
        Certificate(other).load_into(context)


def test_without_the_extra_the_install_command_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv[1:] = ['serve', '--allow-anonymous']\n"
        "from wasessionpool.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False
    )
    assert complaint(done) == "wasessionpool: uvicorn not found: pip install 'wasessionpool[cli,fastapi]'\n"


def test_keys_are_kept_without_their_secret(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    done = command("keys", "list", "--session-path", str(path))
    assert (done.returncode, done.stdout) == (0, f"no key was made in {path}\n")
    assert not path.exists()
    done = command("keys", "create", "--name", "shop", "--session-path", str(path))
    [key] = done.stdout.splitlines()
    assert done.returncode == 0
    assert "manage, read, send of every company; it is shown this once" in done.stderr
    listed = command("keys", "list", "--session-path", str(path)).stdout
    assert "shop  manage read send  every company" in listed
    assert key.split("_")[2] not in listed + command("keys", "list", "--json", "--session-path", str(path)).stdout
    assert key.encode() not in (path / PLACE).read_bytes()
    done = command("keys", "revoke", "nobodys", "--session-path", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no key with the id nobodys" in done.stderr
    assert command("keys", "create", "--company", "../x", "--session-path", str(path)).returncode == 2
    assert command("keys", "create", "--right", "fly", "--session-path", str(path)).returncode == 2
    path.chmod(0o755)
    assert "chmod 700" in command("keys", "create", "--session-path", str(path)).stderr


@pytest.mark.parametrize("arguments", [["keys", "list"], ["keys", "revoke", "b30e55d496fe09eb"], ["serve"]])
def test_a_damaged_shelf_is_said_and_left_as_it_is(command: Any, tmp_path: Path, arguments: list[str]) -> None:
    shelf = tmp_path / PLACE
    tmp_path.chmod(0o700)
    assert command("keys", "create", "--session-path", str(tmp_path)).returncode == 0
    damaged = b"x" * 8192
    shelf.write_bytes(damaged)
    done = command(*arguments, "--session-path", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    said = "is damaged: file is not a database; `wasessionpool doctor` says what is lost with it"
    assert done.stderr == f"wasessionpool: {shelf} {said}\n"
    assert [(file.name, file.read_bytes()) for file in shelf.parent.iterdir()] == [(shelf.name, damaged)]
    assert command("keys", "create", "--session-path", str(tmp_path)).returncode == 0
