"""The gateway's configuration: one YAML file, read once, refused as a whole when a field is wrong.

Every field is described, and ``safelane gateway config`` prints the descriptions. Relative paths are relative to the file. There is no other source:
no environment variables, no hidden defaults. Several entries under ``agencies`` make a hosted gateway: each agency has its own keys, data folder,
local token and queue, and sees nothing of the others.
"""

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from adapters.gateway.identity.keystore import KeyLifetimes
from adapters.gateway.incoming.inbox_config import InboxConfig
from adapters.mapping.limits import MAX_DOCUMENT_BYTES
from schemas.clear_forms import AgencyId
from schemas.errors import ConfigInvalid, RuleBroken
from schemas.plain_yaml import read_yaml

MAX_CONFIG_BYTES = 256 * 1024


class GatewayModel(BaseModel):
    """Base of the configuration's parts: frozen, and closed to unknown fields, so that a misspelt one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SendingTimes(GatewayModel):
    """Waits, limits and alarms of the sending half. Durations are ISO 8601 (``PT30S``) or seconds."""

    request_timeout: timedelta = Field(timedelta(seconds=10), description="Longest wait for one answer of the hub.")
    publish_timeout: timedelta = Field(timedelta(seconds=15), description="Longest wait for RabbitMQ's confirm.")
    retry_first: timedelta = Field(
        timedelta(seconds=1), description="Wait before the first retry; it doubles, with jitter."
    )
    retry_longest: timedelta = Field(timedelta(minutes=5), description="Longest wait between two retries.")
    retry_longest_urgent: timedelta = Field(timedelta(seconds=20), description="The same, for an urgent referral.")
    poll: timedelta = Field(timedelta(seconds=1), description="How often the sender looks for work nobody told it of.")
    accept_alarm: timedelta = Field(
        timedelta(minutes=5),
        description="Alarm when a referral is not proven accepted this long after it was received.",
    )
    accept_alarm_urgent: timedelta = Field(timedelta(minutes=1), description="The same, for an urgent referral.")
    receipt_alarm: timedelta = Field(
        timedelta(hours=4), description="Alarm when a delivery has no receipt this long after the hub accepted it."
    )
    receipt_alarm_urgent: timedelta = Field(timedelta(minutes=30), description="The same, for an urgent referral.")
    resend_after: timedelta = Field(
        timedelta(minutes=1), description="Publish the same bytes again when the hub has not answered for this long."
    )
    envelope_lifetime: timedelta = Field(
        timedelta(days=14), description="How long a sealed envelope is valid; the hub refuses it afterwards."
    )
    directory_refresh: timedelta = Field(timedelta(minutes=5), description="How often the directory is fetched again.")
    keep_done: timedelta = Field(
        timedelta(days=30),
        description="Content, sealed bytes and keys of a finished referral are erased after this long.",
    )
    keep_refused: timedelta = Field(
        timedelta(days=30),
        description="A document of which nothing was good is kept this long for its sender to correct.",
    )


class KeyTimes(GatewayModel):
    """Life of encryption keys (DESIGN, The envelope)."""

    rotation: timedelta = Field(timedelta(days=7), description="A new encryption key each such period.")
    announced: timedelta = Field(
        timedelta(days=14), description="How long a key may be used by senders; at most 35 days."
    )
    queue_limit: timedelta = Field(timedelta(days=14), description="How long a delivery can wait in a queue.")
    grace: timedelta = Field(
        timedelta(days=2), description="Added to the queue's limit before a private key is destroyed."
    )

    def lifetimes(self) -> KeyLifetimes:
        """Return the keystore's view of these times."""
        return KeyLifetimes(self.rotation, self.announced, self.queue_limit + self.grace)

    @model_validator(mode="after")
    def _periods_fit(self) -> Self:
        if not timedelta(hours=1) <= self.rotation < self.announced <= timedelta(days=35):
            raise RuleBroken("rotation must be at least an hour and shorter than announced, which is at most 35 days")
        return self


class AmqpConfig(GatewayModel):
    """Where RabbitMQ is. Left out: as the hub's ``GET /v1/agency`` and the welcome say."""

    host: str = Field(description="Host name; it must match the server's certificate.")
    port: int = Field(5671, ge=1, le=65535, description="TLS port.")
    vhost: str = Field("safelane", description="Virtual host.")
    queue: str | None = Field(None, description="This agency's delivery queue, where the hub does not say.")


