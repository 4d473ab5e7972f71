"""What the registers accept and what they do to decisions, message by message: consent, tokens, embargo, broken glass, corrections, requests."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker.config import read_log_key
from broker.intake.committing import RacedByAnother, commit_effects
from broker.intake.effects import Effects
from broker.log import LogWriter, NewEvent
from broker.registry import Registry
from broker.store.pool import open_pool
from broker.store.registers import find_used, insert_row
from broker.wiring import read_authority_keys
from schemas.canonical import parse_object
from schemas.codes import Compartment, ConsentGiver, ConsentState, Form, RiskGrade
from schemas.envelope import INCIDENT, SectionDraft
from schemas.header import (
    BreakGlassClaim,
    ConflictOfInterest,
    ConsentFacts,
    ConsentScope,
    DisclosureToken,
    Embargo,
)
from schemas.objects import digest_object, peek_object, sign_object
from schemas.objects.consent import Consent
from schemas.objects.control import BreakGlassControl, DeletionConfirmedControl
from schemas.objects.correspondence import Recall, Request, RequestStep
from tests.support.drafts import EARLY_HELP, ChangedDraft, consent, early_help, list_request_members
from tests.support.hub_agency import check_evidence, check_notice, open_as, verify_as
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.reviewing import PersonalApi, make_approver, serve_api
from tests.support.servers import RabbitVhost


@pytest.fixture
async def hub(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[tuple[PersonalApi, Any]]:
    ann, entry = make_approver(tmp_path, "ann.lee", POLICE)
    agencies = (POLICE, CSC, HEALTH, SCHOOL, EARLY_HELP)
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=agencies, people=[entry]) as world,
        serve_api(world) as api,
        world.running_worker(),
    ):
        yield api, ann


async def send(world: HubWorld, draft: Draft) -> dict[str, Any]:
    """Publish a draft as the police and return its decisions by recipient."""
    await world.publish(POLICE, [world.seal(draft).body])
    (notice,) = await world.receive(POLICE, 1)
    return {d["recipient"]: d for d in check_notice(world, notice.body)["decisions"]}


async def say(world: HubWorld, agency: str, kind: str, body: bytes) -> dict[str, Any]:
    """Publish a signed object and return what its signer is told of it."""
    await world.publish(agency, [body], message_type=kind)
    (notice,) = await world.receive(agency, 1)
    told, _ = check_evidence(world, notice.body)
    return told


async def test_a_recorded_consent_counts_from_the_next_message_on_until_it_is_withdrawn(hub: Any) -> None:
    api, _ = hub
    world: HubWorld = api.world
    assert (await send(world, early_help()))[EARLY_HELP]["outcome"] == "withheld"
    given = consent(world, POLICE, ConsentState.GIVEN)
    assert (await say(world, POLICE, "consent", given))["outcome"] == "recorded"
    decided = (await send(world, early_help()))[EARLY_HELP]
    assert decided["outcome"] == "delivered", decided
    (ticket,) = await world.receive(EARLY_HELP, 1)
    assert ticket.type == "ticket"

    promised, _ = check_evidence(world, ticket.body)
    collected = await api.call("POST", f"/v1/deliveries/{promised['delivery_id']}/collect", EARLY_HELP)
    assert collected.status_code == 200, collected.text
    assert ("C01", "subject-000000000child") in open_as(world, EARLY_HELP, collected.content)
    again = await api.call("POST", f"/v1/deliveries/{promised['delivery_id']}/collect", EARLY_HELP)
    assert (
        verify_as(world, EARLY_HELP, again.content).decision_leaf
        == verify_as(world, EARLY_HELP, collected.content).decision_leaf
    )

    first = Consent.model_validate(peek_object(given))
    withdrawn = consent(
        world, POLICE, ConsentState.WITHDRAWN, consent_id=first.consent_id, previous=digest_object(given)
    )
    assert (await say(world, POLICE, "consent", withdrawn))["outcome"] == "recorded"
    assert (await send(world, early_help()))[EARLY_HELP]["outcome"] == "withheld"
    # Collected already: a withdrawal recalls nothing, and the next look at it does not hand it out again.
    late = await api.call("POST", f"/v1/deliveries/{promised['delivery_id']}/collect", EARLY_HELP)
    assert late.status_code == 403


async def test_a_chain_cannot_be_forked_taken_over_or_begun_by_an_outsider(hub: Any) -> None:
    api, _ = hub
    world: HubWorld = api.world
    given = consent(world, POLICE, ConsentState.GIVEN)
    await say(world, POLICE, "consent", given)
    consent_id = Consent.model_validate(peek_object(given)).consent_id
    fork = consent(world, POLICE, ConsentState.WITHDRAWN, consent_id=consent_id)
    assert (await say(world, POLICE, "consent", fork))["error"]["code"] == "conflict"
    other = consent(world, CSC, ConsentState.WITHDRAWN, consent_id=consent_id, previous=digest_object(given))
    assert (await say(world, CSC, "consent", other))["error"]["code"] == "not-permitted"
    forged = consent(world, CSC, ConsentState.GIVEN, recorded_by=POLICE)
    assert (await say(world, CSC, "consent", forged))["error"]["code"] == "not-permitted"
    scope = ConsentScope(purposes=("idva_support",))
    outside = consent(world, SCHOOL, ConsentState.GIVEN, scope=scope)
    assert (await say(world, SCHOOL, "consent", outside))["error"]["code"] == "not-permitted"
    assert await world.owner.fetchval("SELECT count(*) FROM consents") == 1


async def test_a_suspected_givers_consent_counts_for_nothing(hub: Any) -> None:
    api, _ = hub
    world: HubWorld = api.world
    await say(world, POLICE, "consent", consent(world, POLICE, ConsentState.GIVEN))
    suspected = ConsentFacts(state=ConsentState.NOT_SOUGHT, giver=ConsentGiver.PARENT_PR_HOLDER, giver_suspected=True)
    assert (await send(world, early_help(consent=suspected)))[EARLY_HELP]["outcome"] == "withheld"


async def test_an_embargo_is_its_owners_to_lift(hub: Any) -> None:
    api, ann = hub
    world: HubWorld = api.world
    draft = ChangedDraft(recipients=((CSC, "csc"),), policy={"embargo": Embargo(active=True, set_at=datetime.now(UTC))})
    decision = (await send(world, draft))[CSC]
    assert decision["outcome"] != "delivered"
    row = {
        "message_id": draft.message_id,
        "manifest_digest": await world.owner.fetchval("SELECT manifest_digest FROM messages"),
        "delivery_id": None,
        "recipient": None,
        "held": (),
    }
    assert (await api.approve(ann, "review_embargo", row)).status_code == 201
    assert await world.receive(CSC, 1, seconds=1) == []
    assert (await api.approve(ann, "lift_embargo", row)).status_code == 201
    (delivery,) = await world.receive(CSC, 1)
    assert ("C01", "subject-000000000child") in open_as(world, CSC, delivery.body)
    told = [check_evidence(world, m.body)[0] for m in await world.receive(POLICE, 2, seconds=3)]
    assert [t["decisions"][0]["outcome"] for t in told if t["outcome"] == "decided"] == ["delivered"]


async def test_broken_glass_lifts_a_conflict_at_once_and_opens_a_review(hub: Any) -> None:
    api, ann = hub
    world: HubWorld = api.world
    draft = ChangedDraft(
        recipients=((CSC, "csc"),),
        policy={"conflicts": (ConflictOfInterest(agency=CSC),)},
        grade=RiskGrade.HIGH,
    )
    assert (await send(world, draft))[CSC]["outcome"] == "withheld"
    digest = await world.owner.fetchval("SELECT manifest_digest FROM messages")
    claim = BreakGlassControl(
        agency=POLICE,
        message_id=draft.message_id,
        manifest_digest=digest,
        person="p-17",
        reason_code="danger_now",
        claimed_at=datetime.now(UTC),
    )
    # Who neither sent nor is to receive it has nothing to claim.
    stranger = sign_object("control", claim.model_copy(update={"agency": SCHOOL}), world.kits[SCHOOL].signer)
    assert (await say(world, SCHOOL, "control", stranger))["error"]["code"] == "not-found"
    await world.publish(POLICE, [sign_object("control", claim, world.kits[POLICE].signer)], message_type="control")
    (delivery,) = await world.receive(CSC, 1)
    opened = open_as(world, CSC, delivery.body)
    assert ("C01", "subject-000000000child") in opened
    assert not [c for c, _ in opened if c == "C10"]
    await world.wait_for("SELECT kind FROM retrospective_reviews WHERE state = 'open'", "break_glass")
    review = next(r for r in await api.reviews(ann) if r["review"] == "break_glass")
    closing = review | {"delivery_id": None, "recipient": None, "held": ()}
    assert (await api.approve(ann, "review_break_glass", closing)).status_code == 201
    assert await world.owner.fetchval("SELECT state FROM retrospective_reviews") == "done"


async def test_whoever_broke_the_glass_does_not_review_it(hub: Any) -> None:
    api, ann = hub
    world: HubWorld = api.world
    draft = ChangedDraft(
        recipients=((CSC, "csc"),),
        policy={
            "conflicts": (ConflictOfInterest(agency=CSC),),
            "break_glass": BreakGlassClaim(by="ann.lee", reason_given=True, at=datetime.now(UTC)),
        },
        grade=RiskGrade.HIGH,
    )
    assert (await send(world, draft))[CSC]["outcome"] == "delivered"
    review = next(r for r in await api.reviews(ann) if r["review"] == "break_glass")
    closing = review | {"delivery_id": None, "recipient": None, "held": ()}
    assert (await api.approve(ann, "review_break_glass", closing)).json()["code"] == "not-permitted"


class OffenderDraft(ChangedDraft):
    """A registered offender's details to a school, which is a third party: by a disclosure token or not at all."""

    def sections(self) -> list[SectionDraft]:
        offender = SectionDraft(
            "section-00000000000009", Compartment.C09, INCIDENT, Form.FULL, {"text": "CANARYoffender"}
        )
        return [*super().sections(), offender]


