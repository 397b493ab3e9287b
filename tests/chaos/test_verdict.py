"""What chaos looks for is found where it is: each check sees its own violation, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.routing import send_from_phone

from . import verdict
from .company import Company
from .footprint import growth
from .journal import Journal
from .plan import make_plan

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def company() -> AsyncIterator[Company]:
    async with WhatsAppServer() as whatsapp:
        yield Company("company-0", whatsapp.phone("79680000000"), whatsapp.contact("79000000000"))


def arrive(company: Company, text: str) -> str:
    """Let a text from the company's phone be at its contact, and return its id."""
    return send_from_phone(company.phone._network, company.phone._account, company.contact.number, text)


def sends(company: Company, path: Path) -> list[str]:
    return list(verdict.sends([company], path))


async def test_sends(company: Company, tmp_path: Path) -> None:
    outgoing = Journal(path := tmp_path / "outgoing")
    outgoing.write(what="try", text="acknowledged", keyed=False)
    outgoing.write(what="sent", text="acknowledged", company_id=company.id, id=arrive(company, "acknowledged"))
    for outcome in ("unknown", "sent"):
        outgoing.write(what="try", text="twice, and told", keyed=False)
        message_id = arrive(company, "twice, and told")
        outgoing.write(what=outcome, text="twice, and told", company_id=company.id, id=message_id)
    outgoing.write(what="try", text="cut short by a kill", keyed=False)
    arrive(company, "cut short by a kill")
    assert sends(company, path) == []

    arrive(company, "acknowledged")
    outgoing.write(what="try", text="refused", keyed=False)
    outgoing.write(what="not sent", text="refused")
    arrive(company, "refused")
    for _ in range(2):
        outgoing.write(what="try", text="by its key", keyed=True)
        arrive(company, "by its key")
    outgoing.write(what="try", text="lost", keyed=False)
    outgoing.write(what="sent", text="lost", company_id=company.id, id="3EB0")
    assert sends(company, path) == [
        "company-0: 'lost', 3EB0, was acknowledged and is not there",
        "company-0: 'acknowledged' is there 2 times, 1 expected at most",
        "company-0: 'refused' is there 1 times, 0 expected at most",
        "company-0: 'by its key' is there 2 times, 1 expected at most",
    ]


async def test_what_was_received(company: Company, tmp_path: Path) -> None:
    incoming, wire = Journal(path := tmp_path / "incoming"), tmp_path / "wire.log"
    ids = [f"3EB0{number:04}" for number in range(102)]
    company.written = {message_id: f"in company-0 {number}" for number, message_id in enumerate(ids)}
    company.void = set(ids[2:])
    now = datetime.now(UTC)
    wire.write_text(
        f'{now.isoformat()} 79680000000:1 ← <receipt id="{ids[1]}" to="7779000000000@lid" type="inactive"/>\n'
    )
    received = verdict.Received(path, wire)
    assert list(received.violations([company]))[:2] == [
        "company-0: 'in company-0 0' was not taken, and is lost",
        "company-0: 'in company-0 1' was taken, and is lost",
    ]
    company.void.add(ids[0])
    company.cuts = [(now.timestamp() - 9, now.timestamp() - 4)]
    assert list(received.violations([company])) == ["company-0: 'in company-0 1' was taken, and is lost"]
    company.cut_short(1)
    assert list(received.violations([company])) == []
    company.void = set()
    company.cuts = [(0.0, now.timestamp() + 1)]
    assert list(received.violations([company])) == ["company-0: 102 messages lost, neonize was cut short 1 times"]

    company.cuts *= 2
    for redelivered in (False, True):
        incoming.write(company_id=company.id, text="in company-0 1", id=ids[1], redelivered=redelivered)
    assert list(received.violations([company])) == []
    assert len(received.missing([company])[company]) == 101
    incoming.write(company_id=company.id, text="in company-0 1", id=ids[1], redelivered=False)
    incoming.write(company_id="company-1", text="in company-0 2", id=ids[2], redelivered=False)
    assert list(received.violations([company])) == [
        "company-1 got 'in company-0 2'",
        "company-0: message 3EB00001 came 2 times as if it were new",
    ]


async def test_what_a_muted_neonize_had_in_hand_may_be_lost(company: Company, tmp_path: Path) -> None:
    now, wire = datetime.now(UTC), tmp_path / "wire.log"
    company.written = {"3EB00001": "in company-0 1"}
    taken = f'{now.isoformat()} 79680000000:1 ← <receipt id="3EB00001" to="7779000000000@lid" type="inactive"/>\n'
    received = verdict.Received(tmp_path / "incoming", wire)
    for number, seconds, lost in (
        ("79680000000", 1, 0),
        ("79680000000", 9, 1),
        ("79680000000", -9, 0),
        ("79680000000", -19, 1),
        ("79680000001", 1, 1),
    ):
        at = (now + timedelta(seconds=seconds)).isoformat()
        for attributes in ('class="receipt" id="3EB0" type="enc_rekey_retry"', 'type="server-error" class="receipt"'):
            wire.write_text(f"{taken}{at} {number}:1 ← <ack {attributes}/>\n")
            assert len(list(received.violations([company]))) == lost


async def test_statuses_and_links(company: Company) -> None:
    company.tell("connected", None)
    assert list(verdict.statuses([company])) == [
        "company-0 is connected (None) and not at the server, connected expected"
    ]
    company.expected, company.reason = "failed", "replaced"
    assert len(list(verdict.statuses([company]))) == 1
    company.tell("failed", "poisoned")
    assert len(list(verdict.statuses([company]))) == 1
    company.tell("failed", "replaced")
    assert list(verdict.statuses([company])) == []
    assert list(verdict.two_links([company])) == []
    company.phone._account.overlapping_logins = 1
    assert list(verdict.two_links([company])) == ["company-0: 1 logins while a link was up"]


def test_tracebacks(tmp_path: Path) -> None:
    log = tmp_path / "application.log"
    log.write_text("ERROR handler failed: HandlerFault\n")
    assert list(verdict.tracebacks(log)) == []
    log.write_text("ERROR its supervisor failed\nTraceback (most recent call last):\n  File\n")
    assert list(verdict.tracebacks(log)) == ["the application logged a traceback after 'ERROR its supervisor failed'"]


def test_growth_is_a_share_in_so_many_seconds() -> None:
    assert growth([(0.0, 90), (300.0, 100), (600.0, 110)], 600) == pytest.approx(0.2)
    assert growth([(0.0, 100), (300.0, 100)], 600) == 0


def test_a_seed_is_a_plan() -> None:
    plan = make_plan(7, 600, 20, 3)
    assert plan == make_plan(7, 600, 20, 3)
    assert plan != make_plan(8, 600, 20, 3)
    assert len({step.fault for step in plan}) > 15
    assert [step.at for step in plan] == sorted(step.at for step in plan)
    assert any(step.seconds is None for step in plan)
