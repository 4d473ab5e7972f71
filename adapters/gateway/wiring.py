"""The one place where the gateway program's objects are made, from its configuration."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from adapters.channels.folder_in import FolderWatcher
from adapters.gateway.agency import AgencyGateway
from adapters.gateway.api import inbox as inbox_api
from adapters.gateway.api import registers as registers_api
from adapters.gateway.api import tokens as tokens_api
from adapters.gateway.api.access import MIN_TOKEN_CHARACTERS, LocalAccess
from adapters.gateway.api.app import create_app
from adapters.gateway.config import AgencyConfig, GatewayConfig
from adapters.gateway.durable_files import read_private_file, write_durably
from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.identity.hub_client import HubClient
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.identity.route import read_route
from adapters.gateway.identity.sealed_secrets import read_key_encryption_key
from adapters.gateway.identity.trust import read_trust_file
from adapters.gateway.incoming.receiving import build_receiving
from adapters.gateway.outgoing.intake import DocumentIntake
from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.publisher import Publisher
from adapters.gateway.outgoing.recipients import RecipientBook
from adapters.gateway.outgoing.sender import Sender
from adapters.gateway.parts import AgencyParts, Observe, observe_nothing
from adapters.gateway.service import Gateway, Loop
from adapters.gateway.store import GatewayStore
from adapters.gateway.upkeep import Upkeep
from adapters.gateway.witnessing.witness import Witness
from adapters.mapping import Mapping, default_mappings, load_mapping
from broker.amqp.settings import AmqpSettings
from schemas.errors import ConfigInvalid
from schemas.trust import TrustFile

Clock = Callable[[], datetime]


def read_real_clock() -> datetime:
    """Return the machine's time."""
    return datetime.now(UTC)


