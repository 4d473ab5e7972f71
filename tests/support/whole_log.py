"""A hub whose tables hold something of everything that the log speaks of, written by its own worker, API and commands: what ``fsck`` must protect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncpg

from broker.amqp.consumer import Incoming
from broker.config import read_log_key
from broker.delivery.quarantine import reject_quarantined
from broker.log import LogWriter, NewEvent
from broker.log.timestamping import TimestampAuthority, Timestamper
from broker.log.witnessing import add_cosignature, propose_checkpoint
from broker.registry import versions
from broker.retention.erasing import Eraser
from broker.retention.holds import place_hold
from broker.store import open_pool
from deploy import hub_retention
from deploy.authority.people import Approver, sign_approval
from deploy.authority.state import save_state
from schemas.canonical import canonical_bytes, encode_base64url, sha256_base64url
from schemas.checkpoint import read_checkpoint
from schemas.codes import Compartment, ConsentState, Form, ReceiptState, RiskGrade
from schemas.directory import Directory, WitnessPolicy
from schemas.envelope import INCIDENT, SectionDraft
from schemas.header import ConflictOfInterest, DisclosureToken
from schemas.objects import digest_object, peek_object, sign_object
from schemas.objects.consent import Consent
from schemas.objects.control import BreakGlassControl, DeletionConfirmedControl
from schemas.objects.correspondence import Recall, Request, RequestStep
from schemas.timestamp import read_roots
from tests.support.authority import FoundedAuthority
from tests.support.drafts import EARLY_HELP, TOKEN, ChangedDraft, consent, early_help, list_request_members
from tests.support.hub_agency import check_evidence, sign_receipt, verify_as
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.reviewing import PersonalApi, make_approver, serve_api, sign_addendum
from tests.support.servers import RabbitVhost
from tests.support.timestamp_authority import serve_timestamps

FILLERS = 60
"""Entries under each of the log's last checkpoints that are there to fill a tile."""
ERASED_ID, AGED_ID = (f"ref-{name:0>18}" for name in ("erased", "aged"))


class MovedClock:
    """A business clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class OffenderDraft(ChangedDraft):
    """A registered offender's details to a school, by a disclosure token."""

    def sections(self) -> list[SectionDraft]:
        held = {"text": "CANARYoffender"}
        return [*super().sections(), SectionDraft("section-00000000000009", Compartment.C09, INCIDENT, Form.FULL, held)]


class PlainDraft(ChangedDraft):
    """A referral in which nothing is held."""

    def sections(self) -> list[SectionDraft]:
        return [section for section in super().sections() if section.compartment is not Compartment.C10]


@dataclass
class WholeLog:
    """The hub, its API, and the people who decide; ``timestamp_roots`` are of the authority that stamped its checkpoints."""

    api: PersonalApi
    people: dict[str, Approver]
    clock: MovedClock
    folder: Path
    timestamp_roots: tuple[Any, ...] = ()
    waiting: dict[str, list[Incoming]] = field(default_factory=dict)

    @property
    def world(self) -> HubWorld:
        return self.api.world

    @property
    def writer(self) -> LogWriter:
        log = self.world.config.log
        return LogWriter(log.origin, read_log_key(log.key_file), epoch=log.epoch)

    async def append(self, *events: NewEvent) -> None:
        async with self.world.owner.transaction():
            await self.writer.append(self.world.owner, list(events), at=datetime.now(UTC))

    async def take(self, agency: str, kind: str, *, outcome: str | None = None) -> Incoming:
        """Receive until a message of this kind (and outcome, of a notice) comes; others stay for later."""
        waiting = self.waiting.setdefault(agency, [])
        for _ in range(8):
            for message in waiting:
                if message.type == kind and (
                    outcome is None or check_evidence(self.world, message.body)[0]["outcome"] == outcome
                ):
                    waiting.remove(message)
                    return message
            waiting += await self.world.receive(agency, 1, seconds=2)
        raise AssertionError(f"no {kind} came to {agency}")

    async def say(self, agency: str, kind: str, body: bytes) -> bytes:
        """Publish a signed object and wait until it is recorded."""
        await self.world.publish(agency, [body], message_type=kind)
        table, column = ("receipts", "receipt_digest") if kind == "receipt" else ("signed_objects", "object_digest")
        query = f"SELECT count(*) FROM {table} WHERE {column} = $1"  # noqa: S608 (constant names)
        await self.world.wait_for(query, 1, digest_object(body))
        return body

    async def send(self, draft: Draft, **facts: Any) -> Any:
        sealed = self.world.seal(draft, **facts)
        await self.world.publish(POLICE, [sealed.body])
        await self.world.wait_for("SELECT count(*) FROM messages WHERE message_id::text = $1", 1, draft.message_id)
        return sealed

    async def agree(self, action: str, subject: str) -> None:
        """Let two people approve a paired act."""
        for name in ("bob", "kim"):
            members = {
                "action": action,
                "subject_digest": sha256_base64url(subject.encode()),
                "reason_code": "court_order",
            }
            body = sign_approval(self.people[name], now=datetime.now(UTC), **members)
            answer = await self.api.call("POST", "/v1/approvals", self.people[name], body)
            assert answer.status_code == 201, answer.text


