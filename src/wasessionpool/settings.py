"""What a pool can be told, in seconds, and how the environment says it, in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails

from .errors import ConfigurationError

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
DelaySeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PREFIX = "WHATSAPP_"

if TYPE_CHECKING:
    import os

    class AnyPath:
        """Says to type checkers that a path may be given as a text, and is a ``Path`` when it is read."""

        def __get__(self, settings: object, owner: object = None) -> Path: ...

        def __set__(self, settings: object, path: str | os.PathLike[str]) -> None: ...
else:
    AnyPath = Path


class PoolSettings(BaseModel):
    """The settings of a ``WhatsAppSessionPool``; durations are seconds.

    An unknown name or a value that is not allowed raises ``ConfigurationError``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Literal["neonize"] = "neonize"
    session_path: AnyPath = cast("Any", Path("whatsapp_sessions"))
    rate_limit_max: int = Field(default=30, ge=1)
    rate_limit_window: float = Field(default=60.0, ge=1, multiple_of=1, le=86400)
    rate_limit_recipient_max: int = Field(default=30, ge=1)
    health_failures: int = Field(default=2, ge=1)
    max_reconnect_attempts: int = Field(default=10, ge=0)
    reconnect_base_delay: DelaySeconds = 5.0
    reconnect_max_delay: DelaySeconds = 300.0
    reconnect_jitter: float = Field(default=0.2, ge=0, le=1)
    reconnect_grace: DelaySeconds = 5.0
    reconnect_reset_after: DelaySeconds = 60.0
    revive_interval: Seconds | None = 900.0
    start_rate: float = Field(default=20.0, gt=0)
    start_concurrency: int = Field(default=10, ge=1)
    max_sessions: int = Field(default=100, ge=1)
    sessions_per_worker: int = Field(default=50, ge=1)
    max_pairings: int = Field(default=8, ge=1)
    inbox_keep: int = Field(default=1000, ge=0)
    inbox_max_bytes: int = Field(default=64 * 1024 * 1024, ge=64 * 1024)
    send_timeout: Seconds = 30.0
    connect_timeout: Seconds = 30.0
    shutdown_timeout: Seconds = 10.0
    autostart: bool = True

    @model_validator(mode="wrap")
    @classmethod
    def _name_what_is_wrong(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise ConfigurationError("; ".join(map(_explain, error.errors()))) from None

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Read ``WHATSAPP_…`` from the environment (durations are milliseconds there); keywords go before it.

        No ``.env`` file is read. Raises ``ConfigurationError``, which names the variable.
        """
        from pydantic_settings import BaseSettings, EnvSettingsSource

        source = EnvSettingsSource(cast("type[BaseSettings]", cls), env_prefix=PREFIX, env_parse_none_str="none")
        values = {name: value for name, value in source().items() if name not in overrides}
        for name in DURATIONS & values.keys() - {name for name, value in values.items() if value is None}:
            try:
                values[name] = float(values[name]) / 1000
            except ValueError:
                raise ConfigurationError(
                    f"{PREFIX}{name.upper()}={values[name]!r}: expected a number of milliseconds"
                ) from None
        try:
            cls(**values)
        except ConfigurationError as error:
            raise ConfigurationError(f"in the environment ({PREFIX}…): {error.message}") from None
        return cls(**values, **overrides)


DURATIONS = frozenset(
    {
        "rate_limit_window",
        "reconnect_base_delay",
        "reconnect_max_delay",
        "reconnect_grace",
        "reconnect_reset_after",
        "revive_interval",
        "send_timeout",
        "connect_timeout",
        "shutdown_timeout",
    }
)
"""The settings that the environment gives in milliseconds."""


def _explain(detail: ErrorDetails) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else "settings"
    if detail["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; there are {', '.join(PoolSettings.model_fields)}"
    hint = "; sessions of Baileys cannot be carried over: link each phone anew by its QR" if name == "provider" else ""
    return f"{name} ({PREFIX}{name.upper()}) = {detail['input']!r}: {detail['msg']}{hint}"
