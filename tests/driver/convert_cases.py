"""What neonize's protobuf messages become; `test_convert.py` runs this in a process that may load neonize."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from wasessionpool.drivers.neonize import convert
from wasessionpool.drivers.neonize.binding import load_neonize
from wasessionpool.drivers.neonize.hosted import Hosted
from wasessionpool.drivers.neonize.wire import Start
from wasessionpool.links import KeepAliveMissed, LinkEnded, LinkLost, LinkUp, PairingAccepted, PairingOffered
from wasessionpool.messages import MAX_TEXT
from wasessionpool.models import Contact, DisconnectReason, Presence, Typing

NEONIZE = load_neonize()
EVENTS, CONTENT = NEONIZE.events, NEONIZE.content
ME = Contact(id="79001111111@s.whatsapp.net", phone_number="+79001111111", lid="771@lid")
PHONE, LID = "79002222222@s.whatsapp.net", "772@lid"
START = Start(session="a:main:1", database="/x", inbox="/i", inbox_max_bytes=1, device_name="n")
THEM = Contact(id=PHONE, phone_number="+79002222222", lid=LID)


EDIT = CONTENT.ProtocolMessage.MESSAGE_EDIT
KEY = CONTENT.Message().protocolMessage.key
KEY.ID = "Q3"


def jid(text: str = "", device: int = 0) -> Any:
    user, _, server = text.partition("@")
    return EVENTS.JID(User=user, RawAgent=0, Device=device, Integrator=0, Server=server)


def source(chat: str, sender: str, sender_alt: str = "", recipient_alt: str = "", **flags: bool) -> Any:
    return EVENTS.MessageSource(
        Chat=jid(chat),
        Sender=jid(sender, device=3),
        SenderAlt=jid(sender_alt, device=3),
        RecipientAlt=jid(recipient_alt),
        BroadcastListOwner=jid(),
        IsFromMe=flags.get("from_me", False),
        IsGroup=flags.get("group", False),
    )


def event(content: Any, where: Any = None, edit: str = "", **fields: Any) -> Any:
    info = EVENTS.MessageInfo(
        MessageSource=where or source(LID, LID, PHONE),
        ID="3EB0",
        ServerID=0,
        Type="text",
        Pushname="Anna",
        Timestamp=1_700_000_000_000,
        Category="",
        Multicast=False,
        MediaType="",
        Edit=edit,
    )
    flags = [field.name for field in EVENTS.Message.DESCRIPTOR.fields if field.name.startswith("Is")]
    built = EVENTS.Message(Info=info, UnavailableRequestID="", RetryCount=0, **(dict.fromkeys(flags, False) | fields))
    if content is not None:
        built.Message.CopyFrom(content)
    return EVENTS.Message.FromString(built.SerializeToString())


def text(content: str) -> Any:
    return CONTENT.Message(conversation=content)


def test_a_text() -> None:
    message = convert.message(event(text("Hello")), ME)
    assert message is not None
    assert (message.message_id, message.kind, message.text, message.quoted) == ("3EB0", "text", "Hello", None)
    assert (message.chat, message.sender, message.sender_name) == (THEM, THEM, "Anna")
    assert message.timestamp == datetime.fromtimestamp(1_700_000_000, UTC)


def test_a_text_over_the_limit_is_cut() -> None:
    message = convert.message(event(text("я" * (MAX_TEXT + 1))), ME)
    assert message is not None
    assert message.text == "я" * MAX_TEXT


@pytest.mark.parametrize(
    ("where", "chat", "sender"),
    [
        (source(LID, LID), Contact(id=LID, lid=LID), Contact(id=LID, lid=LID)),
        (source(PHONE, PHONE, LID), THEM, THEM),
        (source("1203@g.us", LID, PHONE, group=True), Contact(id="1203@g.us"), THEM),
        (source(LID, "771@lid", "", PHONE, from_me=True), THEM, ME),
        (source("771@lid", "771@lid", from_me=True), ME, ME),
        (source("1203@g.us", "771@lid", group=True, from_me=True), Contact(id="1203@g.us"), ME),
        (source("9@broadcast", LID, PHONE), THEM, THEM),
    ],
    ids=["lid only", "phone addressed", "group", "own phone", "note to self", "own phone in a group", "broadcast list"],
)
def test_people(where: Any, chat: Contact, sender: Contact) -> None:
    message = convert.message(event(text("x"), where), ME)
    assert message is not None
    assert (message.chat, message.sender) == (chat, sender)


@pytest.mark.parametrize("field", [field.name for field in CONTENT.Message.DESCRIPTOR.fields])
def test_every_kind_has_a_plain_name_or_is_no_message(field: str) -> None:
    content = CONTENT.Message()
    if field == "conversation":
        content.conversation = "x"
    else:
        getattr(content, field).SetInParent()
    message = convert.message(event(content), ME)
    assert message is None or re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", message.kind)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (CONTENT.Message(imageMessage=CONTENT.ImageMessage(caption="a cat")), "image", "a cat"),
        (CONTENT.Message(videoMessage=CONTENT.VideoMessage()), "video", None),
        (CONTENT.Message(ptvMessage=CONTENT.VideoMessage()), "video", None),
        (CONTENT.Message(audioMessage=CONTENT.AudioMessage()), "audio", None),
        (CONTENT.Message(documentMessage=CONTENT.DocumentMessage(fileName="x.pdf")), "document", None),
        (CONTENT.Message(stickerMessage=CONTENT.StickerMessage()), "sticker", None),
        (CONTENT.Message(locationMessage=CONTENT.LocationMessage(name="home")), "location", "home"),
        (CONTENT.Message(liveLocationMessage=CONTENT.LiveLocationMessage()), "live_location", None),
        (CONTENT.Message(contactMessage=CONTENT.ContactMessage(displayName="Anna")), "contact", "Anna"),
        (CONTENT.Message(contactsArrayMessage=CONTENT.ContactsArrayMessage()), "contact", None),
        (CONTENT.Message(pollCreationMessageV3=CONTENT.PollCreationMessage(name="Tea?")), "poll", "Tea?"),
        (CONTENT.Message(reactionMessage=CONTENT.ReactionMessage(text="👍")), "reaction", "👍"),
        (CONTENT.Message(viewOnceMessageV2=CONTENT.FutureProofMessage()), "view_once", None),
    ],
)
def test_kinds(content: Any, kind: str, words: str | None) -> None:
    message = convert.message(event(content), ME)
    assert message is not None
    assert (message.kind, message.text) == (kind, words)


def test_what_a_message_quotes() -> None:
    answer = CONTENT.Message(
        extendedTextMessage=CONTENT.ExtendedTextMessage(text="yes", contextInfo=CONTENT.ContextInfo(stanzaID="Q1"))
    )
    message = convert.message(event(answer), ME)
    assert message is not None
    assert (message.kind, message.text, message.quoted) == ("text", "yes", "Q1")
    reaction = CONTENT.Message()
    reaction.reactionMessage.key.ID = "Q2"
    message = convert.message(event(reaction), ME)
    assert message is not None
    assert message.quoted == "Q2"


def test_what_is_done_to_an_earlier_message() -> None:
    kind = CONTENT.ProtocolMessage
    image = CONTENT.Message(imageMessage=CONTENT.ImageMessage(caption="a dog"))
    for change, kind_and_text in (
        (kind(key=KEY, type=EDIT, editedMessage=text("better")), ("edited", "better")),
        (kind(key=KEY, type=EDIT, editedMessage=image), ("edited", "a dog")),
        (kind(key=KEY, type=kind.REVOKE), ("revoked", None)),
    ):
        for marks in ({"edit": "1", "IsEdit": True}, {"edit": "7"}, {}):
            message = convert.message(event(CONTENT.Message(protocolMessage=change), **marks), ME)
            assert message is not None
            assert ((message.kind, message.text), message.quoted) == (kind_and_text, "Q3")
            assert (message.message_id, message.sender) == ("3EB0", THEM)


@pytest.mark.parametrize(
    "nothing",
    [
        event(None),
        event(CONTENT.Message(protocolMessage=CONTENT.ProtocolMessage())),
        event(CONTENT.Message(senderKeyDistributionMessage=CONTENT.SenderKeyDistributionMessage())),
        event(CONTENT.Message(protocolMessage=CONTENT.ProtocolMessage(key=KEY, type=3))),
        event(CONTENT.Message(protocolMessage=CONTENT.ProtocolMessage(key=KEY, type=EDIT))),
        event(text("x"), IsEdit=True),
        event(text("x"), edit="7"),
        event(text("x"), source("status@broadcast", LID, PHONE)),
        event(text("x"), source("120363@newsletter", "120363@newsletter")),
    ],
    ids=["empty", "protocol", "keys", "timer", "edit of nothing", "edit", "revoke", "status", "newsletter"],
)
def test_what_is_no_message(nothing: Any) -> None:
    assert convert.message(nothing, ME) is None


@pytest.mark.parametrize(("kind", "name"), [(1, "delivered"), (4, "read"), (6, "played"), (3, None), (5, None)])
def test_receipts(kind: int, name: str | None) -> None:
    receipt = convert.receipt(
        EVENTS.Receipt(
            MessageSource=source(LID, LID, PHONE), MessageIDs=["a", "b"], Timestamp=1_700_000_000, Type=kind
        ),
        ME,
    )
    if name is None:
        assert receipt is None
    else:
        assert receipt is not None
        assert (receipt.receipt, receipt.message_ids, receipt.chat, receipt.sender) == (name, ("a", "b"), THEM, THEM)
        assert receipt.timestamp == datetime.fromtimestamp(1_700_000_000, UTC)


@pytest.mark.parametrize("timestamp", [-(2**63), -1, 0, 2**63 - 1])
def test_no_timestamp_breaks_a_message(timestamp: int) -> None:
    assert convert.moment(timestamp).tzinfo is UTC


def test_presences_and_typing() -> None:
    gone = EVENTS.Presence(From=jid(PHONE), Unavailable=True, LastSeen=1_700_000_000)
    here = EVENTS.Presence(From=jid(PHONE), Unavailable=False, LastSeen=-62135596800)
    who = Contact(id=PHONE, phone_number="+79002222222")
    seen = datetime.fromtimestamp(1_700_000_000, UTC)
    assert convert.presence(gone, ME) == Presence(contact=who, available=False, last_seen=seen)
    assert convert.presence(here, ME) == Presence(contact=who, available=True)
    for state, media, expected in (
        ("COMPOSING", "TEXT", "composing"),
        ("COMPOSING", "AUDIO", "recording"),
        ("PAUSED", "TEXT", "paused"),
    ):
        kind = EVENTS.ChatPresence
        told = kind(MessageSource=source(LID, LID, PHONE), State=getattr(kind, state), Media=getattr(kind, media))
        assert convert.typing(told, ME) == Typing(chat=THEM, sender=THEM, state=expected)


def hosted(*, pairing: bool = False) -> Hosted:
    return Hosted(START.model_copy(update={"pairing": pairing}), credit=1)


def device() -> Any:
    return EVENTS.Device(
        JID=jid("79001111111@s.whatsapp.net", 5),
        LID=jid("771@lid", 5),
        Platform="android",
        BussinessName="",
        PushName="",
        Initialized=True,
    )


def test_a_link_names_its_account_without_the_device() -> None:
    session = hosted()
    assert session.interpret("Device", device()) is None
    assert session.interpret("Connected", EVENTS.Connected(status=True)) == LinkUp(
        jid=ME.id, lid=ME.lid, phone_number="+79001111111"
    )


def test_pairing_events() -> None:
    status = EVENTS.PairStatus(ID=jid(PHONE, 2), BusinessName="", Platform="", Status=EVENTS.PairStatus.SUCCESS)
    assert hosted(pairing=True).interpret("PairStatus", status) == PairingAccepted(jid=PHONE)
    status.Status = EVENTS.PairStatus.ERROR
    failed = hosted(pairing=True).interpret("PairStatus", status)
    assert isinstance(failed, LinkEnded)
    assert failed.reason is DisconnectReason.PAIRING_FAILED


def test_a_code_on_a_shard_means_the_keys_are_gone() -> None:
    ended = hosted().offered("code", at=0)
    assert isinstance(ended, LinkEnded)
    assert ended.reason is DisconnectReason.LOGGED_OUT


def test_codes_and_their_end() -> None:
    session = hosted(pairing=True)
    lifetimes = [session.offered("code", at=at) for at in (0, 60, 80)]
    assert [offer.lifetime for offer in lifetimes if isinstance(offer, PairingOffered)] == [60, 20, 20]
    reasons = {
        ("success", 90): None,
        ("timeout", 90): DisconnectReason.PAIRING_FAILED,
        ("timeout", 100): DisconnectReason.PAIRING_TIMEOUT,
        ("timeout", 130): DisconnectReason.PAIRING_TIMEOUT,
        ("error", 100): DisconnectReason.PAIRING_FAILED,
        ("err-scanned-without-multidevice", 90): DisconnectReason.PAIRING_FAILED,
        ("passkey-request", 90): DisconnectReason.PAIRING_FAILED,
        ("err-client-outdated", 90): DisconnectReason.OUTDATED,
    }
    for (status, at), reason in reasons.items():
        ended = session.pairing_ended(status, at)
        assert (ended.reason if isinstance(ended, LinkEnded) else ended) is reason


def test_the_end_of_the_first_code() -> None:
    """It lives longer than others, unless it is the only one."""
    session = hosted(pairing=True)
    session.offered("code", at=0)
    expired = [at for at in (10, 18, 20, 22, 30) if ended_of(session, at) is DisconnectReason.PAIRING_TIMEOUT]
    assert expired == [20, 22]


def ended_of(session: Hosted, at: float) -> DisconnectReason:
    ended = session.pairing_ended("timeout", at)
    assert isinstance(ended, LinkEnded)
    return ended.reason


def test_the_reasons_of_neonize() -> None:
    enum = EVENTS.ConnectFailureReason
    for number, reason in {
        enum.Value("LOGGED_OUT"): DisconnectReason.LOGGED_OUT,
        enum.Value("MAIN_DEVICE_GONE"): DisconnectReason.LOGGED_OUT,
        enum.Value("UNKNOWN_LOGOUT"): DisconnectReason.BANNED,
    }.items():
        ended = hosted().interpret("LoggedOut", EVENTS.LoggedOut(OnConnect=True, Reason=number))
        assert isinstance(ended, LinkEnded)
        assert ended.reason is reason


def test_keep_alives_and_lost_lines() -> None:
    session = hosted()
    missed = session.interpret("KeepAliveTimeout", EVENTS.KeepAliveTimeout(ErrorCount=2, LastSuccess=0))
    assert missed == KeepAliveMissed(failures=2)
    answered = session.interpret("KeepAliveTimeout", EVENTS.KeepAliveTimeout(ErrorCount=1, LastSuccess=1_767_225_600))
    assert answered == KeepAliveMissed(failures=1, answered_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert session.interpret("Disconnected", None) == LinkLost(reason=DisconnectReason.NETWORK)
    assert session.interpret("StreamError", None) is None
    assert session.interpret("Disconnected", None) == LinkLost(reason=DisconnectReason.SERVER)
