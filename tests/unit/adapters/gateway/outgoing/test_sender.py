"""The sender against a hub that lies, is down, or moves on; RabbitMQ is a list here."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.outgoing.intake import DocumentIntake, IncomingDocument
from adapters.gateway.outgoing.outbox_model import OutboxState
from adapters.gateway.outgoing.recipients import RecipientBook
from adapters.gateway.outgoing.sender import Sender
from adapters.gateway.parts import AgencyParts
from adapters.gateway.wiring import build_gateway
from adapters.mapping import default_mappings
from schemas.canonical import parse_object
from schemas.envelope import VerifiedEnvelope, parse_envelope, verify_envelope
from schemas.errors import DependencyUnavailable, Undeliverable
from schemas.keys import SigningKeys, generate_encryption_jwk, public_part
from schemas.signed_directory import announce_encryption_key
from tests.support.gateways import SAMPLES, StubHub, fill_keystore, write_gateway
from tests.unit.adapters.gateway.test_api import CA_PEM

SENDER = "police.marchshire"
SCHOOLS = ("school.oakfield", "school.st-hilda")
RECIPIENTS = ("csc.marchshire", "health.marchshire-ft", "school.oakfield", "gp.millbrook")
SIBLINGS = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
RECEIVED_AT = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)


class Publisher:
    """RabbitMQ as a list."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.failure: Exception | None = None

    async def publish(self, message_type: str, body: bytes, message_id: str, *, urgent: bool = False) -> None:
        if self.failure is not None:
            raise self.failure
        assert message_type == "referral"
        self.published.append((message_id, body))

    async def close(self) -> None:
        return


class Half:
    """The sending half of one agency, its hub and its RabbitMQ."""

    def __init__(self, folder: Path, others: Mapping[str, Keystore]) -> None:
        self.hub = StubHub.make(CA_PEM, lambda: RECEIVED_AT)
        self.hub.keystores.update(others)
        config = write_gateway(folder, self.hub, [SENDER])
        self.gateway = build_gateway(config, clock=lambda: RECEIVED_AT, transport=self.hub.transport())
        self.rabbit = Publisher()
        self.late = timedelta()
        self.parts: AgencyParts = replace(
            self.gateway.agencies[SENDER].parts,
            publisher=self.rabbit,  # type: ignore[arg-type]
            real_clock=lambda: datetime.now(UTC) + self.late,
            hub=self.hub.client(SENDER),
        )
        self.sender = Sender(self.parts)
        self.outbox = self.parts.outbox

    def hand_over(self, body: bytes = SIBLINGS.read_bytes()) -> str:
        intake = DocumentIntake(self.parts, default_mappings(), lambda: None)
        accepted = intake.take(IncomingDocument(body, "a.json", "rest"))
        [referral_id] = accepted.referral_ids
        return referral_id

    async def send_all(self) -> None:
        for _ in range(10):
            if not await self.sender.send_next():
                return

    def state(self, referral_id: str) -> OutboxState:
        return self.outbox.find_referral(referral_id).state

    def open_published(self, number: int = -1) -> VerifiedEnvelope:
        signer = self.parts.keystore.signing_keys().public
        return verify_envelope(parse_envelope(self.rabbit.published[number][1]), [signer], now=datetime.now(UTC))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Keystore]:
    """The recipients' keys, which no test changes."""
    folder, now = tmp_path_factory.mktemp("others"), datetime.now(UTC)
    return {agency: fill_keystore(folder / agency, agency, now) for agency in sorted({*RECIPIENTS, *SCHOOLS})}


@pytest.fixture
async def half(tmp_path: Path, others: dict[str, Keystore]) -> AsyncIterator[Half]:
    half = Half(tmp_path, others)
    await half.parts.keeper.refresh()
    yield half
    await half.gateway.close()


