"""A whole hub for tests: real PostgreSQL and RabbitMQ, a signed directory, real policies, agencies with real keys, and a worker to run."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncpg
import yaml

from broker.amqp.consumer import BatchConsumer, Incoming
from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher, Outcome
from broker.amqp.topology import INTAKE_EXCHANGE, intake_routing_key
from broker.config import HubConfig, load_config
from broker.decisions import DEFAULT_PACK
from broker.registry import agency_queues, versions
from broker.store import upgrade_database
from broker.wiring import Worker, build_worker
from deploy.authority.policies import use_policy_pack
from deploy.authority.state import save_state
from schemas.checkpoint import LogVerifier, write_verifier
from schemas.codes import AgeBand, Art6, Compartment, Form, RiskGrade, SubjectType, TellValue
from schemas.directory import HubKeys, Person
from schemas.envelope import INCIDENT, EnvelopeDraft, ManifestFacts, SealedEnvelope, SectionDraft, seal
from schemas.header import (
    CaseFacts,
    DeliveryRequest,
    LawfulBasis,
    PolicyFacts,
    RiskFacts,
    RoutingHeader,
    SubjectFacts,
    SubjectRouting,
    TellStatus,
)
from schemas.keys import Jwk, KeyUse, generate_ed25519_jwk, public_part
from schemas.signed_directory import EncryptionKey
from tests.support.authority import SAMPLES, AgencyKit, FoundedAuthority
from tests.support.hub_api import set_role_password, with_login
from tests.support.servers import RabbitVhost

ORIGIN = "log.example.org/test"
POLICE, CSC, HEALTH, SCHOOL = "police.marchshire", "csc.marchshire", "health.marchshire-ft", "school.oakfield"
RECIPIENTS = ((CSC, "csc"), (HEALTH, "health_safeguarding"), (SCHOOL, "dsl"))
CHILD, SIBLING = "subject-000000000child", "subject-0000000sibling"


def new_message_id() -> str:
    """Return a UUIDv7."""
    millis = int(datetime.now(UTC).timestamp() * 1000)
    return f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7{token_hex(2)[1:]}-8{token_hex(2)[1:]}-{token_hex(6)}"


@dataclass
class Draft:
    """A section 47 referral of the police about a child at Oakfield and a sibling elsewhere; ``canaries`` are in its sealed content."""

    referral_id: str = field(default_factory=lambda: f"ref-{token_hex(9)}")
    message_id: str = field(default_factory=new_message_id)
    revision: int = 1
    kind: str = "CP_S47"
    recipients: Sequence[tuple[str, str]] = RECIPIENTS
    native_ref_digest: str | None = None
    canaries: tuple[str, ...] = ("CANARYchild", "CANARYsibling", "CANARYsource")
    text_bytes: int = 200

    def header(self) -> RoutingHeader:
        return RoutingHeader(
            case=CaseFacts(
                kind=self.kind,
                area="E10999001",
            ),
            risk=RiskFacts(grade=RiskGrade.MEDIUM),
            lawful_basis=LawfulBasis(art6=Art6.LEGAL_OBLIGATION),
            policy=PolicyFacts(
                tell_status=TellStatus(value=TellValue.TELL),
                compartments=tuple(sorted({s.compartment for s in self.sections()})),
                native_ref_digest=self.native_ref_digest,
            ),
            subjects=tuple(
                SubjectFacts(subject_id=s, type=SubjectType.PERSON, age_band=AgeBand.TEN_TO_12)
                for s in (CHILD, SIBLING)
            ),
            routing=(
                SubjectRouting(subject_id=CHILD, tied_agencies=(SCHOOL,)),
                SubjectRouting(subject_id=SIBLING),
            ),
            deliveries=tuple(
                DeliveryRequest(
                    delivery_id=f"{number:010}{self.message_id[-12:]}",
                    agency=agency,
                    role=role,
                    purpose="safeguard_child",
                )
                for number, (agency, role) in enumerate(self.recipients)
            ),
        )

    def sections(self) -> list[SectionDraft]:
        child, sibling, source = (canary.ljust(self.text_bytes, "x") for canary in self.canaries)
        return [
            SectionDraft("section-00000000000001", Compartment.C01, CHILD, Form.FULL, {"text": child}),
            SectionDraft("section-00000000000002", Compartment.C01, SIBLING, Form.FULL, {"text": sibling}),
            SectionDraft("section-00000000000003", Compartment.C04, INCIDENT, Form.FULL, {"text": child}),
            SectionDraft("section-00000000000004", Compartment.C04, INCIDENT, Form.SUMMARY, {"text": "summary"}),
            SectionDraft("section-00000000000005", Compartment.C08, CHILD, Form.FULL, {"text": child}),
            SectionDraft("section-00000000000006", Compartment.C10, INCIDENT, Form.FULL, {"text": source}),
            SectionDraft("section-00000000000007", Compartment.C14, INCIDENT, Form.FULL, {"text": child}),
            SectionDraft("section-00000000000008", Compartment.C17, INCIDENT, Form.SUMMARY, {"text": "why"}),
        ]

    def grants(self) -> dict[str, list[str]]:
        """Grant all but the source (C10) to everyone: what goes is for the hub's decision to narrow."""
        granted = [s.section_id for s in self.sections() if s.compartment is not Compartment.C10]
        return {d.delivery_id: granted for d in self.header().deliveries}

    def seal(self, sender: AgencyKit, keys: dict[str, Jwk], **facts: Any) -> SealedEnvelope:
        now = datetime.now(UTC)
        header = self.header()
        base: dict[str, Any] = {
            "message_id": self.message_id,
            "referral_id": self.referral_id,
            "revision": self.revision,
            "sender": sender.agency,
            "issued_at": now,
            "expires_at": now + timedelta(days=7),
            "conversation": f"conv{self.referral_id[4:]}",
        }
        draft = EnvelopeDraft(ManifestFacts(**(base | facts)), header, self.sections(), self.grants())
        return seal(draft, sender.signer, {d.delivery_id: keys[d.agency] for d in header.deliveries})


