"""The hub's configuration: one YAML file, every field described, no environment variables (DESIGN, The house)."""

import json
import os
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.amqp.settings import AmqpSettings
from broker.api.settings import ApiSettings
from broker.console.settings import ConsoleSettings
from broker.reports.suppression import DEFAULT_THRESHOLD
from schemas.errors import ConfigInvalid
from schemas.keys import KeyUse, require_use
from schemas.plain_yaml import read_yaml

MAX_FILE_BYTES = 256 * 1024


def count_cores() -> int:
    """Return on how many cores this program may run: at least 1, at most 64. A container's CPU quota does not show there: say ``processes`` in it."""
    return min(64, len(os.sched_getaffinity(0)))


class Environment(StrEnum):
    """Where this runs. Production refuses what only a demonstration or a test may have."""

    PRODUCTION = "production"
    TEST = "test"


class ConfigModel(BaseModel):
    """Base of the configuration's parts: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PostgresSettings(ConfigModel):
    """Connection strings, one a role, each in a file that only the hub's user can read."""

    worker_dsn_file: Path = Field(description="File with the DSN of the role safelane_worker.")
    api_dsn_file: Path = Field(description="File with the DSN of the role safelane_api.")
    console_dsn_file: Path | None = Field(
        default=None, description="File with the DSN of the role safelane_console; absent where no console runs."
    )
    eraser_dsn_file: Path | None = Field(
        default=None, description="File with the DSN of the role safelane_eraser; only where `hub retention` runs."
    )
    owner_dsn_file: Path | None = Field(
        default=None, description="File with the owner's DSN, for migrations alone; absent on machines that only serve."
    )

    def read_dsn(self, role: str) -> str:
        """Return the DSN of ``role``: ``worker``, ``api``, ``console``, ``eraser`` or ``owner``.

        Raises:
            ConfigInvalid: there is no such file, or it cannot be read.
        """
        path: Path | None = getattr(self, f"{role}_dsn_file")
        if path is None:
            raise ConfigInvalid("is not set", field=f"postgres.{role}_dsn_file")
        return read_text(path, f"postgres.{role}_dsn_file")


class LogSettings(ConfigModel):
    """The message log's identity."""

    origin: str = Field(min_length=3, max_length=200, description="Origin line of checkpoints (C2SP tlog-checkpoint).")
    key_file: Path = Field(description="The log's private Ed25519 key (JWK, JSON); the hub's programs alone have it.")
    epoch: int = Field(default=1, ge=1, description="Log epoch; the authority opens a new one after a loss.")


class WorkerSettings(ConfigModel):
    """How the intake worker runs."""

    processes: int = Field(
        default_factory=count_cores,
        ge=1,
        le=64,
        description="Worker processes on this machine; one for each core that this program may use, if nothing is said.",
    )
    prefetch: int = Field(default=256, ge=1, le=256, description="Messages of each lane taken before they are acked.")
    batch_messages: int = Field(default=64, ge=1, le=256, description="Most messages in one transaction.")
    batch_linger_ms: int = Field(default=2, ge=0, le=1000, description="Wait this long for more of a batch (ms).")
    batches_under_way: int = Field(default=2, ge=1, le=8, description="Batches committed, and published, at once.")
    pool_size: int = Field(default=6, ge=2, le=32, description="Connections to PostgreSQL.")
    lease: timedelta = Field(
        default=timedelta(seconds=30),
        description="How long a worker may publish what it holds before another does: longer than RabbitMQ's confirm may take (20 s).",
    )
    offer_again_after: timedelta = Field(
        default=timedelta(minutes=10), description="Offer a delivery again when no receipt came; doubled each time."
    )
    give_up_after: timedelta = Field(
        default=timedelta(days=14), description="Hand a delivery that nobody takes to a person after this long."
    )
    relay_every_seconds: float = Field(default=1.0, gt=0, le=60, description="How often the outbox is looked at (s).")


class TimestampSettings(ConfigModel):
    """An authority outside that timestamps checkpoints (RFC 3161). Absent: nobody does. Nothing ever waits for it."""

    url: str = Field(
        pattern=r"^https?://\S+$", description="The authority's URL, which takes timestamp queries by POST."
    )
    ca_file: Path = Field(description="PEM certificates to which its answers must chain.")
    every: timedelta = Field(
        default=timedelta(hours=1), ge=timedelta(seconds=1), description="How often a checkpoint is timestamped."
    )
    late_after: timedelta = Field(
        default=timedelta(hours=3),
        gt=timedelta(0),
        description="Raise an alarm when a checkpoint has waited this long.",
    )
    timeout_seconds: float = Field(default=10.0, gt=0, le=60, description="How long an answer may take (s).")


