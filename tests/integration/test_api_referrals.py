"""Plans, the state of one's own referrals, limits, health: nobody plans as another or sees another's referral."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_asyncio

from broker.api import referral_routes
from tests.support.authority import AgencyKit
from tests.support.hub_api import HUB_URL, HubApi, open_hub_api

POLICE, SCHOOL = "police.marchshire", "school.oakfield"
HEADER: dict[str, Any] = {
    "case": {"kind": "CP_S47", "area": "E10999001"},
    "lawful_basis": {"art6": "e"},
    "policy": {"tell_status": {"value": "told"}, "compartments": ["C01", "C04"]},
    "subjects": [{"subject_id": "subject-0000003kq9x2vw", "type": "person", "age_band": "5-9"}],
    "deliveries": [
        {
            "delivery_id": "delivery-000008fj2k1mz",
            "agency": "csc.marchshire",
            "role": "csc",
            "purpose": "safeguard_child",
        },
        {"delivery_id": "delivery-0000000000002", "agency": SCHOOL, "role": "dsl", "purpose": "safeguard_child"},
    ],
}


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[HubApi]:
    async with open_hub_api(database, tmp_path) as api:
        yield api


@pytest_asyncio.fixture
async def agencies(hub: HubApi) -> tuple[AgencyKit, AgencyKit]:
    police, school = AgencyKit.make(POLICE), AgencyKit.make(SCHOOL)
    await hub.enrol(police, school)
    return police, school


FILLERS: dict[str, Any] = {
    "bytea": b"0" * 32,
    "uuid": None,
    "text": "x",
    "integer": 1,
    "smallint": 0,
    "timestamp with time zone": None,
}


async def insert(hub: HubApi, table: str, **values: Any) -> None:
    """Insert a row as the worker would; columns that this test does not care about get any value of their type."""
    columns = await hub.owner.fetch(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = $1 AND is_nullable = 'NO' AND column_default IS NULL",
        table,
    )
    fresh = {"uuid": uuid.uuid4(), "timestamp with time zone": datetime.now(UTC)}
    row = {c["column_name"]: fresh.get(c["data_type"]) or FILLERS.get(c["data_type"]) for c in columns} | values
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await hub.owner.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", *row.values())  # noqa: S608


async def store_referral(
    hub: HubApi,
    sender: str,
    referral_id: str,
    native: str = "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1",
) -> str:
    """Store one accepted referral with one delivery and one receipt."""
    message_id = uuid.uuid4()
    of_delivery = {"message_id": message_id, "delivery_id": "delivery-000008fj2k1mz"}
    decision = {"compartments": {"C10": {"result": "held", "row": "D12", "reason": "needs an approver", "policy": "p"}}}
    await insert(
        hub,
        "messages",
        message_id=message_id,
        sender=sender,
        referral_id=referral_id,
        native_ref_digest=native,
        kind="CP_S47",
    )
    await insert(
        hub, "deliveries", **of_delivery, recipient="csc.marchshire", outcome="delivered", row="D3",
        decision=json.dumps(decision), released=[], state="opened",
    )  # fmt: skip
    await insert(hub, "receipts", **of_delivery, state="opened")
    return str(message_id)


async def test_a_plan_is_decided_as_the_callers(hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]) -> None:
    for kit in agencies:
        response = await hub.call("POST", "/v1/plan", kit, json={"header": HEADER})
        assert response.status_code == 200, response.text
        plan = response.json()
        assert [d["delivery_id"] for d in plan["decisions"]] == ["delivery-000008fj2k1mz", "delivery-0000000000002"]
        assert {d["reason"] for d in plan["decisions"]} == {f"asked by {kit.agency}"}
        assert plan["directory_version"] == 1
        assert set(plan) == {"decisions", "policy_digest", "directory_version", "as_of"}


async def test_a_plan_cannot_name_another_sender(hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]) -> None:
    for body in (
        {"header": HEADER, "sender": SCHOOL},
        {"header": HEADER | {"sender": SCHOOL}},
        {},
        [],
        {"header": None},
    ):
        response = await hub.call("POST", "/v1/plan", agencies[0], json=body)
        assert response.status_code == 400, body
        assert response.json()["code"] == "malformed"


async def test_a_plan_says_which_field_is_wrong_and_never_its_value(
    hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]
) -> None:
    secret = "Jessamine Quillfeather born 2014"
    bad = json.loads(json.dumps(HEADER))
    bad["subjects"][0]["age_band"] = secret
    response = await hub.call("POST", "/v1/plan", agencies[0], json={"header": bad})
    assert response.json()["field"] == "header.subjects.0.age_band"
    assert "Quillfeather" not in response.text
    metrics = (await hub.client.get("/metrics")).text
    assert "Quillfeather" not in metrics


async def test_strict_json_and_sizes(hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]) -> None:
    kit = agencies[0]
    cases = {
        b'{"header": {}, "header": {}}': (400, "malformed"),
        b'{"header": NaN}': (400, "malformed"),
        b'{"header": 1.5}': (400, "malformed"),
        b"{": (400, "malformed"),
        b"\xff\xfe": (400, "malformed"),
        b"": (400, "malformed"),
        b'{"header":' + b"[" * 200 + b"]" * 200 + b"}": (413, "too-large"),
        b" " * (referral_routes.MAX_PLAN_BYTES + 1): (413, "too-large"),
    }
    for body, (status, code) in cases.items():
        response = await hub.call("POST", "/v1/plan", kit, content=body)
        assert (response.status_code, response.json()["code"]) == (status, code), body[:40]

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    response = await hub.call("POST", "/v1/plan", kit, content=endless())
    assert response.status_code == 413


async def test_no_plan_on_an_expired_directory(hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]) -> None:
    snapshot = await hub.context.registry.current()
    later = snapshot.directory.expires_at
    hub.context.registry.clock = lambda: later
    object.__setattr__(hub.context, "clock", lambda: later)
    response = await hub.call("POST", "/v1/plan", agencies[0], json={"header": HEADER})
    assert (response.status_code, response.json()["code"]) == (503, "directory-expired")
    assert response.headers["retry-after"] == "15"
    ready = (await hub.client.get("/readyz")).json()
    assert ready["ready"] is False
    assert ready["checks"] == {"directory": "directory-expired", "log": "ok", "postgresql": "ok"}


async def test_no_directory_with_policies_that_are_not_here(hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]) -> None:
    hub.authority.change(policy_digest="0" * 64)
    response = await hub.publish(hub.authority.sign())
    assert (response.status_code, response.json()["code"]) == (409, "policy-pack-not-held")
    response = await hub.call("POST", "/v1/plan", agencies[0], json={"header": HEADER})
    assert response.status_code == 200, response.text  # the directory before it stays in force


async def test_a_sender_sees_its_own_referral_with_reasons_and_receipts(
    hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]
) -> None:
    message_id = await store_referral(hub, POLICE, "ref_1")
    by_id = await hub.call("GET", "/v1/referrals/ref_1", agencies[0])
    by_reference = await hub.call(
        "GET",
        "/v1/referrals?native_ref_digest=d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1",
        agencies[0],
    )
    assert by_id.status_code == 200, by_id.text
    assert by_id.json() == by_reference.json()
    (message,) = by_id.json()["messages"]
    assert message["message_id"] == message_id
    (delivery,) = message["deliveries"]
    assert delivery["compartments"] == {"C10": {"result": "held", "row": "D12", "reason": "needs an approver"}}
    assert [r["state"] for r in delivery["receipts"]] == ["opened"]


async def test_anothers_referral_looks_like_none(hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]) -> None:
    await store_referral(hub, POLICE, "ref_1")
    school = agencies[1]
    theirs = await hub.call("GET", "/v1/referrals/ref_1", school)
    nobodys = await hub.call("GET", "/v1/referrals/ref_2", school)
    assert theirs.status_code == 404
    assert (theirs.status_code, theirs.content, dict(theirs.headers)) == (
        nobodys.status_code,
        nobodys.content,
        dict(nobodys.headers),
    )
    by_reference = await hub.call(
        "GET",
        "/v1/referrals?native_ref_digest=d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1",
        school,
    )
    unknown = await hub.call(
        "GET",
        "/v1/referrals?native_ref_digest=e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2",
        school,
    )
    assert (by_reference.status_code, by_reference.content) == (404, unknown.content)
    for odd, status in (("ref_1%27%20OR%20true", 404), ("ref_1%00", 400), ("x" * 300, 404)):
        assert (await hub.call("GET", f"/v1/referrals/{odd}", school)).status_code == status


async def test_every_answer_carries_security_headers_and_problems_are_problems(hub: HubApi) -> None:
    for method, path in (
        ("GET", "/healthz"),
        ("GET", "/nowhere"),
        ("GET", "/v1/directory"),
        ("DELETE", "/v1/directory"),
        ("GET", "/docs"),
    ):
        response = await hub.client.request(method, path)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["strict-transport-security"].startswith("max-age=")
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert {"type", "title", "status", "code", "detail"} <= set(response.json())


async def test_an_unforeseen_fault_says_nothing(hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]) -> None:
    async def explode(*_: object) -> None:
        raise RuntimeError("Jessamine Quillfeather")

    hub.context.planner.plan = explode  # type: ignore[method-assign, assignment]
    response = await hub.call("POST", "/v1/plan", agencies[0], json={"header": HEADER})
    assert (response.status_code, response.json()["code"]) == (500, "internal-fault")
    assert "Quillfeather" not in response.text


async def test_a_slow_request_is_ended(database: str, tmp_path: Path) -> None:
    async with open_hub_api(database, tmp_path, request_seconds=2.0) as hub:

        async def wait(*_: object) -> None:
            await asyncio.sleep(60)

        kit = AgencyKit.make(POLICE)
        hub.context.planner.plan = wait  # type: ignore[method-assign, assignment]
        await hub.enrol(kit)
        response = await hub.call("POST", "/v1/plan", kit, json={"header": HEADER})
        assert (response.status_code, response.json()["code"]) == (503, "took-too-long")


async def test_readiness_and_metrics(hub: HubApi, agencies: tuple[AgencyKit, AgencyKit]) -> None:
    ready = await hub.client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    await hub.call("POST", "/v1/plan", agencies[0], json={"header": HEADER})
    metrics = (await hub.client.get("/metrics")).text
    assert 'safelane_api_requests_total{route="/v1/plan",status="200"} 1.0' in metrics
    assert 'safelane_api_planned_deliveries_total{outcome="delivered"} 2.0' in metrics
    assert POLICE not in metrics
    await hub.owner.execute("REVOKE INSERT ON log_entries FROM safelane_api")
    hub.context.readiness._kept = None
    ready = await hub.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["log"]) == (503, "log-not-writable")
    await hub.pool.close()
    hub.context.readiness._kept = None
    assert (await hub.client.get("/healthz")).status_code == 200
    assert (await hub.client.get("/readyz")).json()["checks"]["postgresql"] == "store-unavailable"
    refused = await hub.call("GET", "/v1/agency", agencies[0])
    assert (refused.status_code, refused.json()["retryable"]) == (503, True)


async def test_openapi_has_an_example_for_every_answer(hub: HubApi) -> None:
    described = (await hub.client.get("/v1/openapi.json")).json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            contents = [c for r in operation["responses"].values() for c in r.get("content", {}).values()]
            assert any("example" in content for content in contents), (method, path)
            assert operation["summary"], (method, path)
    assert HUB_URL not in json.dumps(described)
