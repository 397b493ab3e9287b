"""The id of a request, and its line, with an application that is no framework's."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from wasessionpool.http.request_log import ACCESS, RequestLog, request_id

pytestmark = pytest.mark.anyio


async def ask(application: Any, *headers: tuple[bytes, bytes], path: str = "/sessions", **scope: Any) -> dict[str, Any]:
    """Ask an application, and return how its answer began."""
    began: dict[str, Any] = {}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            began.update(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    asked = {"type": "http", "method": "GET", "path": path, "headers": headers, "client": ("192.0.2.1", 1), **scope}
    await RequestLog(application)(asked, receive, send)
    return began


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Request-Id", b"of the application")]})
    await send({"type": "http.response.body"})


def id_in(began: dict[str, Any]) -> str:
    [value] = [value for name, value in began["headers"] if name.lower() == b"x-request-id"]
    return str(value.decode())


@pytest.mark.parametrize("given", ["order-42", "2f1c9a0e-7e11-4e29-8a52-000000000000", "Root=1-67/a+b:c@d.e"])
async def test_a_sane_id_is_taken_over(given: str) -> None:
    assert id_in(await ask(answer, (b"X-Request-ID", given.encode()))) == given


@pytest.mark.parametrize("given", [b"", b"a b", b"a\tb", b"x" * 129, "ы".encode(), b"-x", b'x"y', b"a,b", b"a\n"])
async def test_one_that_is_not_is_replaced(given: bytes) -> None:
    made = id_in(await ask(answer, (b"x-request-id", given)))
    assert len(made) == 26
    assert made != id_in(await ask(answer, (b"x-request-id", given)))


async def test_two_of_them_are_none() -> None:
    assert len(id_in(await ask(answer, (b"x-request-id", b"a"), (b"x-request-id", b"b")))) == 26


async def test_the_line_has_what_happened_and_no_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS)
    await ask(answer, path="/sessions", query_string=b"key=secret")
    [record] = caplog.records
    assert record.getMessage().startswith('192.0.2.1 "GET /sessions" 200 ')
    assert (record.__dict__["status"], record.__dict__["path"]) == (200, "/sessions")
    await ask(answer, path="/" + "x" * 5000)
    assert len(caplog.records[-1].getMessage()) < 300


async def test_one_that_breaks_off_has_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS)

    async def leave(scope: Any, receive: Any, send: Any) -> None:
        raise OSError

    with pytest.raises(OSError, match=r"^$"):
        await ask(leave)
    assert " 499 " in caplog.text
    assert request_id() is None


async def test_a_task_that_outlives_its_request_does_not_speak_in_its_name() -> None:
    over, seen = anyio.Event(), []

    async def live_on() -> None:
        seen.append(request_id())
        await over.wait()
        seen.append(request_id())

    async with anyio.create_task_group() as tasks:

        async def start(scope: Any, receive: Any, send: Any) -> None:
            tasks.start_soon(live_on)
            await anyio.wait_all_tasks_blocked()

        await ask(start, (b"x-request-id", b"order-42"))
        over.set()
    assert seen == ["order-42", None]


async def test_what_is_no_request_passes_through() -> None:
    async def live(scope: Any, receive: Any, send: Any) -> None:
        assert request_id() is None
        began.append(scope["type"])

    began: list[str] = []
    await RequestLog(live)({"type": "lifespan"}, answer, answer)  # type: ignore[arg-type]
    assert began == ["lifespan"]