@asynccontextmanager
async def open_whole_log(dsn: str, rabbit: RabbitVhost, folder: Path) -> AsyncIterator[WholeLog]:
    """Build the hub and let everything happen in it once."""
    made = {
        "ann": make_approver(folder, "ann.lee", POLICE),
        "bob": make_approver(folder, "bob.lee", CSC, ("partnership_ig_officer",)),
        "kim": make_approver(folder, "kim.lee", HEALTH, ("partnership_ig_officer",)),
    }
    people = [person for _, person in made.values()]
    agencies = (POLICE, CSC, HEALTH, SCHOOL, EARLY_HELP)
    async with (
        open_hub_world(dsn, rabbit, folder / "hub", agencies=agencies, people=people) as world,
        serve_api(world) as api,
    ):
        whole = WholeLog(api, {name: approver for name, (approver, _) in made.items()}, MovedClock(), folder)
        await log_registry(whole)
        async with world.running_worker(clock=whole.clock):
            await send_and_release(whole)
            await rest_on_consent(whole)
            await break_glass_and_disclose(whole)
            await recall_and_request(whole)
            await refuse_rubbish(whole)
            await send_what_is_erased(whole)
            await let_time_pass(whole)
            await world.wait_for("SELECT count(*) FROM redecide_due", 0)
            await world.wait_for("SELECT count(*) FROM outbox WHERE kind <> 'delivery' AND kind <> 'ticket'", 0)
        await hold_and_erase(whole)
        await read_the_audit(whole)
        await propose_checkpoint(world.owner, now=datetime.now(UTC))
        await witness(whole)
        await stamp(whole)
        yield whole


async def log_registry(whole: WholeLog) -> None:
    """Log the directory and the keys as the API does, and a further directory that names witnesses."""
    world = whole.world
    authority = FoundedAuthority(world.folder / "authority")
    save_state(authority.folder, authority.state(), witnesses=WitnessPolicy(agencies=(CSC, SCHOOL), quorum=2))
    signed = authority.sign()
    await versions.insert_directory(world.owner, signed.body, signed.directory)
    at = datetime.now(UTC).isoformat()
    events = [
        NewEvent.clear(
            "directory", {"version_number": row["version"], "sha256": encode_base64url(row["sha256"]), "at": at}
        )
        for row in await world.owner.fetch("SELECT version, sha256 FROM directory_versions ORDER BY version")
    ]
    rows = await world.owner.fetch("SELECT agency, kid, not_before, not_after FROM key_announcements")
    for row in rows:
        times = {name: row[name].isoformat() for name in ("not_before", "not_after")}
        events.append(NewEvent.clear("key", {"agency": row["agency"], "kid": row["kid"], **times, "at": at}))
    await whole.append(*events)