def lie_in_plan(change: Any) -> Any:
    def lie(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/v1/plan":
            change(body["decisions"])
        return body

    return lie


def add_ghost(decisions: list[dict[str, Any]]) -> None:
    decisions.append(decisions[0] | {"delivery_id": "ghost-0000000000000001", "recipient": "police.marchshire-ops"})


def swap_recipient(decisions: list[dict[str, Any]]) -> None:
    decisions[0]["recipient"] = "idva.safehaven"


def drop_recipient(decisions: list[dict[str, Any]]) -> None:
    decisions.pop()


def widen(decisions: list[dict[str, Any]]) -> None:
    decisions[-1]["compartments"]["C10"] = {"result": "full", "row": "D3"}


def give_sibling(decisions: list[dict[str, Any]]) -> None:
    everybody = sorted({s for d in decisions for s in d["subjects"]})
    for decision in decisions:
        decision["subjects"] = everybody


def split_schools() -> bytes:
    """Return the siblings at two schools: the second child goes to the other one."""
    head, first, second = SIBLINGS.read_bytes().partition(b'"schUrn": "999101"')
    return head + first + second.replace(b'"schUrn": "999101"', b'"schUrn": "999102"')


@pytest.mark.parametrize(
    "lie", [add_ghost, swap_recipient, drop_recipient, widen, give_sibling], ids=lambda f: f.__name__
)
async def test_a_lying_plan_stops_the_referral_and_nothing_leaves(half: Half, lie: Any) -> None:
    half.hub.lie = lie_in_plan(lie)
    referral_id = half.hand_over(split_schools())
    await half.send_all()
    assert half.rabbit.published == []
    described = half.outbox.describe(referral_id)
    assert described["state"] == "held"
    assert described["alarm"] == "plan-too-wide"


async def test_a_hubs_own_key_in_the_directory_gets_nothing(half: Half) -> None:
    own, _ = SigningKeys.generate()
    span = {"not_before": datetime.now(UTC) - timedelta(hours=1), "not_after": datetime.now(UTC) + timedelta(days=7)}
    mine = generate_encryption_jwk()
    slipped = announce_encryption_key("csc.marchshire", mine, signer=own, **span)

    def lie(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/v1/directory":
            body["keys"].append(parse_object(slipped, max_bytes=1 << 20))
        return body

    half.hub.lie = lie
    half.parts.keeper._etag = None
    await half.parts.keeper.refresh()
    half.hand_over()
    await half.send_all()
    kids = {d.kid for d in half.open_published().keyring_descriptors.values()}
    assert public_part(mine)["kid"] not in kids
    assert set(half.hub.keystores["csc.marchshire"].encryption_private_jwks(datetime.now(UTC))) & kids


async def test_while_the_hub_is_down_it_waits_and_then_goes_on(half: Half) -> None:
    referral_id = half.hand_over()
    half.hub.down = True
    await half.send_all()
    assert half.state(referral_id) is OutboxState.RECEIVED
    assert half.outbox.describe(referral_id)["alarm"] is None
    half.hub.down = False
    half.late = timedelta(seconds=5)
    await half.send_all()
    assert half.state(referral_id) is OutboxState.PUBLISHED


@pytest.mark.parametrize(
    "failure", [DependencyUnavailable("no confirm"), Undeliverable("no queue")], ids=lambda f: f.code
)
async def test_an_unconfirmed_publish_sends_the_same_bytes_again(half: Half, failure: Exception) -> None:
    referral_id = half.hand_over()
    half.rabbit.failure = failure
    await half.send_all()
    assert half.state(referral_id) is OutboxState.SEALED
    sealed = half.outbox.read_sealed(half.outbox.describe(referral_id)["message_id"]).body
    half.rabbit.failure = None
    half.late = timedelta(seconds=5)
    await half.send_all()
    assert [body for _, body in half.rabbit.published] == [sealed]


async def test_what_the_hub_does_not_answer_is_published_again_after_growing_waits(half: Half) -> None:
    half.hand_over()
    await half.send_all()
    for minutes, count in ((0, 1), (1.5, 2), (2.5, 2), (4, 3), (6, 3), (9, 4)):
        half.late = timedelta(minutes=minutes)
        await half.sender.resend_unanswered()
        assert len(half.rabbit.published) == count, minutes
    assert len({body for _, body in half.rabbit.published}) == 1


async def test_a_retryable_rejection_is_planned_and_sealed_anew_naming_its_predecessor(half: Half) -> None:
    referral_id = half.hand_over()
    await half.send_all()
    first = half.open_published()
    half.outbox.record_notice(
        message_id=first.manifest.message_id,
        referral_id=referral_id,
        outcome="rejected",
        decisions=(),
        retryable=True,
        proof_verified=True,
        body=b"n",
        now=datetime.now(UTC),
    )
    half.late = timedelta(seconds=1)
    await half.send_all()
    second = half.open_published()
    assert len(half.rabbit.published) == 2
    assert second.manifest.reseals == first.manifest.message_id
    assert second.manifest.referral_id == first.manifest.referral_id
    assert second.manifest.message_id != first.manifest.message_id


async def test_a_plan_made_by_an_older_directory_is_made_again(half: Half) -> None:
    half.hand_over()
    assert await half.sender.send_next()
    half.hub.version = 2
    await half.parts.keeper.refresh()
    await half.send_all()
    plans = [path for method, path in half.hub.requests if path == "/v1/plan"]
    assert len(plans) == 2
    assert len(half.rabbit.published) == 1


async def test_a_hub_with_a_newer_directory_makes_us_fetch_it(half: Half) -> None:
    half.hub.version = 2
    half.hand_over()
    await half.send_all()
    assert half.parts.keeper.current().version == 2
    assert len(half.rabbit.published) == 1


async def test_a_new_recipient_asks_a_person_first(half: Half) -> None:
    half.parts = replace(half.parts, recipients=RecipientBook(half.parts.store, must_confirm=True))
    half.sender = Sender(half.parts)
    referral_id = half.hand_over()
    await half.send_all()
    described = half.outbox.describe(referral_id)
    assert (described["state"], described["alarm"]) == ("held", "recipient-unconfirmed")
    for recipient in RECIPIENTS:
        assert recipient in described["reason"]["detail"]
        half.parts.recipients.confirm(recipient, "Sgt Example", datetime.now(UTC))
        await half.send_all()
    assert half.state(referral_id) is OutboxState.PUBLISHED


async def test_a_recipient_without_a_key_does_not_stop_the_others(half: Half) -> None:
    def lie(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/v1/directory":
            without = half.hub.keystores["csc.marchshire"].newest_announcement()
            body["keys"] = [key for key in body["keys"] if key != parse_object(without, max_bytes=1 << 20)]
        return body

    half.hub.lie = lie
    half.parts.keeper._etag = None
    await half.parts.keeper.refresh()
    referral_id = half.hand_over()
    await half.send_all()
    envelope = half.open_published()
    granted = {d.agency: d.granted_sections for d in envelope.header.deliveries}
    assert granted["csc.marchshire"] == ()
    assert all(granted[agency] for agency in RECIPIENTS[1:])
    planned = {d["recipient"]: d["decision"] for d in half.outbox.describe(referral_id)["deliveries"]}
    assert planned["csc.marchshire"]["undeliverable"] == "no-encryption-key"


async def test_each_school_and_practice_gets_its_own_childs_sections(half: Half) -> None:
    half.hand_over(split_schools())
    await half.send_all()
    envelope = half.open_published()
    tied = {r.subject_id: set(r.tied_agencies) for r in envelope.header.routing}
    seen: dict[str, set[str]] = {}
    for delivery in envelope.header.deliveries:
        if delivery.role == "dsl":
            subjects = {envelope.descriptors[s].subject for s in delivery.granted_sections} - {"incident"}
            assert all(delivery.agency in tied[subject] for subject in subjects)
            seen[delivery.agency] = subjects
    assert set(seen) == set(SCHOOLS)
    assert all(seen.values())
    assert not set.intersection(*seen.values())


async def test_the_loop_sends_what_wakes_it_and_stops(half: Half) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(half.sender.run(stop))
    await asyncio.sleep(0.1)
    referral_id = await asyncio.to_thread(half.hand_over)
    half.sender.wake()
    for _ in range(100):
        if half.rabbit.published:
            break
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert half.state(referral_id) is OutboxState.PUBLISHED


async def test_one_referral_that_breaks_this_program_does_not_stop_the_others(
    half: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking = half.hand_over()
    draft_plan = half.sender.draft_plan

    async def fail_first(referral: Any) -> Any:
        if referral.native_ref.endswith("0041877"):
            raise ZeroDivisionError("Canary")
        return await draft_plan(referral)

    monkeypatch.setattr(half.sender, "draft_plan", fail_first)
    other = half.hand_over(SIBLINGS.read_bytes().replace(b"MRC-PPN-2026-0041877", b"MRC-PPN-2026-0041878"))
    await half.send_all()
    assert half.state(other) is OutboxState.PUBLISHED
    described = half.outbox.describe(breaking)
    assert (described["state"], described["reason"]["code"]) == ("received", "sending-fault")
    assert "Canary" not in str(described)


@pytest.mark.parametrize(
    ("status", "state"), [(401, "received"), (404, "received"), (403, "received"), (422, "failed")]
)
async def test_only_what_is_wrong_with_the_referral_stops_it(
    half: Half, status: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = {"code": "x", "detail": "a rule", "field": "header.case", "status": status}
    monkeypatch.setattr(half.hub, "answer", lambda _request: httpx.Response(status, json=problem))
    half.parts = replace(half.parts, hub=half.hub.client(SENDER))
    half.sender = Sender(half.parts)
    referral_id = half.hand_over()
    await half.send_all()
    described = half.outbox.describe(referral_id)
    assert described["state"] == state
    assert described["reason"]["field"] == "header.case"


async def test_a_plan_in_an_unknown_form_is_asked_for_again(half: Half) -> None:
    half.hub.lie = lie_in_plan(lambda decisions: decisions[0].update({"new_member": 1}))
    referral_id = half.hand_over()
    await half.send_all()
    assert half.state(referral_id) is OutboxState.RECEIVED
