"""``pair`` and ``send`` through the real neonize, on a WhatsApp on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wasessionpool import SessionKey
from wasessionpool.cli.records import find, holder_of
from wasessionpool.testing import WhatsAppServer

pytestmark = pytest.mark.anyio

OWN = "79686484488"
ANN = "79001234567"
KEY = SessionKey("962302")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


async def test_pair_then_send(start_command: Any, path: Path) -> None:
    async with WhatsAppServer() as whatsapp:
        ann = whatsapp.contact(ANN, name="Ann")

        def start(*arguments: str) -> Any:
            return start_command(
                *arguments, "--session-path", str(path), driver="loopback", **dict(whatsapp.environment)
            )

        async with start("pair", "962302") as pairing:
            qr = await pairing.next(event="qr")
            assert qr["company_id"] == "962302"
            await whatsapp.phone(OWN).scan(qr["text"])
            linked = await pairing.next(event="linked")
            assert (linked["phone_number"], linked["already_linked"]) == (f"+{OWN}", False)
            assert (await pairing.end(), pairing.stderr) == (0, "")

        record = await find(KEY, path)
        assert (record.desired, record.linked, holder_of(record, path)) == ("running", True, None)

        async with start("pair", "962302") as again:
            assert (await again.next(event="linked"))["already_linked"] is True
            assert await again.end() == 0

        async with start("send", "962302", f"+{ANN}", "Hello Ann") as sending:
            sent = await sending.next(to=f"{ANN}@s.whatsapp.net")
            got = await ann.next_message()
            assert (got.text, got.sender, got.id) == ("Hello Ann", OWN, sent["id"])
            assert (await sending.end(), sending.stderr) == (0, "")

        whatsapp.refuse()
        async with start("send", "962302", ANN, "Nobody gets this", "--timeout", "2") as refused:
            assert await refused.end() == 1
            assert refused.stderr.startswith("wasessionpool: not sent: session 962302 is ")
            assert refused.stderr.count("\n") == 1
        whatsapp.accept()

        await whatsapp.phone(OWN).unlink()
        async with start("send", "962302", ANN, "Nor this") as unlinked:
            assert await unlinked.end() == 1
            assert unlinked.stderr.endswith(f"wasessionpool pair 962302 --session-path {path}\n")
        assert len(ann.received) == 1


async def test_pair_by_a_code(start_command: Any, path: Path) -> None:
    async with WhatsAppServer() as whatsapp:
        arguments = ["pair", "962302", "--phone-number", "+7 968 648-44-88", "--session-path", str(path)]
        async with start_command(*arguments, driver="loopback", **dict(whatsapp.environment)) as pairing:
            offer = await pairing.next(event="pairing_code")
            await whatsapp.phone(OWN).enter_code(offer["code"])
            linked = await pairing.next(event="linked")
            assert (linked["phone_number"], linked["already_linked"]) == (f"+{OWN}", False)
            assert (await pairing.end(), pairing.stderr) == (0, "")


async def test_what_is_known_of_a_session_and_its_end(start_command: Any, path: Path) -> None:
    async with WhatsAppServer() as whatsapp:
        phone = whatsapp.phone(OWN)

        def start(*arguments: str) -> Any:
            return start_command(
                *arguments, "--session-path", str(path), driver="loopback", **dict(whatsapp.environment)
            )

        async with start("pair", "962302") as pairing:
            await phone.scan((await pairing.next(event="qr"))["text"])
            await pairing.next(event="linked")
            assert await pairing.end() == 0

        async with start("logs", "962302") as logs:
            assert (await logs.end(), logs.stderr) == (0, "")
        said = [line["text"] for line in logs.printed]
        assert f"connected jid={OWN}@s.whatsapp.net" in said
        assert said.count("qr") == 1

        async with start("explain", "962302") as explained:
            assert (await explained.end(), explained.stderr) == (0, "")
        assert "The pool that ran it was closed." in explained.printed[0]["text"]

        async with start("delete", "962302") as deleted:
            assert (await deleted.end(), deleted.stderr) == (0, "")
        assert deleted.printed[0]["was_linked"] is True
        assert phone.devices == ()
        assert [file.name for file in path.iterdir()] == [".pool"]
