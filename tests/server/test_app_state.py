"""App state: its arithmetic, and plain neonize that learns its name from it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from wasessionpool.testing import WhatsAppServer
from wasessionpool.testing.whatsapp.app_state import AppState, Collection
from wasessionpool.testing.whatsapp.whatsapp_pb2 import SyncMutation, SyncPatch

pytestmark = pytest.mark.anyio

OWN = "79686484488"
ANN = "79001234567"


def patch(index: bytes, value: bytes, operation: int = 0) -> SyncPatch:
    record = SyncMutation.Record(index=SyncMutation.Blob(blob=index), value=SyncMutation.Blob(blob=value))
    return SyncPatch(mutations=[SyncMutation(operation=operation, record=record)])


def test_the_hash_is_of_what_holds_and_not_of_how_it_came_to_be() -> None:
    detour, straight = Collection("regular"), Collection("regular")
    for one in (patch(b"a", b"1" * 32), patch(b"b", b"2" * 32), patch(b"a", b"3" * 32), patch(b"b", b"2" * 32, 1)):
        detour.append(one)
    straight.append(patch(b"a", b"3" * 32))
    assert detour._sum == straight._sum != bytes(128)
    straight.append(patch(b"a", b"3" * 32, 1))
    assert straight._sum == bytes(128)
    assert [SyncPatch.FromString(one).version.version for one in detour.patches] == [1, 2, 3, 4]


def test_sums_of_16_bits_overflow() -> None:
    collection = Collection("regular")
    collection._sum = struct.pack("<64H", *[65535] * 64)
    collection.append(patch(b"a", b"1" * 32))
    fresh = Collection("regular")
    fresh.append(patch(b"a", b"1" * 32))
    sums = [struct.unpack("<64H", each._sum) for each in (collection, fresh)]
    assert sums[0] == tuple((value - 1) % 65536 for value in sums[1])


def test_two_accounts_share_no_key() -> None:
    keys = {state.key_share().SerializeToString() for state in (AppState(), AppState())}
    assert len(keys) == 2


async def test_a_client_learns_its_name_and_can_be_present(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    phone, ann = whatsapp.phone(OWN, name="Company"), whatsapp.contact(ANN)
    async with start_client() as client:
        await pair(client)
        await client.call("wait_name", "Company")
        await client.call("send_presence")
        sent = await ann.send(OWN, "hello")
        assert (await ann.wait_receipt(sent, "")).sender == OWN

        await phone.set_name("Company & Sons")
        await client.call("wait_name", "Company & Sons")
        await phone.wait_delivered()
        [key_share] = phone.receipts[0].message_ids
        for kind in ("peer_msg", "sender"):
            await phone.wait_receipt(key_share, kind)
    await phone.wait_disconnected()
    await phone.set_name("Renamed")
    async with start_client() as client:
        await client.next("Connected")
        await client.call("wait_name", "Renamed")
        await client.call("send_presence")


async def test_what_a_client_writes_reaches_its_other_devices(
    whatsapp: WhatsAppServer, start_client: Any, pair: Any
) -> None:
    phone = whatsapp.phone(OWN, name="Company")
    async with start_client("One") as one, start_client("Two") as two:
        for client in (one, two):
            await pair(client)
            await client.call("wait_name", "Company")
        await one.call("set_name", "By one")
        await two.call("wait_name", "By one")
        await phone.set_name("By the phone")
        for client in (one, two):
            await client.call("wait_name", "By the phone")
