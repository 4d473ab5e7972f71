"""Clocks through real messages, on real servers: started on commit, met and paused by receipts, breached once, told with proofs."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.store.clocks import lock_sweeping
from deploy.cli import app
from schemas.canonical import decode_base64url, parse_object
from schemas.codes import ReceiptState
from schemas.header import Embargo
from schemas.objects.receipt import NegativeReceipt
from tests.support.drafts import ChangedDraft
from tests.support.hub_agency import check_evidence, check_notice, sign_receipt, verify_as
from tests.support.hub_world import CSC, POLICE, Draft, HubWorld, open_hub_world
from tests.support.reviewing import make_approver, serve_api
from tests.support.servers import RabbitVhost

MONDAY = datetime(2026, 11, 23, 10, tzinfo=UTC)
ACKNOWLEDGE_BY = datetime(2026, 11, 24, 17, tzinfo=UTC)
DISCUSS_BY = datetime(2026, 11, 24, 10, tzinfo=UTC)


class SetClock:
    """A business clock that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path, agencies=(POLICE, CSC)) as world:
        yield world


async def send(world: HubWorld, **draft: Any) -> tuple[dict[str, Any], Any]:
    """Send a referral to children's social care; return the sender's notice and the recipient's verified delivery."""
    await world.publish(POLICE, [world.seal(Draft(recipients=((CSC, "csc"),), **draft)).body])
    (notice,) = await world.receive(POLICE, 1)
    (delivery,) = await world.receive(CSC, 1)
    return check_notice(world, notice.body), verify_as(world, CSC, delivery.body)


async def answer(
    world: HubWorld, delivery: Any, *states: ReceiptState, after: bytes | None = None, **changes: Any
) -> bytes:
    """Let the recipient sign one receipt after another; return the last."""
    for state in states:
        after = sign_receipt(world, delivery, state, after, **changes)
        await world.publish(CSC, [after], message_type="receipt")
        await world.wait_for("SELECT count(*) FROM receipts WHERE state = $1", 1, state.value)
    assert after is not None
    return after


async def take_notices(world: HubWorld, agency: str, outcome: str, count: int) -> list[dict[str, Any]]:
    """Receive until ``count`` notices of an outcome have come, check each one's proof, and return them."""
    found: list[dict[str, Any]] = []
    for _ in range(20):
        for message in await world.receive(agency, 1, seconds=1):
            if message.type == "notice" and parse_object(message.body, max_bytes=1 << 20)["outcome"] == outcome:
                found.append(check_notice(world, message.body))
        if len(found) >= count:
            return found
    raise AssertionError(f"{len(found)} notices {outcome} instead of {count}")


async def read_states(world: HubWorld) -> dict[str, str]:
    return {row["clock"]: row["state"] for row in await world.owner.fetch("SELECT clock, state FROM clocks")}


async def run(world: HubWorld, *options: str) -> dict[str, Any]:
    """Run ``safelane hub clocks`` in another thread: a command has an event loop of its own."""
    arguments = ["hub", "clocks", *options, "--config", str(world.config_file)]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


async def test_a_referral_starts_its_clocks_and_receipts_meet_them(world: HubWorld) -> None:
    clock = SetClock(MONDAY)
    async with world.running_worker(clock=clock):
        told, delivery = await send(world)
        assert [(c["clock"], c["starts_at"], c["due_at"], c["recipients"]) for c in told["clocks"]] == [
            ("la_acknowledgement", MONDAY.isoformat(), ACKNOWLEDGE_BY.isoformat(), [CSC]),
            ("strategy_discussion", MONDAY.isoformat(), DISCUSS_BY.isoformat(), [CSC]),
        ]
        assert all(c["assumption"] for c in told["clocks"])
        clock.now += timedelta(hours=1)
        opened = await answer(world, delivery, ReceiptState.ACCEPTED, ReceiptState.OPENED)
        (notice,) = await take_notices(world, POLICE, "clock", 1)
        (change,) = notice["changes"]
        assert (change["clock"], change["recipient"], change["state"]) == ("la_acknowledgement", CSC, "met")
        assert change["at"] == clock.now.isoformat()
        assert await read_states(world) == {"la_acknowledgement": "met", "strategy_discussion": "running"}
        await answer(world, delivery, ReceiptState.ACTIONED, after=opened)
        (notice,) = await take_notices(world, POLICE, "clock", 1)
        assert [c["clock"] for c in notice["changes"]] == ["strategy_discussion"]
        # What is met stays met, however late it gets.
        clock.now += timedelta(days=30)
    assert await read_states(world) == {"la_acknowledgement": "met", "strategy_discussion": "met"}
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'negative_receipt'") == 0


