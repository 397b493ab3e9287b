from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wasessionpool.testing.whatsapp.errors import UnsafeEnvironment
from wasessionpool.testing.whatsapp.trust import (
    ROOT_KEY_VARIABLE,
    WHATSAPP_ROOT_KEY,
    refuse_foreign_proxy,
    replace_root_key,
    root_key_from,
)

GOOD = {"HTTPS_PROXY": "http://127.0.0.1:9", ROOT_KEY_VARIABLE: "ab" * 32}


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "socks5://127.9.9.9:1", "http://[::1]:80"])
def test_loopback_proxies(url: str) -> None:
    refuse_foreign_proxy(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:80",
        "http://localhost:80",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://[::1",
        "http://",
    ],
)
def test_foreign_proxies(url: str) -> None:
    with pytest.raises(UnsafeEnvironment, match="not a loopback address"):
        refuse_foreign_proxy(url)


def test_the_environment() -> None:
    assert root_key_from(GOOD) == b"\xab" * 32
    for change in (
        {"HTTPS_PROXY": ""},
        {"HTTPS_PROXY": "http://example.com:80"},
        {"https_proxy": "http://example.com:80"},
        {"NO_PROXY": "*"},
        {"no_proxy": "whatsapp.com"},
        {ROOT_KEY_VARIABLE: ""},
        {ROOT_KEY_VARIABLE: "abcd"},
        {ROOT_KEY_VARIABLE: "no hex"},
    ):
        with pytest.raises(UnsafeEnvironment):
            root_key_from(GOOD | change)


@pytest.mark.parametrize("change", [{"HTTPS_PROXY": "http://example.com"}, {ROOT_KEY_VARIABLE: ""}])
def test_a_worker_refuses_to_start_where_it_could_reach_whatsapp(change: dict[str, str]) -> None:
    environment = {**os.environ, **GOOD, "NO_PROXY": "", "no_proxy": "", "https_proxy": "http://127.0.0.1:9", **change}
    worker = [sys.executable, "-X", "importtime", "-m", "wasessionpool.testing.whatsapp.worker"]
    ended = subprocess.run(worker, env=environment, capture_output=True, text=True, timeout=30, check=False)
    complaint = [line for line in ended.stderr.splitlines() if not line.startswith("import time:")]
    assert (ended.returncode, len(complaint), ended.stdout) == (2, 1, "")
    assert "neonize" not in ended.stderr
    assert "cryptography" not in ended.stderr


def test_a_worker_says_that_the_root_was_replaced() -> None:
    script = (
        "import wasessionpool.drivers.neonize.worker as ordinary\n"
        "from wasessionpool.testing.whatsapp.worker import main\n"
        "ordinary.main = lambda **_: print('an ordinary worker from here on')\n"
        "main()\n"
    )
    environment = {**os.environ, **GOOD, "NO_PROXY": "", "no_proxy": "", "https_proxy": GOOD["HTTPS_PROXY"]}
    worker = [sys.executable, "-c", script]
    ended = subprocess.run(worker, env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert "the Noise trust root was replaced: this worker speaks to a loopback WhatsApp only" in ended.stderr
    assert ended.stdout == "an ordinary worker from here on\n"


def test_without_the_library_the_key_is_nowhere() -> None:
    with pytest.raises(RuntimeError, match="0 places"):
        replace_root_key(bytes(32))
    with pytest.raises(ValueError, match="32 bytes"):
        replace_root_key(WHATSAPP_ROOT_KEY[:-1])