@dataclass
class HubWorld:
    """The parts. ``owner`` sees all tables."""

    folder: Path
    rabbit: RabbitVhost
    config: HubConfig
    config_file: Path
    owner: asyncpg.Connection
    kits: dict[str, AgencyKit]
    queues: dict[str, str]
    log: LogVerifier
    taken: set[tuple[str, str, bytes]] = field(default_factory=set)
    """What ``receive`` has returned: RabbitMQ gives it again where the connection closed before the acknowledgement was written, and the hub offers
    it again where its own lease ran out on a loaded machine."""

    def encryption_keys(self) -> dict[str, Jwk]:
        return {agency: public_part(kit.encryption_jwk) for agency, kit in self.kits.items()}

    def seal(self, draft: Draft, sender: str = POLICE, **facts: Any) -> SealedEnvelope:
        return draft.seal(self.kits[sender], self.encryption_keys(), **facts)

    async def publish(
        self, agency: str, bodies: Sequence[bytes], *, message_type: str = "referral", ids: Sequence[str] = ()
    ) -> None:
        """Publish as ``agency``, over its own certificate, with confirms."""
        publisher = BatchPublisher(self.rabbit.amqp_settings(agency))
        try:
            outgoing = [
                Outgoing(
                    delivery_id=ids[number] if ids else f"m{number}-{token_hex(4)}",
                    exchange=INTAKE_EXCHANGE,
                    routing_key=intake_routing_key(agency, message_type),
                    body=body,
                    user_id=agency,
                    type=message_type,
                )
                for number, body in enumerate(bodies)
            ]
            outcomes = await publisher.publish_batch(outgoing)
            assert set(outcomes.values()) == {Outcome.CONFIRMED}, outcomes
        finally:
            await publisher.close()

    async def receive(self, agency: str, count: int, *, seconds: float = 15.0, again: bool = False) -> list[Incoming]:
        """Take ``count`` messages from the agency's own queue, as the agency, and acknowledge them.

        Delivery is at least once: what was returned before is passed over, unless ``again`` asks for it.
        """
        consumer = BatchConsumer(self.rabbit.amqp_settings(agency), [self.queues[agency]], prefetch=64)
        found: list[Incoming] = []
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            while len(found) < count and loop.time() < deadline:
                batch = await consumer.next_batch(max_messages=64, within=0.3)
                fresh = [m for m in batch.messages if again or (agency, m.delivery_id, m.body) not in self.taken]
                self.taken |= {(agency, m.delivery_id, m.body) for m in fresh}
                found += fresh
                await batch.ack()
            await asyncio.sleep(0.05)  # the acknowledgement must be written before the connection closes
        finally:
            await consumer.close()
        return found

    @asynccontextmanager
    async def running_worker(self, **options: Any) -> AsyncIterator[Worker]:
        worker = build_worker(self.config, **options)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(task, 20)

    async def wait_for(self, query: str, expected: Any, *args: Any, seconds: float = 15.0) -> None:
        """Wait until ``query`` gives ``expected``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (found := await self.owner.fetchval(query, *args)) != expected:
            assert loop.time() < deadline, f"{query}: {found!r} instead of {expected!r}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def open_hub_world(
    dsn: str,
    rabbit: RabbitVhost,
    folder: Path,
    *,
    agencies: Sequence[str] = (POLICE, CSC, HEALTH, SCHOOL),
    people: Sequence[Person] = (),
    partnership: Path = SAMPLES / "partnership.yaml",
    **worker: Any,
) -> AsyncIterator[HubWorld]:
    """Migrate, found an authority, enrol agencies, provision their queues, and write the hub's configuration."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 (a test)
    await upgrade_database(dsn)
    owner = await asyncpg.connect(dsn)
    try:
        for role in ("safelane_worker", "safelane_api", "safelane_eraser"):
            await set_role_password(owner, role)
        log_jwk = generate_ed25519_jwk(KeyUse.LOG)
        verifier = write_verifier(ORIGIN, public_part(log_jwk))
        authority = FoundedAuthority.found(folder, partnership=partnership)
        state = use_policy_pack(authority.state(), DEFAULT_PACK).model_copy(update={"people": tuple(people)})
        save_state(authority.folder, state, hub=HubKeys(log_origin=ORIGIN, log_verifier=verifier))
        kits = {agency: AgencyKit.make(agency) for agency in agencies}
        signed = authority.enrol(*kits.values())
        now = datetime.now(UTC)
        await versions.insert_directory(owner, signed.body, signed.directory)
        for agency, kit in kits.items():
            announcement = kit.announcement(now=now)
            key = EncryptionKey(
                kid=kit.encryption_jwk["kid"],
                jwk=public_part(kit.encryption_jwk),
                not_before=now - timedelta(minutes=5),
                not_after=now + timedelta(days=14),
            )
            await versions.insert_announcement(owner, agency, key, announcement, now)
        made = await rabbit.administration.provision_agencies(agencies)
        queues = {agency.agency_id: agency.delivery_queue for agency in made}
        for agency, queue in queues.items():
            await agency_queues.choose_queue(owner, agency, queue)
            await agency_queues.mark_provisioned(owner, agency, now=now)
        config_file = write_hub_config(folder, dsn, rabbit, authority, log_jwk, **worker)
        yield HubWorld(
            folder=folder,
            rabbit=rabbit,
            config=load_config(config_file),
            config_file=config_file,
            owner=owner,
            kits=kits,
            queues=queues,
            log=LogVerifier.from_text(verifier),
        )
    finally:
        await owner.close()


def write_hub_config(
    folder: Path, dsn: str, rabbit: RabbitVhost, authority: FoundedAuthority, log_jwk: Jwk, **worker: Any
) -> Path:
    """Write the hub's configuration and secrets into ``folder``."""
    (folder / "worker.dsn").write_text(with_login(dsn, "safelane_worker"))
    (folder / "api.dsn").write_text(with_login(dsn, "safelane_api"))
    (folder / "eraser.dsn").write_text(with_login(dsn, "safelane_eraser"))
    (folder / "log.jwk").write_text(json.dumps(log_jwk))
    settings = rabbit.amqp_settings("hub").model_dump(mode="json", exclude_none=True)
    timings = {"lease": "PT1S", "relay_every_seconds": 0.2, "offer_again_after": "PT10M"}
    path = folder / "hub.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "environment": "test",
                "trust_file": str(authority.folder / "trust.json"),
                "postgres": {
                    "worker_dsn_file": "worker.dsn",
                    "api_dsn_file": "api.dsn",
                    "eraser_dsn_file": "eraser.dsn",
                },
                "amqp": settings,
                "log": {"origin": ORIGIN, "key_file": "log.jwk"},
                "worker": timings | worker,
            }
        )
    )
    return path