async def test_silence_breaches_once_with_a_negative_receipt_whatever_restarts(world: HubWorld) -> None:
    clock = SetClock(MONDAY)
    async with world.running_worker(clock=clock):
        _, delivery = await send(world)
        await answer(world, delivery, ReceiptState.ACCEPTED)
    clock.now = ACKNOWLEDGE_BY  # at the instant itself it is still in time; the discussion is not
    async with world.running_worker(clock=clock), world.running_worker(clock=clock):
        await world.wait_for("SELECT count(*) FROM clocks WHERE state = 'breached'", 1)
        clock.now += timedelta(seconds=1)
        await world.wait_for("SELECT count(*) FROM clocks WHERE state = 'breached'", 2)
        notices = await take_notices(world, POLICE, "negative_receipt", 2)
        escalated = await take_notices(world, CSC, "escalated", 2)
    async with world.running_worker(clock=clock):
        clock.now += timedelta(days=7)
        for message in await world.receive(
            POLICE, 9, seconds=2
        ):  # a hold is overdue too; of the clocks nothing is said again
            assert check_notice(world, message.body)["outcome"] == "overdue"
    listed = await run(world, "--breached", "--json")
    assert [(c["clock"], c["recipient"]) for c in listed["clocks"]] == [
        ("strategy_discussion", CSC),
        ("la_acknowledgement", CSC),
    ]
    assert (await run(world, "--open", "--json"))["clocks"] == []
    kinds = [row["kind"] for row in await world.owner.fetch("SELECT kind FROM log_entries")]
    assert (kinds.count("negative_receipt"), kinds.count("escalated"), kinds.count("clock")) == (2, 2, 2)
    acknowledgement = next(n for n in notices if n["clock"] == "la_acknowledgement")
    receipt = NegativeReceipt.model_validate(
        {k: v for k, v in acknowledgement.items() if k in NegativeReceipt.model_fields}
    )
    assert (receipt.recipient, receipt.none_logged_by, receipt.last_state) == (
        CSC,
        ACKNOWLEDGE_BY,
        ReceiptState.ACCEPTED,
    )
    assert receipt.decision_leaf == delivery.decision_leaf
    assert {(n["clock"], n["agency"]) for n in escalated} == {("la_acknowledgement", CSC), ("strategy_discussion", CSC)}
    assert all(n["roles"] for n in escalated)


async def test_what_comes_late_is_met_late_even_before_anyone_swept(world: HubWorld) -> None:
    clock = SetClock(MONDAY)
    # Another worker is busy sweeping, for ever.
    assert await lock_sweeping(world.owner)
    async with world.running_worker(clock=clock):
        _, delivery = await send(world)
        accepted = await answer(world, delivery, ReceiptState.ACCEPTED)
        clock.now = ACKNOWLEDGE_BY + timedelta(minutes=5)
        await answer(world, delivery, ReceiptState.OPENED, after=accepted)
    row = await world.owner.fetchrow("SELECT state, breached_at, met_at FROM clocks WHERE clock = 'la_acknowledgement'")
    assert row is not None
    assert (row["state"], row["breached_at"], row["met_at"]) == ("breached", clock.now, clock.now)
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'negative_receipt'") == 1