class DropFolder(GatewayModel):
    """A watched folder: files are taken from it, then moved to ``done/`` or ``failed/`` inside it."""

    path: Path = Field(description="The folder. It is made when it is missing.")
    poll: timedelta = Field(timedelta(seconds=2), description="How often it is looked at.")
    settle: timedelta = Field(
        timedelta(seconds=3),
        description="A file is taken once it has not changed for this long (it may still be being written).",
    )
    max_bytes: int = Field(64 * 1024 * 1024, description="A larger file is moved to failed/ unread.")


class AgencyConfig(GatewayModel):
    """One agency in this gateway."""

    agency: AgencyId = Field(description="The agency's id in the partnership's directory.")
    data_dir: Path = Field(
        description="Folder for its keystore, store, certificate and last directory; nobody else may read it."
    )
    key_encryption_key_file: Path | None = Field(
        None,
        description="File (mode 600, best on another disk or from a secret store) with the key that encrypts the keystore.",
    )
    passphrase_file: Path | None = Field(
        None, description="Instead of the key file: a file (mode 600, best in memory) with a passphrase."
    )
    api_token_file: Path = Field(description="File (mode 600) with the bearer token of this agency's record system.")
    mappings: tuple[str, ...] = Field(
        (),
        description="Mappings by id or path that this agency's inputs may use; none: all that come with the program.",
    )
    drop_folder: DropFolder | None = Field(None, description="A watched folder for files, or none.")
    confirm_new_recipients: bool = Field(
        True, description="Ask a person before the first sealing to an agency that this gateway has not sent to before."
    )
    late_release: Literal["person", "automatic"] = Field(
        "person",
        description="Who gives the keys of what an approver released: a person of this agency confirms each, or automatic once the approver's signature is verified here.",
    )
    amqp: AmqpConfig | None = Field(None, description="Where RabbitMQ is; none: as the hub says.")
    inbox: InboxConfig = Field(InboxConfig(), description="What happens to what this agency receives.")

    @property
    def keystore_path(self) -> Path:
        """Where the keystore is."""
        return self.data_dir / "keystore.json"

    @property
    def store_path(self) -> Path:
        """Where the store is."""
        return self.data_dir / "gateway.sqlite"

    @property
    def certificate_path(self) -> Path:
        """Where the TLS client certificate is."""
        return self.data_dir / "client.pem"

    @property
    def private_key_path(self) -> Path:
        """Where the TLS client key is."""
        return self.data_dir / "client.key"

    @property
    def log_state_path(self) -> Path:
        """Where the checkpoints that this agency saw are: to compare notes with other agencies, and for the hub's fsck."""
        return self.data_dir / "log-state.json"

    @property
    def directory_path(self) -> Path:
        """Where the last verified directory is."""
        return self.data_dir / "directory.json"

    @property
    def route_path(self) -> Path:
        """Where RabbitMQ's address and our queue's name are kept."""
        return self.data_dir / "route.json"

    @property
    def enrolment_path(self) -> Path:
        """Where the state of enrolment is, so that it can be taken up again."""
        return self.data_dir / "enrolment.json"

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.key_encryption_key_file is None) == (self.passphrase_file is None):
            raise RuleBroken("give key_encryption_key_file or passphrase_file, one of the two")
        return self


class WitnessTimes(GatewayModel):
    """Watching the hub's message log."""

    every: timedelta = Field(timedelta(seconds=5), description="How often the log is looked at.")
    alarm_after: timedelta = Field(
        timedelta(minutes=15), description="A delivery that no quorum of witnesses covers by then raises an alarm."
    )
    silent_after: timedelta = Field(
        timedelta(minutes=30), description="A log that has not grown for this long raises an alarm."
    )


