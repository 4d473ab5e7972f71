"""Enrolment through the hub: invitation, proof of possession, an officer's approval, the authority's signature, the agency's own pepper."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio

from broker.registry.enrolments import create_invitation
from deploy.authority.signing import read_trusted_keys
from schemas.canonical import canonical_bytes, decode_base64url, parse_object
from schemas.enrolment import request_digest, verify_welcome
from schemas.jose import jwe_decrypt, sign_jwt
from schemas.keys import pair_verifying_keys
from schemas.signed_directory import read_key_announcement, verify_directory
from tests.support.authority import AgencyKit, FoundedAuthority
from tests.support.hub_api import HUB_URL, HubApi, open_hub_api

SCHOOL = "school.oakfield"


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[HubApi]:
    async with open_hub_api(database, tmp_path) as api:
        await api.publish(api.authority.sign())
        yield api


async def invite(hub: HubApi, agency: str = SCHOOL, *, now: datetime | None = None) -> str:
    async with hub.pool.acquire() as connection:
        secret, _ = await create_invitation(connection, agency, now=now or datetime.now(UTC))
    return secret


async def ask(hub: HubApi, kit: AgencyKit, invitation: str, **changes: Any) -> Any:
    request = kit.request(invitation, now=datetime.now(UTC), **changes)
    return await hub.client.post("/v1/enrolments", json={"invitation": invitation, "request": request})


def officer_token(hub: HubApi, name: str = "ann") -> str:
    now = datetime.now(UTC)
    key = hub.authority.officer(name).api_jwk
    return sign_jwt(
        f"person:{name}", HUB_URL, key, jti=f"officer-token-{now.timestamp()}", now=now, lifetime=timedelta(minutes=1)
    )


async def complete(hub: HubApi, enrolment_id: str, request: dict[str, Any]) -> Any:
    hub.authority.approve(enrolment_id, request)
    signed = hub.authority.sign()
    assert (await hub.publish(signed)).status_code == 201
    return await hub.client.post(f"/v1/enrolments/{enrolment_id}/welcome", json=signed.welcomes[enrolment_id])


async def test_the_whole_way(hub: HubApi) -> None:
    kit, secret = AgencyKit.make(SCHOOL), await invite(hub)
    request = kit.request(secret, now=datetime.now(UTC))
    asked = await hub.client.post("/v1/enrolments", json={"invitation": secret, "request": request})
    assert asked.status_code == 201
    enrolment_id = asked.json()["enrolment_id"]

    status = await hub.call("GET", f"/v1/enrolments/{enrolment_id}", kit)
    assert status.json() == asked.json()
    assert (await hub.call("GET", "/v1/directory", kit)).status_code == 401

    pending = (await hub.call("GET", "/v1/enrolments", token=officer_token(hub))).json()["pending"]
    assert [(p["enrolment_id"], p["agency"], p["fingerprint"]) for p in pending] == [
        (enrolment_id, SCHOOL, asked.json()["fingerprint"])
    ]
    assert (await complete(hub, enrolment_id, pending[0]["request"])).status_code == 201

    done = (await hub.call("GET", f"/v1/enrolments/{enrolment_id}", kit)).json()
    assert done["state"] == "enrolled"
    assert done["queue"] == hub.rabbit.users[SCHOOL]
    trusted = read_trusted_keys(hub.authority.folder / "trust.json")
    welcome = verify_welcome(done["welcome"], trusted)
    assert welcome.request_sha256 == request_digest(request)
    assert json.loads(jwe_decrypt(welcome.sealed_pepper, kit.encryption_jwk))["pepper_id"] == "pepper-1"

    got = (await hub.call("GET", "/v1/directory", kit)).json()
    directory = verify_directory(canonical_bytes(got["directory"]), trusted)
    agency = directory.find_agency(SCHOOL)
    assert agency is not None
    keys = pair_verifying_keys(agency.keys.signing)
    announced = [read_key_announcement(canonical_bytes(k), SCHOOL, keys) for k in got["keys"]]
    assert [k.kid for k in announced] == [kit.encryption_jwk["kid"]]
    assert got["checkpoint"].startswith("log.example.org/test\n")
    assert (await hub.call("GET", "/v1/agency", kit)).json()["queue"] == done["queue"]


async def test_nothing_secret_reaches_the_hub(hub: HubApi) -> None:
    kit, secret = AgencyKit.make(SCHOOL), await invite(hub)
    asked = (await ask(hub, kit, secret)).json()
    request = parse_object((await hub.owner.fetchval("SELECT request FROM enrolments")), max_bytes=10**6)
    await complete(hub, asked["enrolment_id"], request)
    welcome = verify_welcome(
        (await hub.call("GET", f"/v1/enrolments/{asked['enrolment_id']}", kit)).json()["welcome"],
        read_trusted_keys(hub.authority.folder / "trust.json"),
    )
    pepper = json.loads(jwe_decrypt(welcome.sealed_pepper, kit.encryption_jwk))["pepper"]
    tables = ("directory_versions", "key_announcements", "enrolments", "invitations", "log_payloads", "log_entries")
    dump = "".join([str(await hub.owner.fetch(f"SELECT * FROM {table}")) for table in tables])  # noqa: S608
    for payload in re.findall(r'"payload":"([A-Za-z0-9_-]+)"', dump):
        dump += decode_base64url(payload).decode()
    for needle in (
        pepper,
        secret,
        kit.signing_jwks[0]["d"],
        kit.signing_jwks[1]["priv"],
        kit.encryption_jwk["priv"],
        kit.api_jwk["d"],
    ):
        assert needle not in dump
    assert kit.signing_jwks[0]["x"] in dump


async def test_an_invitation_is_good_once(hub: HubApi) -> None:
    kit, secret = AgencyKit.make(SCHOOL), await invite(hub)
    request = kit.request(secret, now=datetime.now(UTC))
    body = {"invitation": secret, "request": request}
    first = await hub.client.post("/v1/enrolments", json=body)
    again = await hub.client.post("/v1/enrolments", json=body)
    other = await ask(hub, AgencyKit.make(SCHOOL), secret)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 404)
    assert first.json() == again.json()


async def test_bad_invitations_get_one_answer(hub: HubApi) -> None:
    kit = AgencyKit.make(SCHOOL)
    over = await invite(hub, now=datetime.now(UTC) - timedelta(days=4))
    others = await invite(hub, "gp.millbrook")
    good = await invite(hub)
    unknown = "x" * 43
    answers = [await ask(hub, kit, secret) for secret in (over, others, unknown)]
    request = kit.request(unknown, now=datetime.now(UTC))
    answers.append(await hub.client.post("/v1/enrolments", json={"invitation": good, "request": request}))
    assert {a.status_code for a in answers} == {404}
    assert len({a.content for a in answers}) == 1
    assert (await ask(hub, kit, good)).status_code == 201


async def test_requests_without_proof_are_refused_and_keep_the_invitation(hub: HubApi) -> None:
    kit, thief, secret = AgencyKit.make(SCHOOL), AgencyKit.make(SCHOOL), await invite(hub)
    stolen = kit.request(secret, now=datetime.now(UTC))
    stolen["signatures"] = thief.request(secret, now=datetime.now(UTC))["signatures"]
    assert (await hub.client.post("/v1/enrolments", json={"invitation": secret, "request": stolen})).status_code == 401
    half = kit.request(secret, now=datetime.now(UTC))
    half["signatures"] = half["signatures"][:1]
    assert (await hub.client.post("/v1/enrolments", json={"invitation": secret, "request": half})).status_code == 401
    foreign_key = parse_object(thief.announcement(now=datetime.now(UTC)), max_bytes=10**6)
    assert (await ask(hub, kit, secret, encryption_key=foreign_key)).status_code == 401
    private = await ask(hub, kit, secret, api=(kit.api_jwk,))
    assert private.status_code == 400
    assert kit.api_jwk["d"] not in private.text
    assert (await ask(hub, kit, secret)).status_code == 201


async def test_status_is_for_the_holder_of_the_requests_api_key(hub: HubApi) -> None:
    kit, other = AgencyKit.make(SCHOOL), AgencyKit.make(SCHOOL)
    enrolment_id = (await ask(hub, kit, await invite(hub))).json()["enrolment_id"]
    assert (await hub.call("GET", f"/v1/enrolments/{enrolment_id}", other)).status_code == 401
    assert (await hub.client.get(f"/v1/enrolments/{enrolment_id}")).status_code == 401
    assert (await hub.call("GET", "/v1/enrolments/enr_unknown", kit)).status_code == 404
    token = kit.token(HUB_URL)
    assert (await hub.call("GET", f"/v1/enrolments/{enrolment_id}", token=token)).status_code == 200
    assert (await hub.call("GET", f"/v1/enrolments/{enrolment_id}", token=token)).status_code == 401


async def test_only_officers_list_and_refuse(hub: HubApi) -> None:
    kit, enrolled = AgencyKit.make(SCHOOL), AgencyKit.make("gp.millbrook")
    await hub.enrol(enrolled)
    enrolment_id = (await ask(hub, kit, await invite(hub))).json()["enrolment_id"]
    path, body = f"/v1/enrolments/{enrolment_id}/refusal", {"reason_code": "fingerprint_differs"}
    assert (await hub.call("GET", "/v1/enrolments", enrolled)).status_code == 403
    assert (await hub.call("POST", path, enrolled, json=body)).status_code == 403
    assert (await hub.client.get("/v1/enrolments")).status_code == 401
    assert (await hub.call("POST", path, token=officer_token(hub), json=body)).json()["state"] == "refused"
    assert (await hub.call("GET", f"/v1/enrolments/{enrolment_id}", kit)).json()["state"] == "refused"
    assert (await hub.call("GET", "/v1/plan", token=officer_token(hub, "ben"))).status_code == 405
    assert (await hub.call("GET", "/v1/agency", token=officer_token(hub, "cai"))).status_code == 403


async def test_the_hub_takes_no_directory_or_welcome_of_another_authority(hub: HubApi, tmp_path: Path) -> None:
    stranger = FoundedAuthority.found(tmp_path / "stranger")
    theirs = stranger.sign()
    refused = await hub.client.post("/v1/directory", content=theirs.body)
    assert (refused.status_code, refused.json()["code"]) == (401, "signature-invalid")
    kit = AgencyKit.make(SCHOOL)
    secret = await invite(hub)
    request = kit.request(secret, now=datetime.now(UTC))
    asked = await hub.client.post("/v1/enrolments", json={"invitation": secret, "request": request})
    enrolment_id = asked.json()["enrolment_id"]
    stranger.approve(enrolment_id, request)
    welcome = stranger.sign().welcomes[enrolment_id]
    assert (await hub.client.post(f"/v1/enrolments/{enrolment_id}/welcome", json=welcome)).status_code == 401
    assert (await hub.call("GET", f"/v1/enrolments/{enrolment_id}", kit)).json()["state"] == "pending"


async def test_directory_versions_only_go_up(hub: HubApi) -> None:
    second, third = hub.authority.sign(), hub.authority.sign()
    assert (await hub.publish(third)).status_code == 201
    assert (await hub.publish(third)).status_code == 200
    old = await hub.publish(second)
    assert (old.status_code, old.json()["code"]) == (409, "directory-too-old")
    hub.authority.change(directory_version=2)
    forked = await hub.publish(hub.authority.sign())
    assert (forked.status_code, forked.json()["code"]) == (500, "integrity-broken")


async def test_a_welcome_waits_for_its_directory(hub: HubApi) -> None:
    kit, secret = AgencyKit.make(SCHOOL), await invite(hub)
    request = kit.request(secret, now=datetime.now(UTC))
    asked = (await hub.client.post("/v1/enrolments", json={"invitation": secret, "request": request})).json()
    hub.authority.approve(asked["enrolment_id"], request)
    signed = hub.authority.sign()
    path = f"/v1/enrolments/{asked['enrolment_id']}/welcome"
    assert (await hub.client.post(path, json=signed.welcomes[asked["enrolment_id"]])).status_code == 400
    await hub.publish(signed)
    assert (await hub.client.post(path, json=signed.welcomes[asked["enrolment_id"]])).status_code == 201
    assert (await hub.client.post(path, json=signed.welcomes[asked["enrolment_id"]])).status_code == 200


async def test_enrolment_goes_on_after_rabbitmq_was_away(hub: HubApi) -> None:
    kit, secret = AgencyKit.make(SCHOOL), await invite(hub)
    request = kit.request(secret, now=datetime.now(UTC))
    asked = (await hub.client.post("/v1/enrolments", json={"invitation": secret, "request": request})).json()
    hub.rabbit.fails = True
    assert (await complete(hub, asked["enrolment_id"], request)).status_code == 201
    path = f"/v1/enrolments/{asked['enrolment_id']}"
    assert (await hub.call("GET", path, kit)).json()["state"] == "pending"
    assert SCHOOL not in hub.rabbit.users
    hub.rabbit.fails = False
    await hub.call("GET", path, kit)
    done = (await hub.call("GET", path, kit)).json()
    assert (done["state"], done["queue"]) == ("enrolled", hub.rabbit.users[SCHOOL])


async def test_key_announcements(hub: HubApi) -> None:
    kit, other = AgencyKit.make(SCHOOL), AgencyKit.make("gp.millbrook")
    await hub.enrol(kit, other)
    now = datetime.now(UTC)
    again = await hub.call("POST", "/v1/keys", kit, content=kit.announcement(now=now))
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    foreign = await hub.call("POST", "/v1/keys", kit, content=other.announcement(now=now))
    assert foreign.status_code == 401
    long = await hub.call("POST", "/v1/keys", kit, content=AgencyKit.make(SCHOOL).announcement(now=now, days=60))
    assert long.status_code == 401
    keys = (await hub.call("GET", "/v1/directory", other)).json()["keys"]
    assert len(keys) == 2
    etag = (await hub.call("GET", "/v1/directory", other)).headers["etag"]
    assert (await hub.call("GET", "/v1/directory", other, headers={"If-None-Match": etag})).status_code == 304


async def test_directory_key_and_enrolment_events_are_in_the_log(hub: HubApi) -> None:
    kit, secret = AgencyKit.make(SCHOOL), await invite(hub)
    request = kit.request(secret, now=datetime.now(UTC))
    asked = (await hub.client.post("/v1/enrolments", json={"invitation": secret, "request": request})).json()
    await complete(hub, asked["enrolment_id"], request)
    rows = await hub.owner.fetch("SELECT position, kind, entry FROM log_entries ORDER BY position")
    assert [row["kind"] for row in rows] == ["directory", "policy", "enrolment", "directory", "enrolment"]
    assert [row["position"] for row in rows] == [0, 1, 2, 3, 4]
    assert json.loads(rows[4]["entry"])["state"] == "enrolled"
    checkpoint = await hub.call("GET", "/v1/log/checkpoint", kit)
    assert checkpoint.text.splitlines()[1] == "5"
    proof = await hub.call("GET", "/v1/log/entries/2/proof", kit)
    assert proof.status_code == 200
    assert checkpoint.text in proof.text
    assert (await hub.call("GET", "/v1/log/entries/99/proof", kit)).status_code == 404