async def test_a_disclosure_token_serves_one_matter_once(hub: Any) -> None:
    api, _ = hub
    world: HubWorld = api.world
    token = DisclosureToken(
        scheme="MAPPA", ref="e1" * 32, recipient=SCHOOL, expires_at=datetime.now(UTC) + timedelta(days=1)
    )

    def draft(*tokens: DisclosureToken) -> OffenderDraft:
        return OffenderDraft(
            kind="RSO_MAPPA", recipients=((SCHOOL, "dsl"),), purpose="public_protection", policy={"tokens": tokens}
        )

    async def offender(sent: OffenderDraft, **facts: Any) -> dict[str, Any]:
        await world.publish(POLICE, [world.seal(sent, **facts).body])
        (notice,) = await world.receive(POLICE, 1)
        found: dict[str, Any] = check_notice(world, notice.body)["decisions"][0]["compartments"]["C09"]
        return found

    async def uses() -> list[tuple[str, str]]:
        rows = await world.owner.fetch("SELECT conversation, ref FROM used_tokens")
        return [(row["conversation"], row["ref"]) for row in rows]

    assert (await offender(draft()))["result"] == "held"
    assert await uses() == []
    first = draft(token)
    assert (await offender(first))["result"] == "full"
    (delivered,) = await world.receive(SCHOOL, 1)
    sections = open_as(world, SCHOOL, delivered.body)
    assert sections["C09", INCIDENT] == "full", "the school has the offender's details in its hands"
    matter = f"conv{first.referral_id[4:]}"
    assert await uses() == [(matter, "e1" * 32)]

    other = await offender(draft(token))
    assert (other["result"], other["row"]) == ("held", "D8"), "another matter needs another token"
    assert (await offender(draft(token), conversation=matter))["result"] == "full", "the same matter goes on"
    assert await uses() == [(matter, "e1" * 32)]


