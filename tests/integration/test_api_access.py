"""Who may call the hub's API, and as whom: real tokens, real keys, real PostgreSQL under the API's own role."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes, hmac

from deploy.authority.directory_building import revoke_agency
from schemas.keys import KeyUse, generate_ed25519_jwk
from tests.support.authority import AgencyKit
from tests.support.hub_api import HUB_URL, HubApi, open_hub_api

SCHOOL, POLICE = "school.oakfield", "police.marchshire"


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[HubApi]:
    async with open_hub_api(database, tmp_path) as api:
        yield api


@pytest_asyncio.fixture
async def school(hub: HubApi) -> AgencyKit:
    kit = AgencyKit.make(SCHOOL)
    await hub.enrol(kit)
    return kit


def encode_bytes(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode(value: dict) -> str:
    return encode_bytes(json.dumps(value, separators=(",", ":")).encode())


async def test_a_good_token_is_accepted_once(hub: HubApi, school: AgencyKit) -> None:
    token = school.token(HUB_URL)
    assert (await hub.call("GET", "/v1/directory", token=token)).status_code == 200
    again = await hub.call("GET", "/v1/directory", token=token)
    assert again.status_code == 401
    assert again.headers["content-type"] == "application/problem+json"
    assert again.json()["code"] == "not-authenticated"
    assert (await hub.call("GET", "/v1/directory", school)).status_code == 200


def bad_tokens(school: AgencyKit) -> dict[str, str]:
    now = datetime.now(UTC)
    good = school.token(HUB_URL)
    head, body, tail = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    kid = school.api_jwk["kid"]
    other = generate_ed25519_jwk(KeyUse.API)
    public = school.api_jwk["x"]
    mac = hmac.HMAC(base64.urlsafe_b64decode(public + "="), hashes.SHA256())
    confused = f"{encode({'alg': 'HS256', 'kid': kid, 'typ': 'JWT'})}.{body}"
    mac.update(confused.encode())
    doubled = json.dumps(claims)[:-1].encode() + b', "aud": "https://x"}'
    return {
        "wrong audience": school.token("https://other.example.org"),
        "audience with a path": school.token(HUB_URL + "/"),
        "expired": school.token(HUB_URL, now=now - timedelta(minutes=10)),
        "not yet valid": school.token(HUB_URL, now=now + timedelta(minutes=10)),
        "lives too long": school.token(HUB_URL, lifetime=timedelta(hours=1)),
        "as another agency": school.token(HUB_URL, agency=POLICE),
        "as nobody": school.token(HUB_URL, agency="school.nowhere"),
        "a stranger's key": school.token(HUB_URL, key=other),
        "as a person": school.token(HUB_URL, agency="person:ann"),
        "short jti": school.token(HUB_URL, jti="1"),
        "alg none": f"{encode({'alg': 'none', 'kid': kid, 'typ': 'JWT'})}.{body}.",
        "alg none, old signature": f"{encode({'alg': 'none', 'kid': kid, 'typ': 'JWT'})}.{body}.{tail}",
        "alg EdDSA": f"{encode({'alg': 'EdDSA', 'kid': kid, 'typ': 'JWT'})}.{body}.{tail}",
        "public key as an HMAC secret": f"{confused}.{encode_bytes(mac.finalize())}",
        "own key in the header": f"{encode({'alg': 'Ed25519', 'kid': kid, 'typ': 'JWT', 'jwk': {'x': other['x']}})}.{body}.{tail}",
        "altered claims": f"{head}.{encode(claims | {'sub': POLICE, 'iss': POLICE})}.{tail}",
        "iss is not sub": f"{head}.{encode(claims | {'sub': POLICE})}.{tail}",
        "duplicate claim": f"{head}.{encode_bytes(doubled)}.{tail}",
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "garbage": "x",
        "long": "x" * 20000,
    }


async def test_every_bad_token_gets_the_same_answer(hub: HubApi, school: AgencyKit) -> None:
    answers = {}
    for name, token in bad_tokens(school).items():
        response = await hub.call("GET", "/v1/directory", token=token)
        answers[name] = (response.status_code, response.content)
    assert {status for status, _ in answers.values()} == {401}, answers
    assert len({content for _, content in answers.values()}) == 1, answers
    assert (await hub.call("GET", "/v1/directory", school)).status_code == 200


async def test_no_token_and_two_tokens(hub: HubApi, school: AgencyKit) -> None:
    assert (await hub.client.get("/v1/directory")).status_code == 401
    headers = [
        ("Authorization", f"Bearer {school.token(HUB_URL)}"),
        ("Authorization", f"Bearer {school.token(HUB_URL)}"),
    ]
    assert (await hub.client.get("/v1/directory", headers=headers)).status_code == 401
    assert (await hub.client.get("/v1/directory", headers={"Authorization": "Basic eDp5"})).status_code == 401


async def test_a_revoked_api_key_is_refused_at_once(hub: HubApi, school: AgencyKit) -> None:
    revoked = revoke_agency(hub.authority.state(), SCHOOL, now=datetime.now(UTC), thumbprint=school.api_jwk["kid"])
    before = await hub.call("GET", "/v1/directory", school)
    await hub.publish(hub.authority.sign(changed=revoked))
    after = await hub.call("GET", "/v1/directory", school)
    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_revoked_agency_is_refused_at_once_and_loses_its_queue_user(hub: HubApi, school: AgencyKit) -> None:
    assert SCHOOL in hub.rabbit.users
    gone = revoke_agency(hub.authority.state(), SCHOOL, now=datetime.now(UTC))
    await hub.publish(hub.authority.sign(changed=gone))
    assert (await hub.call("GET", "/v1/directory", school)).status_code == 401
    assert SCHOOL not in hub.rabbit.users
    kinds = [row["kind"] for row in await hub.owner.fetch("SELECT kind FROM log_entries ORDER BY position")]
    assert kinds.count("revocation") == 1


async def test_used_tokens_are_remembered_for_another_process_too(
    hub: HubApi, school: AgencyKit, tmp_path: Path
) -> None:
    token = school.token(HUB_URL)
    await hub.call("GET", "/v1/agency", token=token)
    fresh = type(hub.context.tokens)(
        type(hub.context.registry)(hub.pool, hub.context.registry.authority_keys, hub.context.clock),
        HUB_URL,
        hub.context.clock,
    )
    with pytest.raises(Exception, match="credentials"):
        await fresh.authenticate(token)


async def test_the_api_role_cannot_rewrite_history(hub: HubApi, school: AgencyKit) -> None:
    forbidden = [
        "UPDATE directory_versions SET body = 'x'",
        "DELETE FROM directory_versions",
        "UPDATE key_announcements SET body = 'x'",
        "DELETE FROM key_announcements",
        "UPDATE log_entries SET kind = 'x'",
        "DELETE FROM log_entries",
        "DELETE FROM enrolments",
        "UPDATE messages SET outcome = 'x'",
        "DELETE FROM messages",
        "INSERT INTO deliveries (delivery_id) VALUES ('x')",
    ]
    for statement in forbidden:
        with pytest.raises(Exception, match="permission denied"):
            await hub.pool.execute(statement)


async def test_a_directory_altered_in_the_database_is_never_used(hub: HubApi, school: AgencyKit) -> None:
    await hub.owner.execute(
        "UPDATE directory_versions SET body = convert_to(replace(convert_from(body, 'UTF8'), 'a', 'b'), 'UTF8')"
    )
    await hub.owner.execute("UPDATE registry_change SET change = change + 1")
    response = await hub.call("GET", "/v1/directory", school)
    assert response.status_code == 500
    assert response.json()["code"] == "integrity-broken"
