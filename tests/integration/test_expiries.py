"""What ends by itself is said aloud, on real servers: a consent while its delivery is queued, an agreement; and a consent replaces its giver's own only."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker.registry import versions
from schemas.codes import ConsentGiver, ConsentState
from schemas.header import ConsentFacts
from schemas.objects import peek_object
from tests.integration.test_clocks import SetClock
from tests.integration.test_register_rules import say
from tests.support.authority import FoundedAuthority
from tests.support.drafts import EARLY_HELP, ChangedDraft, consent, early_help
from tests.support.fsck import list_findings
from tests.support.hub_agency import check_evidence
from tests.support.hub_world import CSC, POLICE, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost


async def hear(world: HubWorld, agency: str, code: str, *, count: int = 1) -> list[dict[str, Any]]:
    """Receive until the agency was told ``code`` so often, each with its proof."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(25):
        while len(found) < count:
            for message in await world.receive(agency, 1, seconds=1):
                if message.type == "notice":
                    told, _ = check_evidence(world, message.body)
                    found += [told] if told.get("code") == code else []
    return found


async def decide(world: HubWorld, draft: Draft) -> str:
    """Publish a draft as the police and return its one delivery's outcome; what is told meanwhile stays in the queues."""
    await world.publish(POLICE, [world.seal(draft).body])
    (delivery,) = draft.header().deliveries
    await world.wait_for("SELECT count(*) FROM deliveries WHERE delivery_id = $1", 1, delivery.delivery_id)
    return str(
        await world.owner.fetchval("SELECT outcome FROM deliveries WHERE delivery_id = $1", delivery.delivery_id)
    )


async def test_a_consent_that_ends_while_its_delivery_is_queued(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    agencies = (POLICE, CSC, EARLY_HELP)
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=agencies) as world:
        clock = SetClock(datetime.now(UTC) + timedelta(minutes=1))
        ends_at = clock.now + timedelta(days=30)
        async with world.running_worker(clock=clock):
            recorded = consent(world, POLICE, ConsentState.GIVEN, expires_at=ends_at)
            await say(world, POLICE, "consent", recorded)
            stated = ConsentFacts(
                state=ConsentState.GIVEN, giver=ConsentGiver.PARENT_PR_HOLDER, given_at=clock.now, expires_at=ends_at
            )
            assert await decide(world, early_help()) == "delivered"
            (ticket,) = await world.receive(EARLY_HELP, 1)
            queued = check_evidence(world, ticket.body)[0]["delivery_id"]

            clock.now = ends_at - timedelta(seconds=1)
            assert await decide(world, early_help()) == "delivered"
            clock.now = ends_at
            assert await decide(world, early_help()) == "withheld"
            # Without anybody asking: recorder, sender and recipient hear of it, and what is queued is decided again.
            told = await hear(world, EARLY_HELP, "CONSENT_EXPIRED", count=2)
            assert queued in {t["delivery_id"] for t in told}
            await world.wait_for("SELECT state FROM deliveries WHERE delivery_id = $1", "withheld", queued)
            assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'consent_expired'") == 1
            causes = await world.owner.fetch("SELECT DISTINCT cause FROM redecisions WHERE delivery_id = $1", queued)
            assert {row["cause"] for row in causes} <= {"consent_expired", "time_passed"}

            # A consent that only the header states ends too, and its sender is told what became of the delivery.
            clock.now += timedelta(days=1)
            later = clock.now + timedelta(days=5)
            alone = stated.model_copy(update={"given_at": clock.now, "expires_at": later})
            assert await decide(world, early_help(consent=alone)) == "delivered"
            last = await world.owner.fetchval(
                "SELECT delivery_id FROM deliveries ORDER BY decided_at DESC, event_id LIMIT 1"
            )
            clock.now = later
            await world.wait_for("SELECT state FROM deliveries WHERE delivery_id = $1", "withheld", last, seconds=25)
            assert (
                await world.owner.fetchval("SELECT count(*) FROM decision_expiries WHERE delivery_id = $1", last) == 1
            )


async def test_an_agreement_that_ends_is_announced_once_and_a_consent_replaces_its_givers_own(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC, EARLY_HELP)) as world:
        clock = SetClock(
            datetime(2027, 2, 1, 10, tzinfo=UTC)
        )  # DSA-07 ends on 31 March, and its review was due the day before
        async with world.running_worker(clock=clock):
            await world.wait_for("SELECT count(*) FROM agreement_warnings", 2)
            clock.now = datetime(2027, 3, 1, 10, tzinfo=UTC)
            await world.wait_for("SELECT count(*) FROM agreement_warnings", 3, seconds=25)
            entries = await world.owner.fetch(
                "SELECT entry FROM log_entries WHERE kind = 'agreement' ORDER BY position"
            )
            said = [(e["agreement"], e["code"], e["owner"]) for e in (json.loads(row["entry"]) for row in entries)]
            assert sorted(said) == [
                ("DSA-07", "ends_in_30_days", CSC),
                ("DSA-07", "ends_in_60_days", CSC),
                ("DSA-07", "review_overdue", CSC),
            ]
            assert await list_findings(world) == []

            given = consent(world, POLICE, ConsentState.GIVEN)
            await say(world, POLICE, "consent", given)
            first = peek_object(given)["consent_id"]
            fresh = {"supersedes": first, "consent_id": "consent-of-today-00000"}
            by_child = consent(world, POLICE, ConsentState.REFUSED, giver=ConsentGiver.CHILD, **fresh)
            assert (await say(world, POLICE, "consent", by_child))["error"]["code"] == "conflict"
            by_other = consent(world, CSC, ConsentState.REFUSED, **fresh)
            assert (await say(world, CSC, "consent", by_other))["error"]["code"] == "not-found"
            assert await decide(world, early_help()) == "delivered"
            refused = consent(world, POLICE, ConsentState.REFUSED, **fresh)
            await world.publish(POLICE, [refused], message_type="consent")
            await world.wait_for("SELECT count(*) FROM consents", 2)
            assert await decide(world, early_help()) == "withheld"
            assert await decide(world, Draft(recipients=((CSC, "csc"),))) == "delivered"

            # Another agreement in the next directory, and an agreement that ended: each counts from the next message.
            authority = FoundedAuthority(world.folder / "authority")
            partnership = authority.folder / "partnership.yaml"
            partnership.write_text(partnership.read_text().replace("kinds: [CP_S47, CIN_S17", "kinds: [CIN_S17"))
            signed = authority.sign()
            await versions.insert_directory(world.owner, signed.body, signed.directory)
            assert await decide(world, Draft(recipients=((CSC, "csc"),))) == "rejected"
            welfare = ChangedDraft(kind="CIN_S17", recipients=((CSC, "csc"),), purpose="promote_welfare")
            assert await decide(world, welfare) == "delivered"
            clock.now = datetime(2028, 9, 30, tzinfo=UTC)  # DSA-01 ended the local day before
            late = ChangedDraft(kind="CIN_S17", recipients=((CSC, "csc"),), purpose="promote_welfare")
            assert await decide(world, late) == "rejected"
            row = "SELECT decision -> 'alerts' FROM deliveries WHERE delivery_id = $1"
            assert "agreement_expired" in await world.owner.fetchval(row, late.header().deliveries[0].delivery_id)