async def test_no_agency_uses_up_anothers_token_by_stating_its_reference(hub: Any) -> None:
    api, _ = hub
    connection, token = api.world.owner, ("MAPPA", "e1" * 32)
    row = {"scheme": "MAPPA", "ref": "e1" * 32, "message_id": uuid4(), "used_at": datetime.now(UTC)}
    assert await insert_row(
        connection, "used_tokens", row | {"sender": SCHOOL, "conversation": "matter-000000000000001"}
    )
    assert await find_used(connection, POLICE, [token], "matter-000000000000002") == frozenset()
    assert await find_used(connection, SCHOOL, [token], "matter-000000000000002") == {token}
    assert await insert_row(
        connection, "used_tokens", row | {"sender": POLICE, "conversation": "matter-000000000000002"}
    )
    assert not await insert_row(
        connection, "used_tokens", row | {"sender": POLICE, "conversation": "matter-000000000000003"}
    )
    assert await find_used(connection, POLICE, [token], "matter-000000000000003") == {token}


async def test_a_correction_tells_those_whom_it_does_not_reach(hub: Any) -> None:
    api, _ = hub
    world: HubWorld = api.world
    original = Draft(recipients=((CSC, "csc"), (HEALTH, "health_safeguarding")))
    await send(world, original)
    await world.receive(CSC, 1)
    await world.receive(HEALTH, 1)
    correction = ChangedDraft(kind="CORRECTION", recipients=((CSC, "csc"),), case={"original_kind": "CP_S47"})
    await world.publish(POLICE, [world.seal(correction, supersedes=original.message_id).body])
    (word,) = await world.receive(HEALTH, 1)
    told, _ = check_evidence(world, word.body)
    assert (told["code"], told["message_id"]) == ("CORRECTED", original.message_id)
    (delivery,) = await world.receive(CSC, 1)
    assert delivery.type == "delivery"