async def send_and_release(whole: WholeLog) -> None:
    """Receipts of every state; a source that an approver releases, with its sender's addendum and a receipt of its own; one that is refused."""
    world, ann = whole.world, whole.people["ann"]
    sealed = await whole.send(Draft(native_ref_digest="5a" * 32))
    school = verify_as(world, SCHOOL, (await whole.take(SCHOOL, "delivery")).body)
    accepted = await whole.say(SCHOOL, "receipt", sign_receipt(world, school, ReceiptState.ACCEPTED))
    opened = await whole.say(SCHOOL, "receipt", sign_receipt(world, school, ReceiptState.OPENED, accepted))
    await whole.say(SCHOOL, "receipt", sign_receipt(world, school, ReceiptState.ACTIONED, opened))
    health = verify_as(world, HEALTH, (await whole.take(HEALTH, "delivery")).body)
    accepted = await whole.say(HEALTH, "receipt", sign_receipt(world, health, ReceiptState.ACCEPTED))
    refusal = sign_receipt(world, health, ReceiptState.REFUSED, accepted, reason_code="not_our_area")
    await whole.say(HEALTH, "receipt", refusal)
    csc = verify_as(world, CSC, (await whole.take(CSC, "delivery")).body)
    await whole.say(CSC, "receipt", sign_receipt(world, csc, ReceiptState.ACCEPTED))
    row = next(r for r in await whole.api.reviews(ann) if r["recipient"] == CSC)
    claim = f"/v1/reviews/{row['message_id']}/{row['delivery_id']}/claim"
    assert (await whole.api.call("POST", claim, ann)).status_code == 200
    assert (await whole.api.approve(ann, "release", row)).status_code == 201
    request, _ = check_evidence(world, (await whole.take(POLICE, "approval")).body)
    await whole.say(POLICE, "keyring_addendum", sign_addendum(world, sealed, request))
    late = verify_as(world, CSC, (await whole.take(CSC, "delivery")).body)
    await whole.say(CSC, "receipt", sign_receipt(world, late, ReceiptState.ACCEPTED))
    await whole.send(Draft(recipients=((CSC, "csc"),), native_ref_digest="5a" * 32))
    row = next(r for r in await whole.api.reviews(ann) if r["recipient"] == CSC)
    assert (await whole.api.approve(ann, "refuse", row, reason_code="source_at_risk")).status_code == 201


async def rest_on_consent(whole: WholeLog) -> None:
    """A consent, a ticket that is collected under it, one that is not, and the consent's withdrawal."""
    world = whole.world
    given = await whole.say(
        POLICE, "consent", consent(world, POLICE, ConsentState.GIVEN, expires_at=datetime.now(UTC) + timedelta(days=9))
    )
    await whole.send(early_help())
    promised, _ = check_evidence(world, (await whole.take(EARLY_HELP, "ticket")).body)
    collected = await whole.api.call("POST", f"/v1/deliveries/{promised['delivery_id']}/collect", EARLY_HELP)
    delivery = verify_as(world, EARLY_HELP, collected.content)
    await whole.say(EARLY_HELP, "receipt", sign_receipt(world, delivery, ReceiptState.ACCEPTED))
    await whole.send(early_help())
    consent_id = Consent.model_validate(peek_object(given)).consent_id
    again = {"consent_id": consent_id, "previous": digest_object(given)}
    await whole.say(POLICE, "consent", consent(world, POLICE, ConsentState.WITHDRAWN, **again))
    await whole.say(POLICE, "consent", consent(world, POLICE, ConsentState.GIVEN, expires_at=whole_day(9)))


def whole_day(days: int) -> datetime:
    """Return an instant that many days ahead."""
    return datetime.now(UTC) + timedelta(days=days)


