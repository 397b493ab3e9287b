"""What a pool can be told, in seconds, and how the environment says it, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from .errors import ConfigurationError, InvalidCompanyId
from .models import SessionKey
from .pacing import PacingPolicy

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
DelaySeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PREFIX = "WHATSAPP_"

DURATIONS = frozenset(
    {
        "rate_limit_window",
        "health_check_interval",
        "reconnect_base_delay",
        "reconnect_max_delay",
        "reconnect_grace",
        "reconnect_reset_after",
        "revive_interval",
        "session_timeout",
        "idle_wake_interval",
        "send_timeout",
        "connect_timeout",
        "shutdown_timeout",
    }
)
"""The settings that the environment gives in milliseconds."""

NOT_YET = {
    "database_url": "this version keeps sessions in session_path",
}
"""What this version cannot do: to accept it would be a lie."""

OTHERS = frozenset({"WHATSAPP_API_KEYS", "WHATSAPP_URL", "WHATSAPP_API_KEY"})
"""Variables of the adapters and of the command line, which are no settings of a pool."""

if TYPE_CHECKING:
    import os

    class AnyPath:
        """Says to type checkers that a path may be given as a text, and is a ``Path`` when it is read."""

        def __get__(self, settings: object, owner: object = None) -> Path: ...

        def __set__(self, settings: object, path: str | os.PathLike[str]) -> None: ...
else:
    AnyPath = Path


def _company_id(text: str) -> str:
    try:
        return SessionKey(text).company_id
    except InvalidCompanyId as error:
        raise ValueError(error.message) from None


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
    rate_limit_overrides: dict[Annotated[str, AfterValidator(_company_id)], Annotated[int, Field(ge=1)]] = Field(
        default={}
    )
    """Companies that have another limit than ``rate_limit_max``; JSON in the environment."""
    check_recipients: bool = True
    rate_limit_fallback_share: float = Field(default=0.5, gt=0, le=1)
    """The share of the limits that each process keeps to while Redis cannot be asked; needs ``redis_url``."""
    pacing: PacingPolicy | None = None
    """How each session sends like a human, within the limits; ``None``: as fast as these allow."""
    health_check_interval: Seconds = 30.0
    """Seconds between two looks at all links; one that gives reason for doubt is probed."""
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
    session_timeout: Seconds | None = None
    """Seconds without a message or send until a session sleeps; ``None``: never."""
    idle_wake_interval: Seconds = 21600.0
    """Seconds that a session sleeps until it looks for what waits; needs ``session_timeout``."""
    inbox_keep: int = Field(default=1000, ge=0)
    inbox_max_bytes: int = Field(default=64 * 1024 * 1024, ge=64 * 1024)
    send_timeout: Seconds = 30.0
    connect_timeout: Seconds = 30.0
    shutdown_timeout: Seconds = 10.0
    autostart: bool = True
    redis_url: str | None = Field(default=None, repr=False, pattern=r"^rediss?(\+cluster)?://\S+$")
    """Where processes and hosts share their limits; ``None``: each process has limits of its own."""
    database_url: str | None = Field(default=None, repr=False)
    """Where sessions are remembered; ``None``, which is all that this version can do: in ``session_path``."""

    @field_validator("session_path", mode="before")
    @classmethod
    def _no_empty_path(cls, path: object) -> object:
        if path == "":
            raise ValueError("an empty path is none; the current directory is '.'")
        return path

    @model_validator(mode="wrap")
    @classmethod
    def _name_what_is_wrong(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        variables: Mapping[str, str] = info.context or {}
        try:
            settings = handler(data)
        except ValidationError as error:
            raise ConfigurationError("; ".join(_explain(each, variables) for each in error.errors())) from None
        for name, because in NOT_YET.items():
            if getattr(settings, name) is not None:
                raise ConfigurationError(f"{_name(name, variables)}: {because}; leave it unset")
        return settings

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Read ``WHATSAPP_…`` from the environment (durations are milliseconds there); keywords go before it.

        An empty variable counts as unset, ``none`` means ``None``, and no ``.env`` file is read. Raises
        ``ConfigurationError``, which names the variable, also for one that is not known.
        """
        from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

        source = EnvSettingsSource(
            cast("type[BaseSettings]", cls), env_prefix=PREFIX, env_parse_none_str="none", env_ignore_empty=True
        )
        _refuse_unknown(source.env_vars)
        try:
            given = {name: value for name, value in source().items() if name not in overrides}
        except SettingsError as error:
            name = str(error).split('"')[1]
            said = source.env_vars[_variable(name).lower()]
            raise ConfigurationError(f"{_variable(name)}={said!r}: expected a JSON object") from None
        variables = {name: str(source.env_vars[_variable(name).lower()]) for name in given}
        values = {
            name: _seconds(name, value) if name in DURATIONS and value is not None else value
            for name, value in given.items()
        }
        cls.model_validate(values, context=variables)
        return cls(**values, **overrides)


def _seconds(name: str, value: str) -> float:
    try:
        return float(value) / 1000
    except ValueError:
        never = ", or 'none'" if type(None) in get_args(PoolSettings.model_fields[name].annotation) else ""
        raise ConfigurationError(f"{_variable(name)}={value!r}: expected a number of milliseconds{never}") from None


def _refuse_unknown(environment: Mapping[str, str | None]) -> None:
    known = {_variable(name) for name in PoolSettings.model_fields}
    for variable in sorted(map(str.upper, environment)):
        if variable.startswith(PREFIX) and variable not in known | OTHERS:
            near = get_close_matches(variable, known | OTHERS, n=1, cutoff=0)
            raise ConfigurationError(f"there is no setting {variable}; did you mean {near[0]}?")


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _name(name: str, variables: Mapping[str, str]) -> str:
    """Return a setting's name as it was given."""
    return _variable(name) if name in variables else name


def _explain(detail: ErrorDetails, variables: Mapping[str, str]) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else "settings"
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(name, PoolSettings.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PoolSettings.model_fields)}"
        return f"there is no setting {name!r}; {hint}"
    if not PoolSettings.model_fields[name].repr:
        return f"{_name(name, variables)}: {detail['msg']}"
    said = f"{_name(name, variables)}={variables.get(name, detail['input'])!r}"
    if len(detail["loc"]) == 2:
        said = f"{_name(name, variables)}: {detail['loc'][1]}={detail['input']!r}"
    if name in DURATIONS and name in variables and detail["input"] is not None:
        said += f" ({detail['input']:g} s)"
    hint = "; sessions of Baileys cannot be carried over: link each phone anew by its QR" if name == "provider" else ""
    return f"{said}: {detail['msg'].removeprefix('Value error, ')}{hint}"
