"""A recipient's receiving half over a real store, with a directory in which the sample's agencies have their keys; no servers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.incoming.consumer import ConsumerParts, IncomingReader
from adapters.gateway.incoming.inbox import Inbox
from adapters.gateway.incoming.inbox_config import InboxConfig
from adapters.gateway.incoming.inbox_outputs import OutputQueue
from adapters.gateway.incoming.inbox_store import InboxStore
from adapters.gateway.incoming.quarantine import LocalQuarantine
from adapters.gateway.incoming.receipts import ReceiptDesk
from adapters.gateway.incoming.sealed_twice import EarlierSealings
from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.store import GatewayStore
from broker.amqp.consumer import Incoming
from schemas.checkpoint import write_verifier
from schemas.directory import Agency, AgencyKeys, Area, Contact, Directory, HubKeys, Partnership
from schemas.envelope import VerifiedEnvelope, parse_envelope, seal, verify_envelope
from schemas.keys import Jwk, SigningKeys, pair_verifying_keys, public_part
from tests.support.deliveries import ORIGIN, decide, log_and_deliver, seeded_log_jwk
from tests.support.envelopes import (
    DELIVERIES,
    NOW,
    ROLES,
    SENDER,
    SeededBytes,
    build_sample,
    seeded_encryption_jwk,
    seeded_signer,
    seeded_signing_jwks,
)

RECIPIENT = "csc.marchshire"
DELIVERY = "delivery-00000000csc01"


def make_verified_directory(*, revoked: tuple[str, ...] = (), left_out: tuple[str, ...] = ()) -> VerifiedDirectory:
    """Return a directory of the sample's agencies. ``revoked``: thumbprints of the sender's keys; ``left_out``: agencies not in it."""
    agencies = []
    for agency in (SENDER, *DELIVERIES.values()):
        if agency not in left_out:
            jwks = tuple(public_part(jwk) for jwk in seeded_signing_jwks(agency))
            keys = AgencyKeys(signing=jwks, revoked=revoked if agency == SENDER else ())
            agencies.append(
                Agency(
                    id=agency,
                    name=f"Agency {agency}",
                    kind="test",
                    roles=(ROLES.get(agency, "police"),),
                    area="E06000001",
                    public_body=True,
                    s16la_body=True,
                    contacts=tuple(
                        Contact(id=name, post="Duty desk", phone="01632 960120", roles=roles)
                        for name, roles in (
                            ("duty", (ROLES.get(agency, "police"),)),
                            ("mash-deputy", (ROLES.get(agency, "police"),)),
                            ("lead", (ROLES.get(agency, "police"),)),
                            ("ambulance", ("ambulance",)),
                        )
                    ),
                    keys=keys,
                    enrolled_at=NOW - timedelta(days=30),
                )
            )
    directory = Directory(
        version=1,
        issued_at=NOW - timedelta(days=1),
        expires_at=NOW + timedelta(days=30),
        partnership=Partnership(id="test", areas=(Area(gss="E06000001", name="Sampleshire"),)),
        agencies=tuple(agencies),
        hub=HubKeys(log_origin=ORIGIN, log_verifier=write_verifier(ORIGIN, public_part(seeded_log_jwk()))),
    )
    signing = {a.id: pair_verifying_keys(a.keys.signing, revoked=a.keys.revoked) for a in agencies}
    return VerifiedDirectory(directory, "d" * 43, signing, {})


@cache
def seal_sample(**facts: Any) -> VerifiedEnvelope:
    """Seal the sample and verify it as the hub would: once for the same ``facts``, which replace manifest facts."""
    sample = build_sample(**facts)
    keys = {delivery: public_part(jwk) for delivery, jwk in sample.encryption.items()}
    sealed = seal(sample.draft, sample.signer, keys, rng=SeededBytes(str(facts)))
    return verify_envelope(parse_envelope(sealed.body), (sample.signer.public,), now=NOW)


def make_delivery(
    released: tuple[str, ...] = ("section-00000000000001", "section-00000000000003"), **changes: Any
) -> bytes:
    """Return a delivery's bytes for the recipient: sealed, decided, logged. ``changes`` replace fields of the decision."""
    facts = changes.pop("facts", {})
    verified = seal_sample(**facts)
    return log_and_deliver(verified, decide(verified, DELIVERY, released, **changes))


def make_incoming(body: bytes, message_type: str = "delivery") -> Incoming:
    """Return a message as RabbitMQ hands it over."""
    return Incoming(
        tag=1,
        queue="deliver.csc.marchshire.x",
        body=body,
        delivery_id="amqp-id",
        user_id="hub",
        type=message_type,
        redelivered=False,
        delivery_count=0,
        routing_key="",
        exchange="safelane.delivery",
        headers={},
    )


@dataclass
class FakeKeeper:
    """Stands in for the directory keeper: a directory at hand, and perhaps a newer one to fetch."""

    known: VerifiedDirectory
    newer: VerifiedDirectory | None = None
    fetched: int = 0

    def current(self, _now: datetime | None = None) -> VerifiedDirectory:
        return self.known

    async def refresh(self) -> VerifiedDirectory:
        self.fetched += 1
        self.known = self.newer or self.known
        return self.known


@dataclass
class FakeKeystore:
    """Stands in for the keystore: the sample's keys."""

    agency: str = RECIPIENT
    encryption: dict[str, Jwk] = field(default_factory=dict)

    def __post_init__(self) -> None:
        jwk = seeded_encryption_jwk(self.agency)
        self.encryption = self.encryption or {jwk["kid"]: jwk}

    def signing_keys(self) -> SigningKeys:
        return seeded_signer(self.agency)

    def encryption_private_jwks(self, _now: datetime) -> dict[str, Jwk]:
        return self.encryption


@dataclass
class ReceivingHalf:
    """The receiving half without connections."""

    store: GatewayStore
    inbox_store: InboxStore
    inbox: Inbox
    desk: ReceiptDesk
    outputs: OutputQueue
    quarantine: LocalQuarantine
    outbox: Outbox
    keeper: FakeKeeper
    reader: IncomingReader
    steps: list[str]


def make_receiving_half(
    folder: Path,
    *,
    config: InboxConfig | None = None,
    agency: str = RECIPIENT,
    keeper: Any = None,
    keystore: Any = None,
    clock: Callable[[], datetime] = lambda: NOW,
    limit: int = 10_000,
    observe: Callable[[str], None] | None = None,
) -> ReceivingHalf:
    """Build it over ``folder``; building it again over the same folder is a restart."""
    folder.mkdir(parents=True, exist_ok=True)
    store = GatewayStore(folder / "gateway.sqlite", b"k" * 32)
    keystore = keystore or FakeKeystore()
    keeper = keeper or FakeKeeper(make_verified_directory())
    inbox_store = InboxStore(store)
    desk = ReceiptDesk(inbox_store, keystore.signing_keys, clock)
    inbox = Inbox(agency, inbox_store, desk, config or InboxConfig(), clock, sealings=EarlierSealings(store))
    quarantine = LocalQuarantine(store, limit=limit)
    outbox = Outbox(store)
    steps: list[str] = []
    parts = ConsumerParts(
        agency=agency,
        inbox=inbox,
        outbox=outbox,
        quarantine=quarantine,
        keeper=keeper,
        keystore=keystore,
        clock=clock,
        real_clock=clock,
        observe=observe or steps.append,
    )
    return ReceivingHalf(
        store,
        inbox_store,
        inbox,
        desk,
        OutputQueue(store),
        quarantine,
        outbox,
        keeper,
        IncomingReader(parts),
        steps,
    )