async def break_glass_and_disclose(whole: WholeLog) -> None:
    """Danger is claimed for what a conflict withholds, and reviewed; a disclosure token is used."""
    world, ann = whole.world, whole.people["ann"]
    conflict = {"conflicts": (ConflictOfInterest(agency=CSC),)}
    for reviewed in (True, False):
        draft = ChangedDraft(recipients=((CSC, "csc"),), policy=conflict, grade=RiskGrade.HIGH)
        sealed = await whole.send(draft)
        claim = BreakGlassControl(
            agency=POLICE,
            message_id=draft.message_id,
            manifest_digest=sealed.manifest_digest,
            person="p-17",
            reason_code="danger_now",
            claimed_at=datetime.now(UTC),
        )
        await whole.say(POLICE, "control", sign_object("control", claim, world.kits[POLICE].signer))
        query = "SELECT count(*) FROM retrospective_reviews WHERE message_id::text = $1"
        await world.wait_for(query, 1, draft.message_id)
        if reviewed:
            review = next(r for r in await whole.api.reviews(ann) if r["review"] == "break_glass")
            closing = review | {"delivery_id": None, "recipient": None, "held": ()}
            assert (await whole.api.approve(ann, "review_break_glass", closing)).status_code == 201
    token = DisclosureToken(scheme="MAPPA", ref="e1" * 32, recipient=SCHOOL, expires_at=whole_day(1))
    disclosed = {"purpose": "public_protection", "policy": {"tokens": (token,)}}
    await whole.send(OffenderDraft(kind="RSO_MAPPA", recipients=((SCHOOL, "dsl"),), **disclosed))


async def recall_and_request(whole: WholeLog) -> None:
    """A recall whose recipient keeps it for a legal hold, and deletes it after that; a question that is refused, and one that is not answered."""
    world = whole.world
    draft = PlainDraft(recipients=((HEALTH, "health_safeguarding"), (CSC, "csc")))
    sealed = await whole.send(draft)
    delivery = draft.header().deliveries[0]
    recall = Recall(
        recall_id=f"recall-0{token_hex(7)}",
        sender=POLICE,
        message_id=draft.message_id,
        referral_id=draft.referral_id,
        manifest_digest=sealed.manifest_digest,
        reason_code="wrong_child",
        issued_at=datetime.now(UTC),
        delete_by=whole_day(3),
    )
    await whole.say(POLICE, "recall", sign_object("recall", recall, world.kits[POLICE].signer))
    for exception in ("legal_hold", None):
        done = DeletionConfirmedControl(
            agency=HEALTH,
            recall_id=recall.recall_id,
            message_id=draft.message_id,
            delivery_id=delivery.delivery_id,
            deleted_at=datetime.now(UTC),
            exceptions_code=exception,
        )
        await whole.say(HEALTH, "control", sign_object("control", done, world.kits[HEALTH].signer))
    asked = b""
    for _ in range(2):
        members = list_request_members(CSC, HEALTH, whole_day(1))
        asked = await whole.say(CSC, "request", sign_object("request", Request(**members), world.kits[CSC].signer))
    refusal = members | {"step": RequestStep.REFUSED, "reason_code": "no_record", "previous": digest_object(asked)}
    await whole.say(HEALTH, "request", sign_object("request", Request(**refusal), world.kits[HEALTH].signer))


async def refuse_rubbish(whole: WholeLog) -> None:
    """Three messages in quarantine: one waits, one is rejected by a person, and one whose time is over loses its bytes."""
    world = whole.world
    await world.publish(POLICE, [b"rubbish one", b'{"manifest":{}}', b"rubbish three"])
    await world.wait_for("SELECT count(*) FROM quarantine", 3)
    pool = await open_pool(world.config.postgres.read_dsn("worker"), name="test", most=1)
    try:
        for row in await world.owner.fetch("SELECT quarantine_id FROM quarantine ORDER BY quarantine_id LIMIT 2"):
            words = {"by": "ann.lee", "reason": "a test", "now": datetime.now(UTC)}
            await reject_quarantined(pool, whole.writer, row["quarantine_id"], **words)
    finally:
        await pool.close()


async def send_what_is_erased(whole: WholeLog) -> None:
    """Two referrals that end well: one is erased by its time, the other on request."""
    for referral_id in (ERASED_ID, AGED_ID):
        await whole.send(PlainDraft(referral_id=referral_id, recipients=((SCHOOL, "dsl"),)))
        delivery = verify_as(whole.world, SCHOOL, (await whole.take(SCHOOL, "delivery")).body)
        while delivery.manifest.referral_id != referral_id:
            delivery = verify_as(whole.world, SCHOOL, (await whole.take(SCHOOL, "delivery")).body)
        await whole.say(SCHOOL, "receipt", sign_receipt(whole.world, delivery, ReceiptState.ACCEPTED))


