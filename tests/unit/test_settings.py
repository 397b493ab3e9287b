from __future__ import annotations

import pytest

from wasessionpool import ConfigurationError, PoolSettings
from wasessionpool.settings import DURATIONS


def test_the_defaults_are_those_of_the_original_system() -> None:
    settings = PoolSettings()
    assert (settings.rate_limit_max, settings.rate_limit_window) == (30, 60)
    assert (settings.reconnect_base_delay, settings.max_reconnect_attempts) == (5, 10)
    assert (settings.reconnect_grace, settings.reconnect_max_delay, settings.reconnect_reset_after) == (5, 300, 60)


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
    assert PoolSettings.model_fields.keys() >= DURATIONS


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WHATSAPP_PROVIDER", "baileys", "link each phone anew"),
        ("WHATSAPP_RATE_LIMIT_MAX", "many", "many"),
        ("WHATSAPP_RATE_LIMIT_MAX", "0", "greater than or equal to 1"),
        ("WHATSAPP_RECONNECT_BASE_DELAY", "soon", "milliseconds"),
        ("WHATSAPP_SEND_TIMEOUT", "nan", "finite"),
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


def test_an_unknown_keyword_names_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="rate_limit_max"):
        PoolSettings(rate_limit=5)  # type: ignore[call-arg]