class GatewayConfig(GatewayModel):
    """The whole file."""

    environment: Literal["production", "test"] = Field(
        "production", description="Production refuses an injected clock."
    )
    trust_file: Path = Field(
        description="The partnership's trust file, received out of band: authority keys, successor and CA certificate."
    )
    hub_url: str = Field(pattern=r"^https://[^/\s]+$", description="The hub's API, as in the invitation; no path.")
    listen_host: str = Field("127.0.0.1", description="Address of the local API; only a loopback address is accepted.")
    listen_port: int = Field(8600, ge=0, le=65535, description="Port of the local API; 0 takes a free one.")
    clock_file: Path | None = Field(None, description="Test only: a file that holds the business clock's instant.")
    max_document_bytes: int = Field(
        MAX_DOCUMENT_BYTES, ge=1, le=MAX_DOCUMENT_BYTES, description="Largest document that POST /referrals reads."
    )
    sending: SendingTimes = Field(SendingTimes(), description="Waits, limits and alarms of the sending half.")
    keys: KeyTimes = Field(KeyTimes(), description="Life of encryption keys.")
    witness: WitnessTimes = Field(WitnessTimes(), description="Watching the hub's message log.")
    agencies: tuple[AgencyConfig, ...] = Field(
        min_length=1, description="The agency of this gateway; several: hosted mode."
    )

    @field_validator("listen_host")
    @classmethod
    def _loopback_only(cls, host: str) -> str:
        if not ipaddress.ip_address(host).is_loopback:
            raise RuleBroken(
                "must be a loopback address: put a TLS proxy with its own sign-in in front for other machines"
            )
        return host

    @model_validator(mode="after")
    def _agencies_are_apart(self) -> Self:
        ids = [a.agency for a in self.agencies]
        folders = [a.data_dir.resolve() for a in self.agencies]
        tokens = [a.api_token_file.resolve() for a in self.agencies]
        drops = [a.drop_folder.path.resolve() for a in self.agencies if a.drop_folder]
        for group in (ids, folders, tokens, drops):
            if len(set(group)) != len(group):
                raise RuleBroken("agencies must not share an id, a data folder, a token file or a drop folder")
        if self.environment == "production" and self.clock_file is not None:
            raise RuleBroken("clock_file is for tests: production runs on the real clock")
        return self

    def find_agency(self, agency: str | None) -> AgencyConfig:
        """Return the agency of that id; none asks for the only one.

        Raises:
            ConfigInvalid: there is no such agency, or no id was given and there are several.
        """
        if agency is None and len(self.agencies) == 1:
            return self.agencies[0]
        for found in self.agencies:
            if found.agency == agency:
                return found
        served = ", ".join(entry.agency for entry in self.agencies)
        raise ConfigInvalid(f"say which agency; this gateway serves {served}", field="agency")


def load_config(path: Path) -> GatewayConfig:
    """Read the configuration at ``path``.

    Raises:
        ConfigInvalid: it cannot be read, is not YAML, or a field is wrong; the message names the first such field.
    """
    try:
        data = path.read_bytes()
        document = read_yaml(data[: MAX_CONFIG_BYTES + 1].decode()) if len(data) <= MAX_CONFIG_BYTES else None
    except (OSError, UnicodeDecodeError):
        raise ConfigInvalid("the configuration cannot be read: name its file with --config", field=path.name) from None
    except yaml.YAMLError:
        raise ConfigInvalid("the configuration is not YAML", field=path.name) from None
    if not isinstance(document, dict):
        raise ConfigInvalid("the configuration must be a mapping of fields", field=path.name)
    try:
        return GatewayConfig.model_validate(_resolve_paths(document, path.parent.absolute()))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ConfigInvalid(first["msg"], field=".".join(str(part) for part in first["loc"]) or path.name) from None


def describe_fields(model: type[BaseModel] = GatewayConfig, prefix: str = "") -> list[tuple[str, str]]:
    """Return ``(field path, description)`` for every field of the configuration, in order."""
    lines: list[tuple[str, str]] = []
    for name, field in model.model_fields.items():
        lines.append((prefix + name, field.description or ""))
        for inner in _inner_models(field.annotation):
            repeated = "[]" if inner is AgencyConfig else ""
            lines += describe_fields(inner, f"{prefix}{name}{repeated}.")
    return lines


def _inner_models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _inner_models(part)]


_PATH_FIELDS = frozenset(
    {"trust_file", "clock_file", "data_dir", "key_encryption_key_file", "passphrase_file", "api_token_file", "path"}
)


def _resolve_paths(value: Any, folder: Path, name: str = "") -> Any:
    """Make relative paths absolute: a field is a path if its name says so (``…_file``, ``…_dir``, ``…_folder``, ``path``)."""
    if isinstance(value, dict):
        return {key: _resolve_paths(member, folder, str(key)) for key, member in value.items()}
    if isinstance(value, list):
        return [_resolve_paths(member, folder, name) for member in value]
    if isinstance(value, str) and (name in _PATH_FIELDS or name.endswith(("_file", "_dir", "_folder"))):
        return str(folder / value)
    return value