async def let_time_pass(whole: WholeLog) -> None:
    """Statutory clocks run out: negative receipts, escalations, overdue reviews; a consent ends."""
    whole.clock.ahead = timedelta(days=10)
    wanted = "SELECT count(DISTINCT kind) FROM log_entries WHERE kind IN ('negative_receipt', 'escalated', 'overdue', 'consent_expired')"
    await whole.world.wait_for(wanted, 4, seconds=30)


async def hold_and_erase(whole: WholeLog) -> None:
    """A legal hold that stands, one that two people lifted; sealed bytes gone by time; a referral erased on request."""
    world = whole.world
    words: dict[str, Any] = {"reason_code": "court_order", "by": "ann.lee", "now": datetime.now(UTC)}
    pool = await open_pool(world.config.postgres.read_dsn("api"), name="test", most=1)
    try:
        await place_hold(pool, whole.writer, scope="referral", subject="ref-0000000000-kept0", **words)
        lifted = str(await place_hold(pool, whole.writer, scope="referral", subject="ref-0000000-lifted0", **words))
    finally:
        await pool.close()
    await whole.agree("lift_hold", lifted)
    await hub_retention.lift_hold(world.config, lifted, by="bob.lee")
    await whole.agree("erase", ERASED_ID)
    await hub_retention.erase_referral(world.config, ERASED_ID, by="bob.lee")
    pool = await open_pool(world.config.postgres.read_dsn("eraser"), name="test", most=2)
    try:
        eraser = Eraser(pool, whole.writer, lambda: whole_day(31), timedelta(days=30))
        done = await eraser.erase_due()
        assert (done.messages, done.quarantined) >= (1, 2), done
    finally:
        await pool.close()


async def read_the_audit(whole: WholeLog) -> None:
    """A chronology on two people's word, and enough other reads to fill a tile."""
    token = f"nhs|p1|{TOKEN.value}"
    await whole.agree("chronology", token)
    answer = await whole.api.call("POST", "/v1/chronology", whole.people["bob"], canonical_bytes({"token": token}))
    assert answer.status_code == 200, answer.text
    for number in range(3):
        at = datetime.now(UTC).isoformat()
        members = {"at": at, "by": "ann", "action": "show", "subject": "ref_1"}
        batch = [NewEvent.salted("audit_read", members) for _ in range(FILLERS)]
        await whole.append(*batch, NewEvent.clear("heartbeat", {"at": at, "size": number}))


async def witness(whole: WholeLog) -> str:
    """Let two witnesses cosign the newest checkpoint; return it."""
    world, now = whole.world, datetime.now(UTC)
    body = await versions.read_latest_directory(world.owner)
    directory = Directory.model_validate(peek_object(body or b""))
    note = str(await world.owner.fetchval("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1"))
    for agency in (CSC, SCHOOL):
        lines = world.kits[agency].cosign(note, at=now)
        await add_cosignature(world.owner, directory, agency, read_checkpoint(note).size, lines, now=now)
    return note


async def stamp(whole: WholeLog) -> None:
    """Let a timestamp authority stamp the newest checkpoint."""
    world = whole.world
    pool: asyncpg.Pool = await open_pool(world.config.postgres.read_dsn("api"), name="test", most=2)
    try:
        with serve_timestamps(whole.folder / "tsa") as authority:
            whole.timestamp_roots = read_roots(authority.ca_file.read_bytes())
            outside = TimestampAuthority(authority.url, whole.timestamp_roots, timeout_seconds=5)
            hour = timedelta(hours=1)
            stamper = Timestamper(
                pool, whole.writer, outside, every=hour, late_after=hour, clock=lambda: datetime.now(UTC)
            )
            assert await stamper.stamp_if_due()
    finally:
        await pool.close()
    await whole.append(NewEvent.clear("heartbeat", {"at": datetime.now(UTC).isoformat(), "size": 9}))
