"""The backends of the examples keep what the conformance suites require, and serve a pool."""

from __future__ import annotations

import importlib.util
import json
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from wasessionpool import PoolSettings, SessionKey, Status, WhatsAppSessionPool
from wasessionpool.testing import FakeCoordinator, FakeDriver, check_hook, check_store, sample_events

pytestmark = pytest.mark.anyio
EXAMPLES = Path(__file__).parents[2] / "examples"
COMPANY = "962302"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_the_store(tmp_path: Path) -> None:
    store_type, numbers = load("custom_store").SQLiteStore, count()
    await check_store(lambda: store_type(tmp_path / str(next(numbers))), reopen=lambda store: store_type(store.path))


async def test_the_hook(tmp_path: Path) -> None:
    hook_type = load("custom_hook").EventFile
    await check_hook(lambda: hook_type(tmp_path / "events.jsonl"))
    (tmp_path / "events.jsonl").unlink()
    hook = hook_type(tmp_path / "events.jsonl")
    for event in sample_events():
        await hook(event)
    lines = (tmp_path / "events.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["type"] for line in lines] == [event.type for event in sample_events()]
    assert not any("Hello" in line or "a-pairing-code" in line for line in lines)


async def test_both_serve_a_pool(tmp_path: Path) -> None:
    store = load("custom_store").SQLiteStore(tmp_path / "sessions")
    hook = load("custom_hook").EventFile(tmp_path / "events.jsonl")
    settings = PoolSettings(session_path=tmp_path)
    for start in range(2):
        driver, coordinator = FakeDriver(), FakeCoordinator()
        async with WhatsAppSessionPool(
            settings, driver=driver, store=store, coordinator=coordinator, hooks=[hook]
        ) as pool:
            status = await pool.create_session(COMPANY)
            if start == 0:
                assert status.qr is not None
                driver.link.up()
            assert (await pool.wait_until_connected(COMPANY, timeout=60)).status is Status.CONNECTED
    record = await store.get(SessionKey(COMPANY))
    assert record is not None
    assert record.phone_number == "+79686484488"
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    assert [event["type"] for event in events if event["type"] in ("qr", "connected")] == [
        "qr",
        "connected",
        "connected",
    ]
