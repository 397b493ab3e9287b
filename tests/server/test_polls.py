"""Reactions, polls and votes."""

from __future__ import annotations

from typing import Any

import pytest

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.addresses import lid_of
from wasessionpool.testing.whatsapp.errors import DecryptionError
from wasessionpool.testing.whatsapp.polls import PollSecret
from wasessionpool.testing.whatsapp.whatsapp_pb2 import MessageKey

pytestmark = pytest.mark.anyio

OWN = "79686484488"
ANN = "79001234567"
BOB = "79007654321"


def test_a_vote_is_for_those_who_have_the_poll() -> None:
    poll = PollSecret("ID", lid_of(ANN), ("tea", "coffee", "water"), b"s" * 32)
    vote = poll.seal(lid_of(BOB), ["water", "tea"], MessageKey(id="ID")).poll_update.vote
    assert poll.open(lid_of(BOB), vote) == ("tea", "water")
    for other in (
        PollSecret("ID", lid_of(ANN), poll.options, b"t" * 32),
        PollSecret("DI", lid_of(ANN), poll.options, poll.secret),
    ):
        with pytest.raises(DecryptionError):
            other.open(lid_of(BOB), vote)
    with pytest.raises(DecryptionError):
        poll.open(lid_of(OWN), vote)
    with pytest.raises(ValueError, match="not among the options of the poll: milk"):
        poll.seal(lid_of(BOB), ["milk"], MessageKey())


async def test_reactions_go_both_ways(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    ann = whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        sent = await client.call("send", ANN, "news")
        await ann.react(await ann.next_message(), "👍")
        event = await client.next("Message")
        assert (event["kinds"], event["target"], event["emoji"]) == (["reactionMessage"], sent, "👍")

        answer = await ann.send(OWN, "answer")
        await client.next("Message")
        for emoji in ("❤️", ""):
            await client.call("react", f"77{ANN}@lid", answer, emoji)
            message = await ann.next_message()
            assert (message.kind, message.target, message.text) == ("reaction", answer, emoji)
        assert ann.undecryptable == 0


async def test_polls_go_both_ways(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    phone, ann = whatsapp.phone(OWN), whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        asked = await client.call("send_poll", ANN, "When?", "today", "tomorrow")
        poll = await ann.next_message()
        assert (poll.id, poll.kind, poll.text, poll.options) == (asked, "poll", "When?", ("today", "tomorrow"))
        await ann.vote(poll, ["tomorrow"])
        assert (await client.next("Message"))["kinds"] == ["pollUpdateMessage"]
        assert phone.received[-1].options == ("tomorrow",)
        assert (phone.received[-1].kind, phone.received[-1].target) == ("vote", asked)

        opened = await ann.send_poll(OWN, "Where?", ["here", "there"])
        event = await client.next("Message")
        assert (event["id"], event["kinds"], event["question"]) == (opened, ["pollCreationMessage"], "Where?")
        await client.call("vote", f"77{ANN}@lid", opened, "there")
        vote = await ann.next_message()
        assert (vote.kind, vote.target, vote.options) == ("vote", opened, ("there",))
        with pytest.raises(ValueError, match="is no poll"):
            await ann.vote(vote, ["here"])
        assert ann.undecryptable == phone.undecryptable == 0


async def test_a_poll_in_a_group(whatsapp: WhatsAppServer, start_client: Any, pair: Any) -> None:
    ann, bob = whatsapp.contact(ANN), whatsapp.contact(BOB)
    async with start_client() as client:
        await pair(client)
        group = await whatsapp.group("Team", [ANN, BOB, OWN])
        await client.next("JoinedGroup")
        opened = await ann.send_poll(group.jid, "Where?", ["here", "there"])
        await client.next("Message")
        await client.call("vote", group.jid, opened, "there")
        for reader in (ann, bob):
            message = await reader.next_message()
            while message.kind != "vote":
                message = await reader.next_message()
            assert (message.target, message.options, message.sender) == (opened, ("there",), OWN)
        await bob.react(bob.received[0], "👍")
        event = await client.next("Message")
        assert (event["target"], event["emoji"]) == (opened, "👍")


async def test_what_was_sent_is_edited_and_revoked(whatsapp: WhatsAppServer) -> None:
    ann, bob = whatsapp.contact(ANN), whatsapp.contact(BOB)
    group = await whatsapp.group("Team", [ANN, BOB])
    for to in (BOB, group.jid):
        sent = await ann.send(to, "at five")
        await ann.edit(to, sent, "at six")
        await ann.revoke(to, sent)
        got = [await bob.next_message() for _ in range(3)]
        assert [(message.kind, message.text, message.target) for message in got] == [
            ("text", "at five", ""),
            ("edit", "at six", sent),
            ("revoke", "", sent),
        ]