def build_gateway(
    config: GatewayConfig,
    *,
    clock: Clock | None = None,
    observe: Observe = observe_nothing,
    only: str | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Gateway:
    """Build the gateway. ``clock`` is an injected business clock; the real one is always the machine's. ``only``: this agency alone.
    ``transport`` stands in for the network between gateway and hub, in tests.

    Raises:
        ConfigInvalid: something is missing, unreadable or not enrolled.
    """
    if config.environment == "production" and clock is not None:
        raise ConfigInvalid("production runs on the real clock", field="clock_file")
    trust = read_trust_file(config.trust_file)
    chosen = [a for a in config.agencies if only is None or a.agency == only]
    agencies: dict[str, AgencyGateway] = {}
    loops: dict[str, Loop] = {}
    tokens: dict[bytes, AgencyGateway] = {}
    for entry in chosen:
        gateway = build_agency(
            config, entry, trust, clock=clock or read_real_clock, observe=observe, transport=transport
        )
        agencies[entry.agency] = gateway
        tokens[_read_token(entry)] = gateway
        if entry.drop_folder is not None:
            loops[f"{entry.agency}/drop-folder"] = FolderWatcher(entry.drop_folder, gateway.intake, time.time).run
    if len(tokens) != len(agencies):
        raise ConfigInvalid("two agencies have the same local token", field="api_token_file")
    app = create_app(LocalAccess(tokens), extra_routers=(inbox_api.router, registers_api.router, tokens_api.router))
    return Gateway(config, agencies, app, loops)


def build_agency(
    config: GatewayConfig,
    entry: AgencyConfig,
    trust: TrustFile,
    *,
    clock: Clock,
    observe: Observe,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AgencyGateway:
    """Build one agency's gateway.

    Raises:
        ConfigInvalid: its keystore, certificate or route is missing (enrol it first), or a mapping is not of its form.
    """
    keystore = open_keystore(entry)
    hub = build_hub_client(config, entry, trust, keystore, transport=transport)
    parts = build_parts(config, entry, trust, keystore, hub=hub, clock=clock, observe=observe)
    sender = Sender(parts)
    intake = DocumentIntake(parts, load_mappings(entry), sender.wake)
    return AgencyGateway(parts, intake, sender, Upkeep(parts), Witness(parts), build_receiving(parts))


def build_parts(
    config: GatewayConfig,
    entry: AgencyConfig,
    trust: TrustFile,
    keystore: Keystore,
    *,
    hub: HubClient,
    clock: Clock,
    observe: Observe,
) -> AgencyParts:
    """Build what both halves share."""
    store = GatewayStore(entry.store_path, keystore.store_key())
    settings, queue = _read_amqp(entry, trust)
    return AgencyParts(
        agency=entry.agency,
        config=entry,
        gateway=config,
        store=store,
        keystore=keystore,
        keeper=DirectoryKeeper(entry.directory_path, trust, hub, read_real_clock),
        hub=hub,
        outbox=Outbox(store),
        recipients=RecipientBook(store, must_confirm=entry.confirm_new_recipients),
        publisher=Publisher(entry.agency, settings, timeout=config.sending.publish_timeout),
        amqp_settings=settings,
        queue=queue,
        clock=clock,
        real_clock=read_real_clock,
        observe=observe,
    )


def open_keystore(entry: AgencyConfig) -> Keystore:
    """Open an agency's keystore.

    Raises:
        ConfigInvalid: it is missing or does not open.
    """
    kek = read_key_encryption_key(entry.key_encryption_key_file, entry.passphrase_file)
    return Keystore.open(entry.keystore_path, entry.agency, kek)


def build_hub_client(
    config: GatewayConfig,
    entry: AgencyConfig,
    trust: TrustFile,
    keystore: Keystore,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> HubClient:
    """Build an agency's client of the hub's API."""
    return HubClient(
        config.hub_url,
        agency=entry.agency,
        ca_pem=trust.ca_pem,
        api_key=keystore.api_key,
        clock=read_real_clock,
        timeout=config.sending.request_timeout,
        transport=transport,
    )


def load_mappings(entry: AgencyConfig) -> tuple[Mapping, ...]:
    """Load the mappings that an agency's inputs may use: those that it names, or all that come with the program.

    Raises:
        ConfigInvalid: one is missing or not of its form.
    """
    if not entry.mappings:
        return tuple(default_mappings())
    return tuple(load_mapping(name) for name in entry.mappings)


def _read_token(entry: AgencyConfig) -> bytes:
    token = read_private_file(entry.api_token_file, field="api_token_file").strip()
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise ConfigInvalid(f"must hold at least {MIN_TOKEN_CHARACTERS} characters", field="api_token_file")
    return token


def _read_amqp(entry: AgencyConfig, trust: TrustFile) -> tuple[AmqpSettings, str]:
    """Return where RabbitMQ is and our queue: the configuration's word goes before enrolment's."""
    route: dict[str, Any] = read_route(entry.route_path) or {}
    where = entry.amqp.model_dump() if entry.amqp is not None else dict(route.get("amqp") or {})
    queue = where.pop("queue", None) or route.get("queue")
    if not where.get("host") or not queue:
        raise ConfigInvalid("is not enrolled yet: where RabbitMQ and the queue are is unknown", field="amqp")
    ca_file = write_ca_file(entry.data_dir, trust)
    settings = AmqpSettings(
        host=str(where["host"]),
        port=int(where.get("port", 5671)),
        vhost=str(where.get("vhost", "safelane")),
        ca_file=ca_file,
        cert_file=entry.certificate_path,
        key_file=entry.private_key_path,
        name=f"gateway {entry.agency}",
    )
    return settings, str(queue)


def write_ca_file(data_dir: Path, trust: TrustFile) -> Path:
    """Keep the pinned CA certificate as a file for TLS libraries that want one; return its path."""
    path = data_dir / "ca.pem"
    if not path.exists() or path.read_text() != trust.ca_pem:
        write_durably(path, trust.ca_pem.encode())
    return path
