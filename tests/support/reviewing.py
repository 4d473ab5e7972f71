"""People who review, the hub's API over a hub world, and what a sender's gateway signs for a late release."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex, token_urlsafe
from typing import Any

import httpx
import yaml

from broker.api.settings import ApiSettings
from broker.api.wiring import open_api
from deploy.authority.officers import create_person
from deploy.authority.people import Approver, open_approver, sign_approval
from schemas.canonical import canonical_bytes
from schemas.directory import Person
from schemas.envelope import KeyringAddendum, SealedEnvelope, seal_addendum_keyring
from schemas.jose import sign_jwt
from schemas.objects import digest_object, sign_object
from tests.support.authority import CHEAP, SAMPLES
from tests.support.hub_world import POLICE, HubWorld

HUB_URL = "https://hub.example.org:8443"
PASSPHRASE = "an approver's long passphrase"


def make_approver(
    folder: Path, person_id: str, agency: str, roles: Sequence[str] = ("approver",)
) -> tuple[Approver, Person]:
    """Make a person's key file and open it."""
    person = create_person(folder, person_id, agency, roles, PASSPHRASE, cost=CHEAP)
    return open_approver(folder / f"{person_id}.key.json", PASSPHRASE), person


def write_partnership(folder: Path, **local_policy: Any) -> Path:
    """Write the sample partnership with changes of its local policy."""
    text = (SAMPLES / "partnership.yaml").read_text()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "changed.yaml"
    path.write_text(text.replace("local_policy:", "local_policy:\n  " + _inline(local_policy), 1))
    return path


def _inline(settings: dict[str, Any]) -> str:
    dumped = [
        yaml.safe_dump({name: value}, default_flow_style=True, width=10_000).strip()[1:-1]
        for name, value in settings.items()
    ]
    return "\n  ".join(dumped)


@dataclass
class PersonalApi:
    """The hub's API in process, as the role ``safelane_api``."""

    client: httpx.AsyncClient = field(repr=False)
    world: HubWorld

    async def call(self, method: str, path: str, caller: Approver | str, body: bytes | None = None) -> httpx.Response:
        """Call as a person, or as an agency by its id."""
        if isinstance(caller, str):
            issuer, key = caller, self.world.kits[caller].api_jwk
        else:
            issuer, key = f"person:{caller.id}", caller.api_jwk
        token = sign_jwt(
            issuer, HUB_URL, key, jti=token_urlsafe(18), now=datetime.now(UTC), lifetime=timedelta(minutes=2)
        )
        return await self.client.request(method, path, content=body, headers={"Authorization": f"Bearer {token}"})

    async def reviews(self, person: Approver, state: str = "open") -> list[dict[str, Any]]:
        response = await self.call("GET", f"/v1/reviews?state={state}", person)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["reviews"]
        return found

    async def approve(self, person: Approver, action: str, row: dict[str, Any], **members: Any) -> httpx.Response:
        """Sign an approval about a line of the queue and hand it in."""
        base = {
            "action": action,
            "message_id": row["message_id"],
            "manifest_digest": row["manifest_digest"],
            "delivery_id": row["delivery_id"],
            "recipient": row["recipient"],
            "compartments": sorted(row["held"]),
            "reason_code": "need_to_know",
        }
        body = sign_approval(person, now=datetime.now(UTC), **(base | members))
        return await self.call("POST", "/v1/approvals", person, body)


@asynccontextmanager
async def serve_api(world: HubWorld) -> AsyncIterator[PersonalApi]:
    """Serve the hub's API in process over a hub world's database."""
    settings = ApiSettings(public_url=HUB_URL, certificate_file=Path("unused"), key_file=Path("unused"))
    config = world.config.model_copy(update={"api": settings})
    async with open_api(config, lambda: datetime.now(UTC)) as app:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=HUB_URL, timeout=60) as client:
            yield PersonalApi(client, world)


def sign_addendum(
    world: HubWorld, sealed: SealedEnvelope, request: dict[str, Any], *, sender: str = POLICE, **changes: Any
) -> bytes:
    """Sign a keyring addendum for what a release request asks, as the sender's gateway would."""
    recipient, delivery_id = request["recipient"], request["delivery_id"]
    keys = {s: (sealed.section_keys[s], sealed.ciphertext_digests[s]) for s in request["sections"]}
    keyring, descriptor = seal_addendum_keyring(
        (request["message_id"], sender, delivery_id), keys, world.encryption_keys()[recipient]
    )
    fields: dict[str, Any] = {
        "addendum_id": f"addendum-{token_hex(6)}0",
        "message_id": request["message_id"],
        "referral_id": request["referral_id"],
        "manifest_digest": request["manifest_digest"],
        "sender": sender,
        "delivery_id": delivery_id,
        "recipient": recipient,
        "sections": tuple(sorted(request["sections"])),
        "keyring": keyring,
        "keyring_descriptor": descriptor,
        "approvals": tuple(digest_object(canonical_bytes(b["object"])) for b in request["bases"]),
        "issued_at": datetime.now(UTC),
    }
    return sign_object("keyring_addendum", KeyringAddendum(**(fields | changes)), world.kits[sender].signer)