async def test_a_clock_waits_for_an_answer_and_runs_on(world: HubWorld) -> None:
    clock = SetClock(MONDAY)
    async with world.running_worker(clock=clock):
        _, delivery = await send(world, kind="PPN", referral_id="ref-000000000000paused")
        before = await world.owner.fetchval("SELECT due_at FROM clocks WHERE clock = 'mash_triage'")
        accepted = await answer(world, delivery, ReceiptState.ACCEPTED)
        await answer(world, delivery, ReceiptState.REFUSED, after=accepted, reason_code="insufficient_information")
        await world.wait_for("SELECT state FROM clocks WHERE clock = 'mash_triage'", "paused")
        assert (await read_states(world))["referrer_chase"] == "running"
        clock.now = MONDAY + timedelta(hours=5)
        update = Draft(recipients=((CSC, "csc"),), kind="UPDATE", referral_id="ref-000000000000answer")
        await world.publish(POLICE, [world.seal(update, conversation="conv000000000000paused").body])
        await world.wait_for("SELECT state FROM clocks WHERE clock = 'mash_triage'", "running")
    after = await world.owner.fetchval("SELECT due_at FROM clocks WHERE clock = 'mash_triage'")
    assert after - before == timedelta(hours=5)


async def test_nothing_in_a_clocks_events_is_content(world: HubWorld) -> None:
    clock = SetClock(MONDAY)
    async with world.running_worker(clock=clock):
        await send(world, canaries=("CANARYchild", "CANARYsibling", "CANARYsource"))
        clock.now += timedelta(days=3)
        messages = [m for _ in range(4) for m in await world.receive(POLICE, 1, seconds=1)]
    assert len(messages) >= 3
    for message in messages:
        check_evidence(world, message.body)
        members = parse_object(message.body, max_bytes=1 << 20)
        assert b"CANARY" not in message.body + decode_base64url(members["event"])


async def test_an_embargo_is_reviewed_again_and_again_and_what_goes_late_starts_late(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    ann, entry = make_approver(tmp_path, "ann.lee", POLICE)
    start = datetime.now(UTC)
    async with (
        open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC), people=[entry]) as world,
        serve_api(world) as api,
    ):
        draft = ChangedDraft(
            recipients=((CSC, "csc"),), policy={"embargo": Embargo(active=True, set_at=start - timedelta(hours=9))}
        )
        async with world.running_worker():
            await world.publish(POLICE, [world.seal(draft).body])
            (notice,) = await world.receive(POLICE, 1)
            # Nothing was delivered: no clock binds social care, the embargo's own alone runs.
            assert [c["clock"] for c in check_notice(world, notice.body)["clocks"]] == ["embargo_review"]
            before = await world.owner.fetchval("SELECT due_at FROM clocks")
            row = {
                "message_id": draft.message_id,
                "manifest_digest": await world.owner.fetchval("SELECT manifest_digest FROM messages"),
                "delivery_id": None,
                "recipient": None,
                "held": (),
            }
            assert (await api.approve(ann, "review_embargo", row)).status_code == 201
            (renewed,) = await take_notices(world, POLICE, "clock", 1)
            assert [(c["clock"], c["state"]) for c in renewed["changes"]] == [("embargo_review", "running")]
            assert before < datetime.fromisoformat(renewed["changes"][0]["due_at"])
            assert (await api.approve(ann, "lift_embargo", row)).status_code == 201
            (delivery,) = await world.receive(CSC, 1)
            await world.wait_for("SELECT state FROM clocks WHERE clock = 'embargo_review'", "met")
        rows = await world.owner.fetch("SELECT clock, recipient, starts_at FROM clocks WHERE recipient IS NOT NULL")
    assert {(r["clock"], r["recipient"]) for r in rows} == {("la_acknowledgement", CSC), ("strategy_discussion", CSC)}
    assert all(start < r["starts_at"] for r in rows)
    assert delivery.type == "delivery"