class RetentionSettings(ConfigModel):
    """How long the hub keeps what it only carries. The content-free audit stays; legal holds stop the clock."""

    ciphertext_after: timedelta = Field(
        default=timedelta(days=30),
        ge=timedelta(days=1),
        description="Erase sealed bytes this long after the last recipient confirmed receipt.",
    )
    every: timedelta = Field(
        default=timedelta(hours=1), ge=timedelta(seconds=10), description="How often `hub retention run --stay` looks."
    )


class ReportSettings(ConfigModel):
    """Inspection reports. The same for the console, the API and the command line: two thresholds would tell by their difference."""

    threshold: int = Field(
        default=DEFAULT_THRESHOLD,
        ge=1,
        le=100,
        description="Counts of children below this are not shown in reports; 1 shows all.",
    )


class HubConfig(ConfigModel):
    """Everything that the hub's programs need to know."""

    environment: Environment = Field(
        default=Environment.PRODUCTION, description="production, or test (which may set the business clock)."
    )
    trust_file: Path = Field(description="The authority's trust file, handed over by the officers: pins their keys.")
    policy_pack: Path | None = Field(
        default=None, description="Folder of the Cedar policy pack; absent: the one that comes along."
    )
    local_policy_pack: Path | None = Field(
        default=None,
        description="Folder of the partnership's local pack over it, which may only restrict; absent: none.",
    )
    clock_file: Path | None = Field(
        default=None, description="File with the business clock's instant; refused in production."
    )
    postgres: PostgresSettings = Field(description="PostgreSQL.")
    amqp: AmqpSettings = Field(description="RabbitMQ, as the hub's own user.")
    log: LogSettings = Field(description="The message log.")
    timestamps: TimestampSettings | None = Field(
        default=None, description="Timestamps of checkpoints by an authority outside; absent: none."
    )
    retention: RetentionSettings = Field(default=RetentionSettings(), description="How long sealed bytes are kept.")
    reports: ReportSettings = Field(default=ReportSettings(), description="Inspection reports.")
    worker: WorkerSettings = Field(default=WorkerSettings(), description="The intake worker.")
    api: ApiSettings | None = Field(default=None, description="The HTTP API; absent on machines that only run workers.")
    console: ConsoleSettings | None = Field(default=None, description="The console; absent where none runs.")


def load_config(path: Path) -> HubConfig:
    """Read the hub's configuration; relative paths in it are relative to the file.

    Raises:
        ConfigInvalid: it cannot be read, or a field breaks a rule; the field is named, never its value.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigInvalid(f"is over {MAX_FILE_BYTES} bytes", field=path.name)
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigInvalid(f"cannot be read ({type(error).__name__})", field=path.name) from None
    if not isinstance(data, dict):
        raise ConfigInvalid("must be a mapping", field=path.name)
    try:
        config = HubConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigInvalid(f"breaks a rule: {first['type']}", field=f"{path.name}:{where}") from None
    config = _resolve(config, path.resolve().parent)
    if config.environment is Environment.PRODUCTION and config.clock_file is not None:
        raise ConfigInvalid("a clock cannot be set in production", field="clock_file")
    return config


def read_text(path: Path, field: str) -> str:
    """Return a small text file's content without surrounding space.

    Raises:
        ConfigInvalid: it cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigInvalid("cannot be read", field=field) from None
    if not text:
        raise ConfigInvalid("is empty", field=field)
    return text


def read_log_key(path: Path) -> dict[str, Any]:
    """Read the log's private key.

    Raises:
        ConfigInvalid: it cannot be read, or is no log key.
    """
    try:
        jwk = json.loads(read_text(path, "log.key_file"))
    except ValueError:
        raise ConfigInvalid("is not JSON", field="log.key_file") from None
    if not isinstance(jwk, dict) or "d" not in jwk:
        raise ConfigInvalid("is not a private key", field="log.key_file")
    require_use(jwk, KeyUse.LOG)
    return jwk


ModelT = TypeVar("ModelT", bound=BaseModel)


def _resolve(model: ModelT, folder: Path) -> ModelT:
    """Return ``model`` with every relative path below ``folder``."""
    changes: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Path) and not value.is_absolute():
            changes[name] = folder / value
        elif isinstance(value, BaseModel):
            changes[name] = _resolve(value, folder)
    return model.model_copy(update=changes) if changes else model
