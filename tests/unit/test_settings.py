from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from wasessionpool import ConfigurationError, PacingPolicy, PoolSettings
from wasessionpool.settings import DURATIONS, NOT_YET, OTHERS, PREFIX

CONTRACT = {
    "provider": "neonize",
    "session_path": Path("whatsapp_sessions"),
    "rate_limit_max": 30,
    "rate_limit_window": 60.0,
    "rate_limit_recipient_max": 30,
    "rate_limit_overrides": {},
    "check_recipients": True,
    "rate_limit_fallback_share": 0.5,
    "pacing": None,
    "health_check_interval": 30.0,
    "health_failures": 2,
    "max_reconnect_attempts": 10,
    "reconnect_base_delay": 5.0,
    "reconnect_max_delay": 300.0,
    "reconnect_jitter": 0.2,
    "reconnect_grace": 5.0,
    "reconnect_reset_after": 60.0,
    "revive_interval": 900.0,
    "start_rate": 20.0,
    "start_concurrency": 10,
    "max_sessions": 100,
    "sessions_per_worker": 50,
    "max_pairings": 8,
    "session_timeout": None,
    "idle_wake_interval": 21600.0,
    "inbox_keep": 1000,
    "inbox_max_bytes": 64 << 20,
    "send_timeout": 30.0,
    "connect_timeout": 30.0,
    "shutdown_timeout": 10.0,
    "autostart": True,
    "redis_url": None,
    "database_url": None,
}
"""Every setting with its default."""
NEVER_NONE = DURATIONS - {"revive_interval", "session_timeout"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_every_setting_and_its_default() -> None:
    assert PoolSettings().model_dump() == CONTRACT
    assert PoolSettings.from_env() == PoolSettings()


@pytest.mark.parametrize("name", sorted(CONTRACT.keys() - NOT_YET.keys()))
def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    default = CONTRACT[name]
    said, meant = {
        "provider": ("neonize", "neonize"),
        "session_path": ("/srv/x", Path("/srv/x")),
        "autostart": ("no", False),
        "check_recipients": ("no", False),
        "rate_limit_overrides": ('{"962302": 5}', {"962302": 5}),
        "pacing": ('{"min_gap": 5}', PacingPolicy(min_gap=5)),
        "redis_url": ("redis://127.0.0.1/0", "redis://127.0.0.1/0"),
    }.get(name) or (
        ("2000", 2.0) if name in DURATIONS else ("0.25", 0.25) if type(default) is float else ("100000", 100_000)
    )
    monkeypatch.setenv(PREFIX + name.upper(), said)
    read = getattr(PoolSettings.from_env(), name)
    assert read == meant
    assert read != default or name == "provider"


def test_the_environment_speaks_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_RATE_LIMIT_WINDOW", "120000")
    monkeypatch.setenv("WHATSAPP_RATE_LIMIT_MAX", "7")
    monkeypatch.setenv("WHATSAPP_SESSION_PATH", "/srv/whatsapp")
    monkeypatch.setenv("WHATSAPP_REVIVE_INTERVAL", "none")
    monkeypatch.setenv("WHATSAPP_AUTOSTART", "false")
    settings = PoolSettings.from_env(send_timeout=3.0)
    assert (settings.rate_limit_window, settings.rate_limit_max, settings.send_timeout) == (120, 7, 3)
    assert str(settings.session_path) == "/srv/whatsapp"
    assert settings.revive_interval is None
    assert settings.autostart is False


def test_every_duration_is_a_setting() -> None:
    assert PoolSettings.model_fields.keys() >= DURATIONS | NOT_YET.keys()


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_REDIS_URL", "")
    monkeypatch.setenv("WHATSAPP_RATE_LIMIT_MAX", "")
    assert PoolSettings.from_env() == PoolSettings()


def test_a_file_of_variables_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WHATSAPP_RATE_LIMIT_MAX=7\nWHATSAPP_NONSENSE=1\n")
    monkeypatch.chdir(tmp_path)
    assert PoolSettings.from_env() == PoolSettings()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WHATSAPP_PROVIDER", "baileys", "link each phone anew"),
        ("WHATSAPP_PROVIDER", "baileys", "WHATSAPP_PROVIDER='baileys': Input should be 'neonize'"),
        ("WHATSAPP_RATE_LIMIT_MAX", "many", "WHATSAPP_RATE_LIMIT_MAX='many': "),
        ("WHATSAPP_RATE_LIMIT_MAX", "0", "greater than or equal to 1"),
        ("WHATSAPP_RATE_LIMIT_WINDOW", "500", "WINDOW='500' (0.5 s): Input should be a multiple of 1"),
        ("WHATSAPP_RECONNECT_BASE_DELAY", "soon", "='soon': expected a number of milliseconds"),
        ("WHATSAPP_REVIVE_INTERVAL", "never", "='never': expected a number of milliseconds, or 'none'"),
        ("WHATSAPP_SEND_TIMEOUT", "nan", "finite"),
        *((PREFIX + name.upper(), "none", "='none': Input should be a valid number") for name in sorted(NEVER_NONE)),
        ("WHATSAPP_AUTOSTART", "perhaps", "boolean"),
        ("WHATSAPP_SESSION_TIMEOUT", "-1", "(-0.001 s): Input should be greater than 0"),
        ("WHATSAPP_RATE_LIMIT", "30", "there is no setting WHATSAPP_RATE_LIMIT; did you mean WHATSAPP_RATE_LIMIT_"),
        ("WHATSAPP_SESION_PATH", "x", "did you mean WHATSAPP_SESSION_PATH?"),
        ("WHATSAPP_REDIS", "redis://:hush@x", "did you mean WHATSAPP_REDIS_URL?"),
        ("WHATSAPP_REDIS_URL", "http://:hush@x", "WHATSAPP_REDIS_URL: String should match pattern '^rediss?"),
        ("WHATSAPP_RATE_LIMIT_OVERRIDES", "{962302: 5}", "OVERRIDES='{962302: 5}': expected a JSON object"),
        (
            "WHATSAPP_RATE_LIMIT_OVERRIDES",
            '{"962302": 0}',
            "OVERRIDES: 962302=0: Input should be greater than or equal to 1",
        ),
        ("WHATSAPP_PACING", '{"min_gap": -1}', "PACING: min_gap=-1: Input should be greater than or equal to 0"),
        ("WHATSAPP_PACING", '{"gap": 1}', "PACING: gap=1: Extra inputs are not permitted"),
        ("WHATSAPP_PACING", "fast", "WHATSAPP_PACING='fast': Input should be a valid dictionary"),
        ("WHATSAPP_RATE_LIMIT_OVERRIDES", '{"a/b": 5}', "company id 'a/b' is not 1–64 of A-Z a-z 0-9 _ -"),
    ],
)
def test_a_bad_variable_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        PoolSettings.from_env()
    assert name in caught.value.message
    assert says in caught.value.message
    assert "hush" not in caught.value.message


