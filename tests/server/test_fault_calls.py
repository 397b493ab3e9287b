"""How faults for one account and for everyone go together; what each looks like is in the fault table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wasessionpool.testing import Phone, WhatsAppServer
from wasessionpool.testing.whatsapp.fault_calls import FaultCalls
from wasessionpool.testing.whatsapp.faults import Faults, Strikes, Switch, corrupted
from wasessionpool.testing.whatsapp.nodes import node

pytestmark = pytest.mark.anyio

OWN = "79686484488"
OTHER = "79686484499"
ANN = "79001234567"


@pytest.fixture
def anyio_backend() -> str:
    """One backend: what differs between them is below the faults."""
    return "asyncio"


def test_the_same_calls_on_a_phone_and_on_the_server() -> None:
    assert issubclass(Phone, FaultCalls)
    assert issubclass(WhatsAppServer, FaultCalls)
    for name in ("refuse", "accept"):
        assert callable(getattr(Phone, name))
        assert callable(getattr(WhatsAppServer, name))


def test_a_lasting_fault_is_the_accounts_own_or_else_everyones() -> None:
    everyone = Switch(0.0)
    own = Switch(0.0, everyone)
    assert own.value == 0.0
    everyone.set(2.0)
    assert own.value == 2.0
    own.set(1.0)
    assert (own.value, everyone.value) == (1.0, 2.0)
    own.end()
    assert own.value == 2.0
    everyone.end()
    assert own.value == 0.0


def test_a_fault_strikes_as_often_as_was_said() -> None:
    everyone: Strikes[str] = Strikes()
    own, other = Strikes(everyone), Strikes(everyone)
    everyone.add("everyone", 2)
    own.add("own", 1)
    assert [own.take(), own.take(), other.take(), own.take()] == ["own", "everyone", "everyone", None]
    everyone.add("everyone", 2)
    everyone.end()
    assert own.take() is None
    with pytest.raises(ValueError, match="at least once"):
        own.add("never", 0)


def test_all_faults_end_at_once() -> None:
    everyone = Faults()
    own = Faults(everyone)
    own.silent.set(True)
    own.sends.add(463, 1)
    own.iqs.add("usync")
    everyone.iqs.add("encrypt")
    assert own.withholds(node("iq", {"xmlns": "usync"}))
    own.end()
    assert (own.silent.value, own.sends.take()) == (False, None)
    assert not own.withholds(node("iq", {"xmlns": "usync"}))
    assert own.withholds(node("iq", {"xmlns": "encrypt"}))
    assert not everyone.withholds(node("iq"))


def test_one_bit_of_each_ciphertext_is_changed() -> None:
    other = node("device-identity", {}, b"abc")
    message = node("message", {"id": "1"}, [node("enc", {"type": "msg"}, b"abc"), other, node("enc")])
    changed = corrupted(message)
    assert changed.attrs == message.attrs
    assert [child.data for child in changed.children] == [b"acc", b"abc", b""]
    assert message.children[0].data == b"abc"


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda faults: faults.delay_acks(-1), "before its message"),
        (lambda faults: faults.read_slowly(0), "more than nothing"),
        (lambda faults: faults.fail_login(503, times=0), "at least once"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        call(WhatsAppServer())


async def test_a_flood_needs_someone_to_come_from(whatsapp: WhatsAppServer) -> None:
    with pytest.raises(ValueError, match="is not on this WhatsApp"):
        await whatsapp.phone(OWN).flood(ANN)


async def test_faults_for_everyone(whatsapp: WhatsAppServer, spawn_sessions: Any, tmp_path: Path) -> None:
    ann, phones = whatsapp.contact(ANN), [whatsapp.phone(number) for number in (OWN, OTHER)]
    own, other = phones
    async with spawn_sessions(whatsapp.environment) as client:
        for count, phone in enumerate(phones, 1):
            await client.call("start", phone.number, str(tmp_path / f"{phone.number}.db"))
            await phone.scan((await client.next("QR"))["text"])
            await client.wait(lambda count=count: len(client.of("Connected")) == count, 20, "no Connected")

        whatsapp.fail_login(503)
        assert await whatsapp.drop() == 2
        for phone in phones:
            await phone.wait_connected(logins=2)
        assert own.refused_logins + other.refused_logins == 1

        whatsapp.fail_send(479)
        with pytest.raises(RuntimeError, match="479"):
            await client.call("send", OWN, ANN, "to nobody")
        await client.call("send", OWN, ANN, "one")

        whatsapp.withhold_acks()
        with pytest.raises(TimeoutError):
            await client.call("send", OTHER, ANN, "two", timeout=1)
        assert [(await ann.next_message()).text for _ in range(2)] == ["one", "two"]
        whatsapp.end_faults()
        assert await other.drop() == 1
        await other.wait_connected(logins=3)
        await client.call("send", OTHER, ANN, "three")
        assert (await ann.next_message()).text == "three"

        assert await whatsapp.stream_error(503) == 2
        await own.wait_connected(logins=3)
        await other.wait_connected(logins=4)

        own.refuse()
        assert await whatsapp.drop(OWN, stream_end=True) == 1
        await own.wait_refused_logins(own.refused_logins + 1)
        assert (own.connected, other.connected) == (False, True)
        own.accept()
        await own.wait_connected(logins=4)

        await whatsapp.flood(ANN, 300)
        await client.wait(lambda: len(client.of("Presence")) == 600, 20, "too few presences")


async def test_an_ack_with_its_connection_is_lost(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await phone.scan((await client.next("QR"))["text"])
        await client.next("Connected")
        phone.delay_acks(60)
        with pytest.raises(TimeoutError):
            await client.call("send", ANN, "late", timeout=1)
        assert (await ann.next_message()).text == "late"
        phone.delay_acks(0)
        assert await phone.drop() == 1
        await client.next("Connected")
        await client.call("send", ANN, "prompt")
        assert (await ann.next_message()).text == "prompt"


async def test_a_lid_can_be_found_again(whatsapp: WhatsAppServer, start_client: Any) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await phone.scan((await client.next("QR"))["text"])
        await client.next("Connected")
        whatsapp.hide_lid()
        with pytest.raises(RuntimeError, match="no LID found"):
            await client.call("send", ANN, "to nobody")
        whatsapp.hide_lid(False)
        await client.call("send", ANN, "found")
        assert (await ann.next_message()).text == "found"
