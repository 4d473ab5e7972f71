"""The inbox by HTTP: the agency's token, the contact's key, problem+json, and nothing cached."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from adapters.gateway.api import inbox as inbox_api
from adapters.gateway.api import registers as registers_api
from adapters.gateway.api.access import LocalAccess
from adapters.gateway.api.app import create_app
from adapters.gateway.incoming.inbox_recalls import InboxRecalls
from adapters.gateway.incoming.receiving import Receiving
from schemas.directory import Agreement
from tests.support.envelopes import NOW, SENDER
from tests.support.receiving import (
    DELIVERY,
    RECIPIENT,
    ReceivingHalf,
    make_delivery,
    make_incoming,
    make_receiving_half,
    make_verified_directory,
    seal_sample,
)

TOKEN = "t" * 40
KEY = "k" * 40


@pytest.fixture
def half(tmp_path: Path) -> ReceivingHalf:
    return make_receiving_half(tmp_path)


@pytest.fixture
def deleted() -> list[str]:
    return []


@pytest.fixture
async def client(half: ReceivingHalf, deleted: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    absent: Any = None

    def confirm_deletion(delivery_id: str, *, exceptions_code: str | None) -> Any:
        deleted.append(delivery_id)
        return SimpleNamespace(digest="d" * 43, subject=delivery_id, type="control")

    desk: Any = SimpleNamespace(confirm_deletion=confirm_deletion, recalls=InboxRecalls(half.store))
    receiving = Receiving(
        agency=RECIPIENT,
        inbox=half.inbox,
        store=half.inbox_store,
        outputs=half.outputs,
        quarantine=half.quarantine,
        reader=half.reader,
        consumer=absent,
        maker=absent,
        receipts=absent,
        contact_keys={"lead": KEY.encode()},
        registers=desk,
        subjects=absent,
    )
    parts = SimpleNamespace(real_clock=lambda: NOW)
    gateway: Any = SimpleNamespace(
        agency=RECIPIENT,
        receiving=receiving,
        parts=parts,
        outbox=half.outbox,
        keeper=half.keeper,
        clock=lambda: NOW,
    )
    app = create_app(LocalAccess({TOKEN.encode(): gateway}), extra_routers=(inbox_api.router, registers_api.router))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as opened:
        yield opened


async def receive(half: ReceivingHalf, **changes: Any) -> None:
    await half.reader.take_in(make_incoming(make_delivery(**changes)))


async def test_listing_shows_no_content_and_opens_nothing(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half)
    answer = await client.get("/inbox", params={"state": "accepted"})
    (line,) = answer.json()["deliveries"]
    assert (line["delivery_id"], line["state"], line["risk"]) == (DELIVERY, "accepted", None)
    assert "invented" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert (await client.get("/inbox", params={"state": "opened"})).json()["deliveries"] == []


async def test_the_grade_is_listed_where_it_is_shared(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half, released=("section-00000000000001", "section-00000000000005"))
    (line,) = (await client.get("/inbox")).json()["deliveries"]
    assert (line["risk"], line["immediate_danger"]) == ("high", False)


async def test_reading_gives_the_content_and_signs_opened(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half)
    answer = await client.get(f"/inbox/{DELIVERY}")
    body = answer.json()
    assert body["referral"]["sections"][0]["content"]["text"].startswith("invented section-00000000000001")
    assert [r["state"] for r in body["receipts"]] == ["accepted", "opened"]
    assert (body["corrects"], body["corrected_by"]) == ([], [])
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_pdf_is_a_pdf(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half)
    answer = await client.get(f"/inbox/{DELIVERY}/pdf")
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")


async def test_a_receipt_is_new_once(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half)
    first = await client.post(f"/inbox/{DELIVERY}/receipts", json={"state": "actioned", "person": "sw-1"})
    again = await client.post(f"/inbox/{DELIVERY}/receipts", json={"state": "actioned"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert [r["state"] for r in again.json()["receipts"]] == ["accepted", "opened", "actioned"]


@pytest.mark.parametrize(
    ("body", "detail", "field"),
    [
        ({"state": "refused"}, "must be one of cannot_open, conflict_of_interest, duplicate", "reason_code"),
        (
            {"state": "refused", "reason_code": "busy"},
            "must be one of cannot_open, conflict_of_interest",
            "reason_code",
        ),
        ({"state": "refused", "reason_code": "reason_given"}, "must be one of cannot_open", "reason_code"),
        ({"state": "actioned", "reason_code": "duplicate"}, "must be one of assessment_started", "reason_code"),
        ({"state": "opened", "reason_code": "Words of hers"}, "is missing or not of its form", "body.reason_code"),
        ({"state": "accepted"}, "is signed when the delivery is stored", "state"),
        ({"state": "gone"}, "must be one of accepted, opened, actioned or refused", "body.state"),
        ({"state": "opened", "extra": 1}, "is not known here", "body.(unknown member)"),
    ],
)
async def test_a_wrong_receipt_is_a_problem_that_names_the_field(
    client: httpx.AsyncClient, half: ReceivingHalf, body: dict[str, Any], detail: str, field: str
) -> None:
    await receive(half)
    answer = await client.post(f"/inbox/{DELIVERY}/receipts", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)
    assert "Words" not in answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["field"] == field


async def test_refusing_what_was_actioned_is_a_conflict(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half)
    await client.post(f"/inbox/{DELIVERY}/receipts", json={"state": "actioned"})
    answer = await client.post(f"/inbox/{DELIVERY}/receipts", json={"state": "refused", "reason_code": "duplicate"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_named_contacts_delivery_needs_that_contacts_key(
    client: httpx.AsyncClient, half: ReceivingHalf
) -> None:
    await receive(half, contact="lead")
    assert (await client.get("/inbox")).json()["deliveries"] == []
    assert (await client.get(f"/inbox/{DELIVERY}")).status_code == 404
    assert (await client.get(f"/inbox/{DELIVERY}/pdf")).status_code == 404
    assert (await client.post(f"/inbox/{DELIVERY}/receipts", json={"state": "opened"})).status_code == 404
    assert len(half.inbox_store.receipts.list_chain(DELIVERY)) == 1
    wrong = await client.get("/inbox", headers={"Safelane-Contact": "lead", "Safelane-Contact-Key": "x" * 40})
    assert wrong.status_code == 401
    named = {"Safelane-Contact": "lead", "Safelane-Contact-Key": KEY}
    assert len((await client.get("/inbox", headers=named)).json()["deliveries"]) == 1
    assert (await client.get(f"/inbox/{DELIVERY}", headers=named)).status_code == 200


async def test_a_named_contacts_delivery_is_deleted_with_that_contacts_key_alone(
    client: httpx.AsyncClient, half: ReceivingHalf, deleted: list[str]
) -> None:
    await receive(half, contact="lead")
    assert (await client.post(f"/inbox/{DELIVERY}/deletion", json={})).status_code == 404
    assert deleted == []
    named = {"Safelane-Contact": "lead", "Safelane-Contact-Key": KEY}
    assert (await client.post(f"/inbox/{DELIVERY}/deletion", json={}, headers=named)).status_code == 201
    assert deleted == [DELIVERY]


@pytest.mark.parametrize("contact", ["", "nobody", "mace-chair"])
async def test_a_contact_without_configured_key_cannot_be_claimed(client: httpx.AsyncClient, contact: str) -> None:
    answer = await client.get("/inbox", headers={"Safelane-Contact": contact, "Safelane-Contact-Key": ""})
    assert answer.status_code == 401


async def test_what_needs_a_person_is_listed_without_content(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half, contact="mash-deputy")
    await half.reader.take_in(make_incoming(b"poison Sampleford"))
    answer = await client.get("/attention")
    body = answer.json()
    assert [(q["type"], q["code"]) for q in body["quarantine"]] == [("delivery", "malformed")]
    assert body["unreachable_contacts"] == [{"delivery_id": DELIVERY, "contact": "mash-deputy"}]
    assert body["failed_outputs"] == []
    assert "Sampleford" not in answer.text
    digest = body["quarantine"][0]["digest"]
    again = await client.post(f"/attention/quarantine/{digest}/retry")
    assert (again.status_code, again.json()["code"]) == (400, "malformed")
    assert (await client.post("/attention/quarantine/00ff/retry")).status_code == 404
    assert (await client.post("/attention/outputs/retry")).json() == {"retried": 0}


async def test_a_quarantined_message_is_taken_in_once_it_can_be(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    good = half.keeper.known
    half.keeper.known = make_verified_directory(left_out=(SENDER,))
    await receive(half)
    half.keeper.known = good
    (kept,) = (await client.get("/attention")).json()["quarantine"]
    assert (await client.post(f"/attention/quarantine/{kept['digest']}/retry")).status_code == 200
    assert (await client.get("/attention")).json()["quarantine"] == []
    assert len((await client.get("/inbox")).json()["deliveries"]) == 1


async def test_no_token_no_inbox(client: httpx.AsyncClient) -> None:
    assert (await client.get("/inbox", headers={"Authorization": ""})).status_code == 401
    assert (await client.get(f"/inbox/{DELIVERY}", headers={"Authorization": "Bearer guess"})).status_code == 401


async def test_pages_follow_the_cursor(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half)
    received = half.inbox.read(DELIVERY, None).received
    for number in range(4):
        half.inbox.take_in(received.model_copy(update={"delivery_id": f"delivery-{number:013}"}), b"")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/inbox", params=params)).json()
        seen += [line["delivery_id"] for line in page["deliveries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 5
    assert (await client.get("/inbox", params={"cursor": "bm9uc2Vuc2U"})).status_code == 422
    assert (await client.get("/inbox", params={"limit": "0"})).status_code == 422


async def test_the_correction_is_listed_beside_the_original(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    await receive(half)
    received = half.inbox.read(DELIVERY, None).received
    changes = {
        "delivery_id": "delivery-0000000000002",
        "message_id": "019aaf00-0000-7000-8000-000000000002",
        "referral_id": "referral-0000000000002",
        "supersedes": seal_sample().manifest.message_id,
    }
    half.inbox.take_in(received.model_copy(update=changes), b"")
    body = (await client.get(f"/inbox/{DELIVERY}")).json()
    assert [line["delivery_id"] for line in body["corrected_by"]] == ["delivery-0000000000002"]


async def test_an_agreements_owner_hears_of_its_end(client: httpx.AsyncClient, half: ReceivingHalf) -> None:
    assert (await client.get("/attention")).json()["agreements"] == []
    parties = (RECIPIENT, SENDER)
    ours, theirs = (
        Agreement(
            id=f"DSA-{owner}",
            parties=parties,
            purposes=("safeguard_child",),
            kinds=("CP_S47",),
            starts_on=NOW.date() - timedelta(days=300),
            ends_on=NOW.date() + timedelta(days=20),
            owner=owner,
        )
        for owner in parties
    )
    known = half.keeper.known
    directory = known.directory.model_copy(update={"agreements": (ours, theirs)})
    half.keeper.known = replace(known, directory=directory)
    (line,) = (await client.get("/attention")).json()["agreements"]
    assert line.startswith(f"Agreement DSA-{RECIPIENT} (owner {RECIPIENT}) ends in 20 days")