async def test_a_request_is_passed_on_clocked_and_answered_once(hub: Any) -> None:
    api, _ = hub
    world: HubWorld = api.world
    members = list_request_members(CSC, HEALTH, datetime.now(UTC) + timedelta(days=5))
    asked = sign_object("request", Request(**members), world.kits[CSC].signer)
    assert (await say(world, CSC, "request", asked))["outcome"] == "recorded"
    (word,) = await world.receive(HEALTH, 1)
    told, _ = check_evidence(world, word.body)
    assert (told["code"], told["statement"]) == ("REQUEST_ASKED", parse_object(asked, max_bytes=1 << 20))
    refusal = members | {"step": RequestStep.REFUSED, "reason_code": "no_record", "previous": digest_object(asked)}
    forged = sign_object("request", Request(**refusal), world.kits[SCHOOL].signer)
    assert (await say(world, SCHOOL, "request", forged))["error"]["code"] == "not-permitted"
    assert await world.owner.fetchval("SELECT state FROM requests WHERE step = 'asked'") == "running"
    answer = sign_object("request", Request(**refusal), world.kits[HEALTH].signer)
    await say(world, HEALTH, "request", answer)
    (word,) = await world.receive(CSC, 1)
    assert check_evidence(world, word.body)[0]["code"] == "REQUEST_REFUSED"
    assert await world.owner.fetchval("SELECT state FROM requests WHERE step = 'asked'") == "met"


async def test_what_a_legal_hold_kept_is_deleted_after_it_and_nothing_follows_a_deletion(hub: Any) -> None:
    api, _ = hub
    world: HubWorld = api.world
    draft = Draft()
    decided = await send(world, draft)
    message = await world.owner.fetchrow("SELECT message_id, referral_id, manifest_digest FROM messages")
    recall = Recall(
        recall_id="recall-000000000000001",
        sender=POLICE,
        message_id=str(message["message_id"]),
        referral_id=message["referral_id"],
        manifest_digest=message["manifest_digest"],
        reason_code="wrong_child",
        issued_at=datetime.now(UTC),
        delete_by=datetime.now(UTC) + timedelta(days=3),
    )
    await say(world, POLICE, "recall", sign_object("recall", recall, world.kits[POLICE].signer))

    def confirm(recipient: str, exception: str | None) -> bytes:
        done = DeletionConfirmedControl(
            agency=recipient,
            recall_id=recall.recall_id,
            message_id=recall.message_id,
            delivery_id=decided[recipient]["delivery_id"],
            deleted_at=datetime.now(UTC),
            exceptions_code=exception,
        )
        return sign_object("control", done, world.kits[recipient].signer)

    # One after another, and all in one batch.
    said = ("legal_hold", "court_order", None, "court_order", None)
    await world.receive(CSC, 2)  # the referral and its recall
    outcomes = [(await say(world, CSC, "control", confirm(CSC, exception)))["outcome"] for exception in said]
    assert outcomes == ["recorded", "rejected", "recorded", "rejected", "rejected"]
    await world.receive(HEALTH, 2)
    await world.publish(HEALTH, [confirm(HEALTH, exception) for exception in (None, *said)], message_type="control")
    told = [check_evidence(world, notice.body)[0]["outcome"] for notice in await world.receive(HEALTH, 6)]
    assert sorted(told) == ["recorded"] + ["rejected"] * 5
    kept = await world.owner.fetch("SELECT agency, exceptions_code FROM deletions ORDER BY agency, received_at")
    assert [tuple(row) for row in kept] == [(CSC, "legal_hold"), (CSC, None), (HEALTH, None)]


async def test_what_was_decided_before_the_registers_moved_is_not_committed(hub: Any) -> None:
    api, _ = hub
    world: HubWorld = api.world
    pool = await open_pool(world.config.postgres.read_dsn("worker"), name="test-race")
    try:
        registry = Registry(pool, read_authority_keys(world.config.trust_file), lambda: datetime.now(UTC))
        log = LogWriter(world.config.log.origin, read_log_key(world.config.log.key_file))
        snapshot = await registry.current()
        now = datetime.now(UTC)
        effects = Effects(now=now, lease_until=now, register_change=0)
        effects.log(NewEvent.salted("audit_read", {"at": now.isoformat(), "by": "test", "action": "x", "subject": "y"}))
        await world.owner.execute("UPDATE register_change SET change = change + 1")
        async with pool.acquire() as connection:
            with pytest.raises(RacedByAnother):
                await commit_effects(pool, connection, log, effects, snapshot=snapshot, observe=lambda _step: None)
        assert await world.owner.fetchval("SELECT count(*) FROM log_entries") == 0
    finally:
        await pool.close()
