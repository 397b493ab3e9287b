"""The pytest plugin as a newcomer meets it: pytest in a directory of its own, with what the docs say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
DOCS = ROOT / "docs" / "testing.md"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run pytest in `tmp_path`; any warning is an error."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)

    return run


def passed(ended: subprocess.CompletedProcess[str]) -> int:
    found = re.search(r"^(\d+) passed in", ended.stdout, re.MULTILINE)
    assert found is not None, ended.stdout + ended.stderr
    assert ended.returncode == 0, ended.stdout
    return int(found[1])


def test_the_example(run: Run, tmp_path: Path) -> None:
    shutil.copytree(SHOP, tmp_path, dirs_exist_ok=True)
    assert passed(run()) == 3


def test_the_docs_show_the_example() -> None:
    text = DOCS.read_text("utf-8")
    for name in ("test_shop.py", "test_shop_in_trouble.py"):
        assert (SHOP / name).read_text("utf-8").strip() in text, f"docs/testing.md shows another {name}"


def test_on_every_backend_with_settings_of_the_users_own(run: Run, tmp_path: Path) -> None:
    shutil.copy(SHOP / "shop.py", tmp_path)
    shutil.copy(SHOP / "test_shop.py", tmp_path)
    tmp_path.joinpath("conftest.py").write_text(
        "import pytest\n"
        "from wasessionpool import PoolSettings\n"
        "@pytest.fixture\n"
        "def whatsapp_settings(tmp_path):\n"
        "    return PoolSettings(session_path=tmp_path / 'elsewhere')\n"
        "@pytest.fixture(autouse=True)\n"
        "def look(whatsapp_pool, tmp_path):\n"
        "    yield\n"
        "    assert (tmp_path / 'elsewhere').exists()\n"
    )
    assert passed(run()) == 2


def test_a_failure_can_be_read(run: Run, tmp_path: Path) -> None:
    tmp_path.joinpath("test_silent.py").write_text(
        "import pytest\n"
        "@pytest.mark.anyio\n"
        "@pytest.mark.parametrize('anyio_backend', ['asyncio'])\n"
        "async def test_silent(whatsapp, whatsapp_link):\n"
        "    phone = await whatsapp_link('962302')\n"
        "    ann = whatsapp.contact('79001234567')\n"
        "    await ann.send(phone.number, 'confidential')\n"
        "    await ann.wait_receipt((await ann.send(phone.number, 'confidential')))\n"
        "    phone.silence()\n"
        "    await ann.next_message(timeout=0.1)\n"
    )
    ended = run("--tb=line")
    assert ended.returncode == 1
    line, *_ = [line for line in ended.stdout.splitlines() if "TimeoutError: contact" in line]
    assert "contact 79001234567 got no message within 0.1 s; last stanzas: " in line
    assert "← 79686484488:1 receipt" in line
    assert "confidential" not in line


def test_it_is_inert_until_a_fixture_is_used(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other plugins that are installed are not.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    tmp_path.joinpath("test_other.py").write_text(
        "import json, sys\n"
        "def test_other():\n"
        "    print('LOADED', json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    ended = run("-s", "-p", "wasessionpool.testing.pytest_plugin")
    assert passed(ended) == 1
    loaded = set(json.loads(ended.stdout.partition("LOADED ")[2].splitlines()[0]))
    heavy = {"neonize", "cryptography", "google", "websockets", "h11", "trustme", "limits", "PIL", "trio"}
    assert loaded & heavy == set()


def test_an_extra_that_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    tmp_path.joinpath("conftest.py").write_text("import sys\nsys.modules['trustme'] = None\n")
    tmp_path.joinpath("test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.anyio\n"
        "@pytest.mark.parametrize('anyio_backend', ['asyncio'])\n"
        "async def test_it(whatsapp): ...\n"
    )
    ended = run()
    assert ended.returncode == 1
    assert "is not installed: pip install 'wasessionpool[testing]'" in ended.stdout


def test_the_fixtures_are_listed_with_what_they_are(run: Run) -> None:
    shown = run("--fixtures").stdout
    for fixture in ("whatsapp", "whatsapp_driver", "whatsapp_settings", "whatsapp_pool", "whatsapp_link"):
        assert re.search(rf"^{fixture} -- .*pytest_plugin\.py:\d+\n    \S", shown, re.MULTILINE), fixture
