"""A sealed referral on a real RabbitMQ becomes what each agency may have, and nothing else; rows and log in a real PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.canonical import canonical_bytes, decode_base64url, parse_object, sha256_base64url
from schemas.checkpoint import read_proof, verify_proof
from schemas.envelope import open_delivery, parse_delivery, verify_delivery
from schemas.log_entry import commit_event
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        yield world


def open_as(world: HubWorld, agency: str, body: bytes) -> dict[tuple[str, str], str]:
    """Verify and open a delivery as its recipient would; return (compartment, subject) to form."""
    unverified = parse_delivery(body)
    assert unverified.claimed_sender() == POLICE
    kit = world.kits[agency]
    verified = verify_delivery(
        unverified,
        [world.kits[POLICE].signer.public],
        world.log,
        recipient=agency,
        kids=[kit.encryption_jwk["kid"]],
        now=datetime.now(UTC),
    )
    opened = open_delivery(verified, {kit.encryption_jwk["kid"]: kit.encryption_jwk})
    return {(s.compartment.value, s.subject): s.form.value for s in opened}


async def test_a_referral_reaches_each_agency_with_its_part_alone(world: HubWorld) -> None:
    draft = Draft()
    async with world.running_worker():
        await world.publish(POLICE, [world.seal(draft).body])
        deliveries = {agency: (await world.receive(agency, 1))[0] for agency in (CSC, HEALTH, SCHOOL)}
        notices = await world.receive(POLICE, 1)

    assert {d.type for d in deliveries.values()} == {"delivery"}
    child, sibling = ("C01", "subject-child"), ("C01", "subject-sibling")
    csc = open_as(world, CSC, deliveries[CSC].body)
    assert csc == {
        child: "full",
        sibling: "full",
        ("C04", "incident"): "full",
        ("C08", "subject-child"): "full",
        ("C14", "incident"): "full",
        ("C17", "incident"): "summary",
    }
    health = open_as(world, HEALTH, deliveries[HEALTH].body)
    assert health[("C04", "incident")] == "summary"
    assert not {c for c, _ in health} & {"C08", "C10"}
    school = open_as(world, SCHOOL, deliveries[SCHOOL].body)
    assert sibling not in school
    assert child in school

    assert_nothing_else_readable(
        deliveries[HEALTH].body, (SCHOOL, CSC, "C08", "C10", "section-05", "section-06", "held", "withheld")
    )
    assert_nothing_else_readable(
        deliveries[SCHOOL].body, (HEALTH, CSC, "subject-sibling", "C10", "section-02", "section-06")
    )

    (notice,) = notices
    assert notice.type == "notice"
    told = check_notice(world, notice.body)
    assert told["outcome"] == "accepted"
    assert told["message_id"] == draft.message_id
    by_recipient = {d["recipient"]: d for d in told["decisions"]}
    assert {agency: d["outcome"] for agency, d in by_recipient.items()} == dict.fromkeys(
        (CSC, HEALTH, SCHOOL), "delivered"
    )
    assert by_recipient[CSC]["compartments"]["C10"] | {"reason": ""} == {"result": "held", "row": "D12", "reason": ""}
    assert by_recipient[CSC]["compartments"]["C10"]["reason"]

    assert await world.owner.fetchval("SELECT count(*) FROM messages") == 1
    states = await world.owner.fetch("SELECT recipient, state FROM deliveries ORDER BY recipient")
    assert [(r["recipient"], r["state"]) for r in states] == [(CSC, "open"), (HEALTH, "open"), (SCHOOL, "open")]
    assert await world.owner.fetchval("SELECT count(*) FROM holds WHERE delivery_id LIKE 'delivery-0-%'") == 1
    positions = await world.owner.fetch("SELECT position, kind FROM log_entries ORDER BY position")
    assert [r["position"] for r in positions] == list(range(len(positions)))
    assert [r["kind"] for r in positions] == ["accepted", "decided", "decided", "decided"]


def assert_nothing_else_readable(body: bytes, texts: tuple[str, ...]) -> None:
    readable = everything_readable(body)
    assert [text for text in texts if text.encode() in readable] == []


def everything_readable(body: bytes) -> bytes:
    """Return a delivery's bytes and everything base64url in it, decoded, as somebody without keys could."""
    members = parse_object(body, max_bytes=1 << 24)
    parts = [body, decode_base64url(members["manifest"]["payload"]), decode_base64url(members["decision"]["event"])]
    parts += [decode_base64url(opening) for opening in members["openings"]]
    parts += [decode_base64url(jwe.split(".")[0]) for jwe in members["sections"].values()]
    return b"\n".join(parts)


def check_notice(world: HubWorld, body: bytes) -> dict:
    """Check a notice's proof as its sender would and return it."""
    members = parse_object(body, max_bytes=1 << 20)
    event, salt = decode_base64url(members["event"]), decode_base64url(members["salt"])
    assert verify_proof(read_proof(members["proof"]), commit_event(event, salt), world.log) is not None
    told = {name: value for name, value in members.items() if name not in {"event", "salt", "proof"}}
    assert parse_object(event, max_bytes=1 << 20)["notice_sha256"] == sha256_base64url(canonical_bytes(told))
    return told
