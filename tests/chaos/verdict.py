"""What must hold, looked up where it is known: at the server, and in what the application wrote to disk."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from .company import IN_HAND, Company
from .journal import read

RECEIPT_ID = re.compile(r'\bid="([0-9A-F]+)"')
MUTED = re.compile(r'^(\S+) (\d+):\d+ ← <ack .*type="(?:server-error|enc_rekey_retry)"')
MUTED_FOR = 15.0
"""Seconds after that receipt within which the next client acknowledges what the muted one opened and did not hand over:
it comes again where the line broke before it was acknowledged, and cannot be opened twice."""
LOST_AT_ONCE = 101
"""Messages of a session that may be lost where neonize is cut short: it had them, and had acknowledged them."""


def two_links(companies: Sequence[Company]) -> Iterator[str]:
    """Never two links of one session."""
    for company in companies:
        if company.phone.overlapping_logins:
            yield f"{company.id}: {company.phone.overlapping_logins} logins while a link was up"


def sends(companies: Sequence[Company], outgoing: Path) -> Iterator[str]:
    """No acknowledged send is lost, none is there more often than it may be."""
    may_be: Counter[str] = Counter()
    keyed: set[str] = set()
    acknowledged: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for entry in read(outgoing):
        match entry["what"]:
            case "try":
                may_be[entry["text"]] += 1
                if entry["keyed"]:
                    keyed.add(entry["text"])
            case "not sent":
                may_be[entry["text"]] -= 1
            case "sent":
                acknowledged[entry["company_id"]].append((entry["id"], entry["text"]))
    for company in companies:
        got = company.contact.received
        ids = Counter(message.id for message in got)
        for message_id, text in acknowledged[company.id]:
            if message_id not in ids:
                yield f"{company.id}: {text!r}, {message_id}, was acknowledged and is not there"
        for message_id, count in ids.items():
            if count > 1:
                yield f"{company.id}: message {message_id} is there {count} times"
        for text, count in Counter(message.text for message in got).items():
            most = min(may_be[text], 1) if text in keyed else may_be[text]
            if count > most:
                yield f"{company.id}: {text!r} is there {count} times, {most} expected at most"


def acknowledgements(wire: Path) -> dict[str, float]:
    """Return when devices acknowledged messages, by their ids."""
    found: dict[str, float] = {}
    with wire.open() as lines:
        for line in lines:
            if "← <receipt" in line and 'type="retry"' not in line:
                time = datetime.fromisoformat(line.split(" ", 1)[0]).timestamp()
                found |= dict.fromkeys(RECEIPT_ID.findall(line), time)
    return found


def muted(wire: Path) -> dict[str, list[float]]:
    """Return when devices took a receipt that ends neonize, by their numbers: at once, or at their next login."""
    found: dict[str, list[float]] = defaultdict(list)
    with wire.open() as lines:
        for match in filter(None, map(MUTED.match, lines)):
            found[match[2]].append(datetime.fromisoformat(match[1]).timestamp())
    return found


class Received:
    """What the application's durable handler has written down."""

    def __init__(self, incoming: Path, wire: Path) -> None:
        self._path = incoming
        self._wire = wire

    def missing(self, companies: Sequence[Company]) -> dict[Company, list[str]]:
        """Return the texts that were taken by a device and are not written down."""
        ids = {entry["id"] for entry in read(self._path)}
        missing = {
            company: [
                text
                for message_id, text in company.written.items()
                if message_id not in ids and message_id not in company.void
            ]
            for company in companies
        }
        return {company: texts for company, texts in missing.items() if texts}

    def violations(self, companies: Sequence[Company]) -> Iterator[str]:
        """Losses beyond what is documented, what came twice without saying so, and what went to the wrong company."""
        taken, ended = acknowledgements(self._wire), muted(self._wire)
        for company, texts in self.missing(companies).items():
            cuts = company.cuts + [(at - IN_HAND, at + MUTED_FOR) for at in ended[company.phone.number]]
            times = {text: taken.get(message_id, 0.0) for message_id, text in company.written.items()}
            for text in texts:
                if not any(begun <= times[text] <= end for begun, end in cuts):
                    yield f"{company.id}: {text!r} was {'taken' if times[text] else 'not taken'}, and is lost"
            if cuts and len(texts) > LOST_AT_ONCE * len(cuts):
                yield f"{company.id}: {len(texts)} messages lost, neonize was cut short {len(cuts)} times"
        new: Counter[tuple[str, str]] = Counter()
        for entry in read(self._path):
            if not entry["redelivered"]:
                new[entry["company_id"], entry["id"]] += 1
            if not entry["text"].startswith(f"in {entry['company_id']} "):
                yield f"{entry['company_id']} got {entry['text']!r}"
        for (company_id, message_id), count in new.items():
            if count > 1:
                yield f"{company_id}: message {message_id} came {count} times as if it were new"


def tracebacks(log: Path) -> Iterator[str]:
    """The application logs no error that nobody has foreseen; of a handler that fails it logs a line."""
    lines = log.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("Traceback"):
            yield f"the application logged a traceback after {lines[max(0, number - 1)]!r}"


def statuses(companies: Sequence[Company]) -> Iterator[str]:
    """Every session is in the status that its last fault calls for."""
    for company in companies:
        if not company.as_expected:
            reason = f", {company.reason}" if company.reason else ""
            yield (
                f"{company.id} is {company.status} ({company.said_reason}) and "
                f"{'' if company.phone.connected else 'not '}at the server, {company.expected}{reason} expected"
            )