def test_variables_of_other_parts_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OTHERS:
        monkeypatch.setenv(name, "x")
    assert PoolSettings.from_env() == PoolSettings()


def test_a_keyword_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_RATE_LIMIT_MAX", "many")
    assert PoolSettings.from_env(rate_limit_max=7).rate_limit_max == 7
    monkeypatch.setenv("WHATSAPP_RATE_LIMIT_MAX", "8")
    with pytest.raises(ConfigurationError, match=r"^send_timeout=0: "):
        PoolSettings.from_env(send_timeout=0)


@pytest.mark.parametrize("name", sorted(NOT_YET))
def test_what_this_version_cannot_do_is_refused_without_the_value(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    value = 60 if name in DURATIONS else "redis://user:hush@127.0.0.1/0"
    with pytest.raises(ConfigurationError, match=f"^{name}: this version .*; leave it unset$") as caught:
        PoolSettings(**{name: value})
    assert "hush" not in caught.value.message
    monkeypatch.setenv(PREFIX + name.upper(), str(value))
    with pytest.raises(ConfigurationError, match=f"^{PREFIX}{name.upper()}: this version ") as caught:
        PoolSettings.from_env()
    assert "hush" not in caught.value.message


def test_no_url_is_in_an_error_or_repr() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PoolSettings(redis_url=["redis://:hush@x"])
    assert "hush" not in caught.value.message
    assert "url" not in repr(PoolSettings())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"session_path": ""}, "session_path='': an empty path is none; the current directory is '.'"),
        ({"session_path": None}, "session_path=None: Input is not a valid path"),
        ({"rate_limit_overrides": {"962302": 0}}, "rate_limit_overrides: 962302=0: Input should be greater"),
        ({"rate_limit_overrides": 0}, "rate_limit_overrides=0: Input should be a valid dictionary"),
        ({"pacing": {"min_gap": -1}}, "pacing: min_gap=-1: Input should be greater than or equal to 0"),
    ],
)
def test_a_bad_keyword_is_named_with_its_value(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PoolSettings(**given)
    assert caught.value.message.startswith(says)


def test_an_unknown_keyword_names_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="did you mean rate_limit_max"):
        PoolSettings(rate_limit=5)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"there are provider, session_path, .*database_url"):
        PoolSettings(nonsense=5)  # type: ignore[call-arg]
