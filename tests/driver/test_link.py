"""The driver against a loopback WhatsApp: the real neonize in real workers."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from wasessionpool.addresses import Address
from wasessionpool.drivers.neonize import NeonizeDriver, connection
from wasessionpool.drivers.neonize.process import Hosting
from wasessionpool.errors import (
    DriverError,
    RecipientNotOnWhatsapp,
    SendTimeout,
    SessionNotConnected,
)
from wasessionpool.links import (
    DriverEvent,
    LinkEnded,
    LinkLost,
    LinkUp,
    NoticesReceived,
    PairingAccepted,
    PairingOffered,
    PairingQueued,
    PairingStarted,
)
from wasessionpool.messages import Text
from wasessionpool.models import DisconnectReason, InboundMessage, InboundReceipt
from wasessionpool.operations import LogOut, MarkRead
from wasessionpool.testing.whatsapp.server import WhatsAppServer

from .conftest import OTHER, OWN, SessionFactory, pair, paired, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def driver(whatsapp: WhatsAppServer) -> AsyncIterator[NeonizeDriver]:
    async with whatsapp.driver(spare_timeout=0) as driver:
        yield driver


async def test_pairs_then_links_on_a_shard(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    async with session().link(driver) as link:
        up = await pair(link, whatsapp)
        assert [type(event) for event in link.events] == [PairingStarted, PairingOffered, PairingAccepted, LinkUp]
        assert link.events[1].lifetime == 60
        assert up.jid == link.events[2].jid == f"{OWN}@s.whatsapp.net"
        assert up.phone_number == f"+{OWN}"
        assert up.lid is not None
        assert up.lid.endswith("@lid")
        assert [(worker.role, worker.sessions) for worker in driver.workers()] == [("shard", ("962302",))]
        device = whatsapp.phone(OWN).devices[0]
        assert device.os == "wasessionpool"


async def test_a_probe_waits_for_the_server_and_for_nothing_else(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    phone, contact = whatsapp.phone(OWN), whatsapp.contact(OTHER)
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        await link.connection.probe()
        phone.withhold_iq("blocklist")
        ended = anyio.Event()

        async def probe() -> None:
            with pytest.raises((SessionNotConnected, DriverError)):
                await link.connection.probe()
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(probe)
            await link.connection.send(Address(OTHER), Text(text="meanwhile"))
            assert (await contact.next_message()).text == "meanwhile"
            assert not ended.is_set()
            await phone.unlink()
            await link.next(LinkEnded)


async def test_sends_and_receives(whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory) -> None:
    other = whatsapp.contact(OTHER, "Anna")
    text = "Привет 👋 \x01 @79007654321"
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        before = datetime.now(UTC) - timedelta(seconds=2)
        sent = await link.connection.send(Address(OTHER), Text(text=text))
        received = await other.next_message()
        assert (received.text, received.id) == (text, sent.id)
        assert (sent.to, sent.company_id, sent.device) == (f"{OTHER}@s.whatsapp.net", "962302", "main")
        assert before <= sent.timestamp <= datetime.now(UTC) + timedelta(seconds=2)
        delivered = await link.next(InboundReceipt)
        assert delivered.message_ids == (sent.id,)
        assert delivered.receipt == "delivered"
        await other.read(received)
        read = await link.next(InboundReceipt, after=delivered)
        assert (read.receipt, read.sender.lid is not None) == ("read", True)

        message_id = await other.send(OWN, "Hello")
        message = await link.next(InboundMessage)
        assert (message.message_id, message.kind, message.text) == (message_id, "text", "Hello")
        assert (message.sender_name, message.from_me, message.is_group) == ("Anna", False, False)
        assert message.chat == message.sender
        assert message.sender.id == f"{OTHER}@s.whatsapp.net"
        assert message.sender.phone_number == f"+{OTHER}"
        assert message.sender.lid is not None
        assert abs(message.timestamp - datetime.now(UTC)) < timedelta(seconds=10)
        await link.connection.call(MarkRead(message_ids=(message_id,), chat=message.chat.id, sender=message.sender.id))
        await other.wait_receipt(message_id, "read")


async def test_the_longest_text_arrives(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    other = whatsapp.contact(OTHER)
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        text = "\x01" * 65_536
        await link.connection.send(Address(OTHER), Text(text=text))
        assert (await other.next_message()).text == text
        await other.send(OWN, text + "more")
        assert (await link.next(InboundMessage)).text == text


async def test_a_slow_reader_loses_no_message_and_delays_no_other_session(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    other, slow, quick = whatsapp.contact(OTHER), session("slow"), session("quick")
    await paired(slow, driver, whatsapp)
    async with (
        quick.link(driver) as link,
        driver.connect(slow.record, slow.device) as open_link,
        driver.inbox(slow.record.key, slow.device) as inbox,
    ):
        assert isinstance(await anext(aiter(open_link)), LinkUp)
        await pair(link, whatsapp, "79002223344")
        assert [worker.sessions for worker in driver.workers()] == [("slow", "quick")]
        for number in range(500):
            await other.send(OWN, str(number))
        await other.send("79002223344", "quick")
        assert (await link.next(InboundMessage)).text == "quick"
        received: list[str | None] = []
        position = 0
        while len(received) < 500:
            items = await inbox.read(position, 7)
            if not items:
                await inbox.changed()
            for item in items:
                position = item.number
                received.append(item.message.text)
    assert received == [str(number) for number in range(500)]


async def test_what_comes_while_pairing_is_handed_over_once(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    other = whatsapp.contact(OTHER)
    async with session().link(driver) as link:
        offer = await link.next(PairingOffered)
        await whatsapp.phone(OWN).scan(offer.text)
        await other.send(OWN, "early")
        await link.next(LinkUp)
        await other.send(OWN, "late")
        early = await link.next(InboundMessage)
        late = await link.next(InboundMessage, after=early)
        assert [early.text, late.text] == ["early", "late"]


async def test_what_the_phone_shares_while_pairing_is_told(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = whatsapp.phone(OWN)
    whatsapp.contact(OTHER)
    told, usual = [], Hosting.take

    def take(hosting: Hosting, event: DriverEvent) -> None:
        told.append(event)
        usual(hosting, event)

    monkeypatch.setattr(Hosting, "take", take)
    async with session().link(driver) as link:
        await phone.scan((await link.next(PairingOffered)).text)
        await phone.share_history(OTHER, ["old"])
        await link.next(NoticesReceived)
        await link.next(LinkUp)
        heard = [event for event in link.events if isinstance(event, NoticesReceived)]
        assert heard == [event for event in told if isinstance(event, NoticesReceived)]


async def test_messages_of_the_own_phone(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    whatsapp.contact(OTHER)
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        await whatsapp.phone(OWN).send(OTHER, "from the phone")
        message = await link.next(InboundMessage)
        assert message.from_me
        assert message.chat.id == f"{OTHER}@s.whatsapp.net"
        assert message.sender.id == f"{OWN}@s.whatsapp.net"


async def test_a_dropped_line_is_mended(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    async with session().link(driver) as link:
        up = await pair(link, whatsapp)
        await whatsapp.drop(OWN)
        lost = await link.next(LinkLost, after=up)
        assert lost.reason is DisconnectReason.NETWORK
        await link.next(LinkUp, after=lost)


async def test_a_restart_that_the_server_asks_for_is_no_loss(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    async with session().link(driver) as link:
        up = await pair(link, whatsapp)
        await whatsapp.phone(OWN).stream_error(515)
        await link.next(LinkUp, after=up)
        assert not [event for event in link.events if isinstance(event, LinkLost)]


async def test_while_the_line_is_lost_nothing_is_sent(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    whatsapp.contact(OTHER)
    async with session().link(driver) as link:
        up = await pair(link, whatsapp)
        whatsapp.refuse()
        await whatsapp.drop(OWN)
        await link.next(LinkLost, after=up)
        with pytest.raises(SessionNotConnected) as caught:
            await link.connection.send(Address(OTHER), Text(text="x"))
        assert caught.value.status == "reconnecting"


@pytest.mark.parametrize(
    ("status", "reason"), [(None, DisconnectReason.NETWORK), (503, DisconnectReason.SERVER)], ids=["reset", "503"]
)
async def test_a_refused_dial_ends_the_link(
    whatsapp: WhatsAppServer,
    driver: NeonizeDriver,
    session: SessionFactory,
    status: int | None,
    reason: DisconnectReason,
) -> None:
    one = session()
    await paired(one, driver, whatsapp)
    whatsapp.refuse(status)
    async with one.link(driver) as link:
        assert (await link.next(LinkEnded)).reason is reason
    whatsapp.accept()
    async with one.link(driver) as link:
        await link.next(LinkUp)


async def test_a_server_that_refuses_right_after_pairing(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FIRST_LINK_TIMEOUT", 1.0)
    one = session()
    async with one.link(driver) as link:
        offer = await link.next(PairingOffered)
        whatsapp.refuse()
        await whatsapp.phone(OWN).scan(offer.text)
        await link.next(PairingAccepted)
        assert (await link.next(LinkEnded)).reason is DisconnectReason.NETWORK
    whatsapp.accept()
    async with one.link(driver) as link:
        await link.next(LinkUp)
        assert [type(event) for event in link.events] == [LinkUp]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (401, DisconnectReason.LOGGED_OUT),
        (403, DisconnectReason.LOGGED_OUT),
        (405, DisconnectReason.OUTDATED),
        (406, DisconnectReason.BANNED),
        (409, DisconnectReason.SERVER),
        (415, DisconnectReason.SERVER),
    ],
)
async def test_a_refused_login_ends_the_link(
    whatsapp: WhatsAppServer,
    driver: NeonizeDriver,
    session: SessionFactory,
    failure: int,
    reason: DisconnectReason,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # neonize may lose the keys to a 401 before it has read its own name: it is then silent, and waited for.
    monkeypatch.setattr(connection, "START_TIMEOUT", 10.0)
    one = session()
    await paired(one, driver, whatsapp)
    whatsapp.phone(OWN).fail_login(failure)
    async with one.link(driver) as link:
        assert (await link.next(LinkEnded)).reason is reason


@pytest.mark.parametrize(("code", "seconds"), [("101", 600), ("110", 3600)], ids=["known", "unknown code"])
async def test_a_temporary_ban_says_until_when(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory, code: str, seconds: int
) -> None:
    one = session()
    await paired(one, driver, whatsapp)
    whatsapp.phone(OWN).fail_login(402, code=code, expire="600")
    before = datetime.now(UTC)
    async with one.link(driver) as link:
        ended = await link.next(LinkEnded)
    assert ended.reason is DisconnectReason.TEMPORARILY_BANNED
    assert ended.until is not None
    assert before <= ended.until - timedelta(seconds=seconds) <= datetime.now(UTC)


@pytest.mark.parametrize("failure", [413])
async def test_a_stanza_that_kills_the_worker(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory, failure: int
) -> None:
    one = session()
    await paired(one, driver, whatsapp)
    whatsapp.phone(OWN).fail_login(failure)
    async with one.link(driver) as link:
        ended = await link.next(LinkEnded)
        assert ended.reason is DisconnectReason.WORKER_CRASHED
        assert (ended.detail or "").startswith("signal 6 (SIGABRT): panic: ")
    async with one.link(driver) as link:
        await link.next(LinkUp)


async def test_another_client_takes_the_link(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    phone = whatsapp.phone(OWN)
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        # Left open: where the client is slow, an end of the stream overtakes the error before it.
        await phone.stream_error("replaced", close=False)
        assert (await link.next(LinkEnded)).reason is DisconnectReason.REPLACED
        await phone.wait_disconnected()


async def test_a_stream_error_makes_the_loss_the_servers(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    phone, other = whatsapp.phone(OWN), whatsapp.contact(OTHER)
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        await phone.stream_error(500, close=False)
        await other.send(OWN, "what comes after the error has come")
        await link.next(InboundMessage)
        await phone.drop()
        assert (await link.next(LinkLost)).reason is DisconnectReason.SERVER


async def test_the_phone_unlinks_the_device(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    one = session()
    async with one.link(driver) as link:
        await pair(link, whatsapp)
        await whatsapp.phone(OWN).unlink()
        assert (await link.next(LinkEnded)).reason is DisconnectReason.LOGGED_OUT
        with pytest.raises(SessionNotConnected):
            await link.connection.send(Address(OTHER), Text(text="x"))
    async with one.link(driver) as link:
        await pair(link, whatsapp)


async def test_logs_out(whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory) -> None:
    one = session()
    async with one.link(driver) as link:
        await pair(link, whatsapp)
        await link.connection.call(LogOut())
        assert (await link.next(LinkEnded)).reason is DisconnectReason.LOGGED_OUT
    assert whatsapp.phone(OWN).devices == ()
    async with one.link(driver) as link:
        await link.next(PairingOffered)


async def test_a_number_without_whatsapp(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        with pytest.raises(RecipientNotOnWhatsapp):
            await link.connection.send(Address("79990000000"), Text(text="x"))


async def test_an_unacknowledged_send_ends_with_its_connection(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    other = whatsapp.contact(OTHER)
    async with anyio.create_task_group() as tasks, session().link(driver) as link:

        async def send() -> None:
            with pytest.raises(SendTimeout):
                await link.connection.send(Address(OTHER), Text(text="x"))

        await pair(link, whatsapp)
        whatsapp.phone(OWN).withhold_acks()
        tasks.start_soon(send)
        await other.next_message()


@pytest.mark.timeout(150)
async def test_a_success_without_the_recipients_keys_is_not_believed(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    other = whatsapp.contact(OTHER)
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        whatsapp.phone(OWN).withhold_iq("encrypt")
        with pytest.raises(SendTimeout, match="keys"):
            await link.connection.send(Address(OTHER), Text(text="x"))
    assert other.received == ()


async def test_a_killed_worker_costs_its_sessions_one_link(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    whatsapp.contact(OTHER)
    one, two = session("one"), session("two")
    async with whatsapp.driver(sessions_per_worker=1) as driver:
        async with one.link(driver) as first, two.link(driver) as second:
            await pair(first, whatsapp)
            await pair(second, whatsapp, "79002223344")
            whatsapp.phone(OWN).withhold_acks()
            async with anyio.create_task_group() as tasks:

                async def send() -> None:
                    with pytest.raises(SendTimeout):
                        await first.connection.send(Address(OTHER), Text(text="x"))

                tasks.start_soon(send)
                await whatsapp.contact(OTHER).next_message()
                victim = next(worker for worker in driver.workers() if worker.sessions == ("one",))
                os.kill(victim.pid, signal.SIGKILL)
            ended = await first.next(LinkEnded)
            assert ended.reason is DisconnectReason.WORKER_CRASHED
            assert ended.detail == "signal 9 (SIGKILL)"
            await second.connection.send(Address(OTHER), Text(text="still here"))
        async with one.link(driver) as link:
            await link.next(LinkUp)


async def test_a_pairing_that_is_abandoned_leaves_no_worker(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    async with session().link(driver) as link:
        await link.next(PairingOffered)
        assert [worker.role for worker in driver.workers()] == ["pairing"]
    await until(lambda: driver.workers() == (), timeout=20)


async def test_pairings_queue_in_the_order_of_their_coming(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    async with whatsapp.driver(max_pairings=1) as driver, session("one").link(driver) as first:
        await first.next(PairingOffered)
        async with session("two").link(driver) as second:
            await second.next(PairingQueued)
            assert [type(event) for event in second.events] == [PairingQueued]
            await pair(first, whatsapp)
            await second.next(PairingOffered)
            assert [type(event) for event in second.events] == [PairingQueued, PairingStarted, PairingOffered]


async def test_a_broken_line_ends_the_pairing(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    async with session().link(driver) as link:
        await link.next(PairingOffered)
        await whatsapp.drop()
        ended = await link.next(LinkEnded)
        assert (ended.reason, ended.detail) == (DisconnectReason.PAIRING_FAILED, "the line broke")


async def test_the_last_code_expires(session: SessionFactory) -> None:
    async with WhatsAppServer(refs=1) as whatsapp, whatsapp.driver() as driver, session().link(driver) as link:
        await link.next(PairingOffered)
        assert (await link.next(LinkEnded, timeout=30)).reason is DisconnectReason.PAIRING_TIMEOUT


async def test_one_connection_a_session(
    whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory
) -> None:
    one = session()
    async with one.link(driver) as link:
        await link.next(PairingOffered)
        with pytest.raises(DriverError, match="has a connection already"):
            async with driver.connect(one.record, one.device):
                pass
        with pytest.raises(DriverError, match="is open already"):
            async with driver.inbox(one.record.key, one.device):
                pass


async def test_sessions_share_a_worker_until_it_is_full(whatsapp: WhatsAppServer, session: SessionFactory) -> None:
    sessions = [session(str(number)) for number in range(3)]
    async with whatsapp.driver(sessions_per_worker=2) as driver:
        for number, one in enumerate(sessions):
            await paired(one, driver, whatsapp, f"7900000000{number}")
    async with whatsapp.driver(sessions_per_worker=2) as driver, anyio.create_task_group() as tasks:
        up = [anyio.Event() for _ in sessions]
        done = anyio.Event()

        async def hold(number: int) -> None:
            async with sessions[number].link(driver) as link:
                await link.next(LinkUp)
                up[number].set()
                await done.wait()

        for number in range(3):
            tasks.start_soon(hold, number)
        for event in up:
            await event.wait()
        assert sorted(len(worker.sessions) for worker in driver.workers()) == [1, 2]
        done.set()


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_on_trio(whatsapp: WhatsAppServer, driver: NeonizeDriver, session: SessionFactory) -> None:
    other = whatsapp.contact(OTHER)
    async with session().link(driver) as link:
        await pair(link, whatsapp)
        await link.connection.send(Address(OTHER), Text(text="Hello"))
        assert (await other.next_message()).text == "Hello"
