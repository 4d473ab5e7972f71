"""Joining: the welcome counts with the authority's signature, for our own request, name and keys; a hub that interferes is found out."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Any

import httpx
import pytest

from adapters.gateway.config import GatewayConfig, load_config
from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.identity.enrolment import (
    Invitation,
    PendingEnrolment,
    complete_enrolment,
    open_or_create_keystore,
    read_invitation,
    request_enrolment,
)
from adapters.gateway.identity.hub_client import HubClient
from adapters.gateway.identity.keystore import KeyLifetimes, Keystore
from adapters.gateway.identity.quickstart import write_first_configuration
from adapters.gateway.identity.route import read_route
from adapters.gateway.identity.sealed_secrets import write_new_key_file
from adapters.gateway.identity.trust import read_trust_file
from deploy.local.pki import Pki
from schemas.canonical import canonical_bytes, encode_base64url
from schemas.enrolment import EnrolmentRequest, Welcome, request_digest, sign_welcome, verify_enrolment
from schemas.errors import ConfigInvalid, DependencyUnavailable, IntegrityBroken, Rejected, SignatureInvalid
from schemas.jose import encrypt_hpke
from schemas.keys import KeyUse, SigningKeys, generate_encryption_jwk, public_part
from tests.support.gateways import HUB_URL, StubHub

AGENCY = "school.oakfield"
PEPPER = b"s" * 32
INVITATION = Invitation(hub_url=HUB_URL, agency=AGENCY, invitation="secret-once")


class Joining:
    """An agency that joins, and a hub whose every answer a test may change."""

    def __init__(self, folder: Path) -> None:
        self.now = datetime.now(UTC)  # certificates are made by the real clock
        self.pki = Pki(folder / "pki")
        self.hub = StubHub.make(self.pki.ca_file.read_text(), lambda: self.now)
        folder.joinpath("trust.json").write_text(json.dumps(self.hub.trust()))
        write_new_key_file(folder / "kek")
        entry = {"agency": AGENCY, "data_dir": "data", "key_encryption_key_file": "kek", "api_token_file": "token"}
        document = {"environment": "test", "trust_file": "trust.json", "hub_url": HUB_URL, "agencies": [entry]}
        folder.joinpath("gateway.yaml").write_text(json.dumps(document))
        self.config: GatewayConfig = load_config(folder / "gateway.yaml")
        self.entry = self.config.agencies[0]
        self.trust = read_trust_file(self.config.trust_file)
        self.keystore: Keystore = open_or_create_keystore(self.entry)
        self.client = HubClient(
            HUB_URL,
            agency=AGENCY,
            ca_pem=self.trust.ca_pem,
            api_key=self.keystore.api_key,
            clock=lambda: datetime.now(UTC),
            attempts=1,
            transport=httpx.MockTransport(self.answer),
        )
        self.requests: list[dict[str, Any]] = []
        self.state = "pending"
        self.fingerprint: Callable[[str], str] = lambda text: text
        self.welcome: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: values
        self.signer = self.hub.authority
        self.listed: Keystore | None = None

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/enrolments":
            assert "authorization" not in request.headers
            self.requests.append(json.loads(request.content))
            asked = verify_enrolment(self.requests[-1]["request"])
            body = {
                "enrolment_id": "enr_0000000001",
                "state": "pending",
                "fingerprint": self.fingerprint(asked.fingerprint()),
            }
            return httpx.Response(201, json=body)
        if request.url.path.startswith("/v1/enrolments/"):
            body = {"state": self.state}
            if self.state == "enrolled":
                amqp = {"host": "mq.example.org", "port": 5671, "vhost": "safelane"}
                body |= {"welcome": sign_welcome(self.make_welcome(), self.signer), "queue": "queue.x", "amqp": amqp}  # type: ignore[dict-item]
            return httpx.Response(200, json=body)
        self.hub.keystores = {AGENCY: self.listed or self.keystore}
        return self.hub.answer(request)

    def make_welcome(self) -> Welcome:
        jws = self.requests[-1]["request"]
        asked: EnrolmentRequest = verify_enrolment(jws)
        certificate = self.pki.sign_client_request(asked.csr_pem.encode(), AGENCY)
        values = {
            "agency": AGENCY,
            "enrolment_id": "enr_0000000001",
            "request_sha256": request_digest(jws),
            "certificate_pem": certificate.decode(),
            "ca_pem": self.trust.ca_pem,
            "pepper_id": "p1",
            "sealed_pepper": self.seal_pepper(self.keystore.newest_encryption_jwk()),
            "directory_version": 1,
            "at": self.now,
        }
        return Welcome(**self.welcome(values))

    def seal_pepper(self, jwk: dict[str, Any], **changes: Any) -> dict[str, str]:
        plain = {"agency": AGENCY, "pepper": encode_base64url(PEPPER), "pepper_id": "p1"} | changes
        return encrypt_hpke(
            canonical_bytes(plain), public_part(jwk), jwk["kid"], {"typ": "safelane-pepper"}, rng=token_bytes
        )

    async def ask(self, invitation: Invitation = INVITATION) -> PendingEnrolment:
        return await request_enrolment(
            self.config, self.entry, self.trust, invitation, hub=self.client, now=self.now, keystore=self.keystore
        )

    async def complete(self) -> bool:
        keeper = DirectoryKeeper(self.entry.directory_path, self.trust, self.client, lambda: datetime.now(UTC))
        return await complete_enrolment(self.entry, self.trust, self.keystore, keeper, hub=self.client, now=self.now)


@pytest.fixture
def joining(tmp_path: Path) -> Joining:
    return Joining(tmp_path)


async def test_an_agency_joins(joining: Joining) -> None:
    pending = await joining.ask()
    assert len(pending.fingerprint.split()) == 8
    assert not await joining.complete()
    joining.state = "enrolled"
    assert await joining.complete()
    assert joining.keystore.pepper() == ("p1", PEPPER)
    assert joining.entry.certificate_path.read_text().startswith("-----BEGIN CERTIFICATE")
    assert joining.entry.private_key_path.stat().st_mode & 0o777 == 0o600
    route = read_route(joining.entry.route_path)
    assert route is not None
    assert route["queue"] == "queue.x"


async def test_asking_again_sends_the_same_bytes(joining: Joining) -> None:
    await joining.ask()
    await joining.ask()
    assert joining.requests[0] == joining.requests[1]


async def test_no_private_key_leaves(joining: Joining) -> None:
    await joining.ask()
    sent = json.dumps(joining.requests)
    for secret in (
        joining.keystore.api_key()["d"],
        joining.keystore.witness_keys()[0]["d"],
        joining.keystore.witness_keys()[1]["priv"],
        "PRIVATE KEY",
    ):
        assert secret not in sent


async def test_an_agency_from_before_ml_dsa_cosignatures_asks_for_both_witness_keys(joining: Joining) -> None:
    await joining.ask()
    (before, added) = joining.keystore.witness_keys()
    keystore = joining.keystore
    with keystore._sealed.changing() as secrets:
        del secrets["witness_ml_dsa_44"]
    await joining.ask(INVITATION.model_copy(update={"invitation": "another-invitation"}))
    asked = [verify_enrolment(body["request"]).witness for body in joining.requests]
    assert [len(keys) for keys in asked] == [2, 2]
    assert asked[1][0] == public_part(before)
    assert asked[1][1] == public_part(keystore.witness_keys()[1]) != public_part(added)


async def test_the_invitation_must_be_for_us(joining: Joining) -> None:
    with pytest.raises(ConfigInvalid):
        await joining.ask(INVITATION.model_copy(update={"agency": "gp.millbrook"}))
    with pytest.raises(ConfigInvalid):
        await joining.ask(INVITATION.model_copy(update={"hub_url": "https://evil.example.org"}))


async def test_a_hub_that_shows_another_fingerprint_is_found_out(joining: Joining) -> None:
    joining.fingerprint = lambda text: text[::-1]
    with pytest.raises(IntegrityBroken, match="fingerprint"):
        await joining.ask()


async def test_a_refusal_is_told(joining: Joining) -> None:
    await joining.ask()
    joining.state = "refused"
    with pytest.raises(Rejected, match="refused"):
        await joining.complete()


def change(**values: Any) -> Callable[[Joining], None]:
    def apply(joining: Joining) -> None:
        joining.welcome = lambda made: made | {k: v(joining) if callable(v) else v for k, v in values.items()}

    return apply


def sign_by_hub(joining: Joining) -> None:
    joining.signer, _ = SigningKeys.generate(KeyUse.AUTHORITY)


def list_other_keys(joining: Joining) -> None:
    folder = joining.entry.data_dir.parent / "other"
    folder.mkdir()
    joining.listed = Keystore.create(folder / "keystore.json", AGENCY, write_new_key_file(folder / "kek"))
    joining.listed.rotate_encryption_key(joining.now, KeyLifetimes())


def foreign_certificate(joining: Joining) -> str:
    return joining.pki.issue_client(AGENCY).cert_file.read_text()


@pytest.mark.parametrize(
    ("interfere", "error"),
    [
        (sign_by_hub, SignatureInvalid),
        (change(agency="gp.millbrook"), IntegrityBroken),
        (change(request_sha256="A" * 43), IntegrityBroken),
        (change(ca_pem="-----BEGIN CERTIFICATE-----"), IntegrityBroken),
        (change(certificate_pem="nonsense"), IntegrityBroken),
        (change(certificate_pem=foreign_certificate), IntegrityBroken),
        (change(sealed_pepper=lambda j: j.seal_pepper(generate_encryption_jwk())), IntegrityBroken),
        (
            change(sealed_pepper=lambda j: j.seal_pepper(j.keystore.newest_encryption_jwk(), agency="gp.millbrook")),
            IntegrityBroken,
        ),
        (
            change(sealed_pepper=lambda j: j.seal_pepper(j.keystore.newest_encryption_jwk(), pepper="AA")),
            IntegrityBroken,
        ),
        (change(directory_version=2), DependencyUnavailable),
        (list_other_keys, IntegrityBroken),
    ],
    ids=[
        "hub-signs",
        "agency",
        "request",
        "ca",
        "no-certificate",
        "other-key",
        "foreign-pepper",
        "pepper-agency",
        "short-pepper",
        "old-directory",
        "other-identity-keys",
    ],
)
async def test_interference_leaves_the_agency_unenrolled(
    joining: Joining, interfere: Callable[[Joining], None], error: type[Exception]
) -> None:
    await joining.ask()
    joining.state = "enrolled"
    interfere(joining)
    with pytest.raises(error):
        await joining.complete()
    assert not joining.entry.certificate_path.exists()
    assert not joining.entry.route_path.exists()
    with pytest.raises(ConfigInvalid):
        joining.keystore.pepper()


def test_an_invitation_must_be_one(tmp_path: Path) -> None:
    file = tmp_path / "invitation.json"
    file.write_text(json.dumps({"hub_url": HUB_URL, "agency": AGENCY, "invitation": "x", "expires_at": "later"}))
    assert read_invitation(file).agency == AGENCY
    file.write_text("{}")
    with pytest.raises(ConfigInvalid):
        read_invitation(file)


def test_a_first_configuration_can_be_served_after_enrolment(joining: Joining, tmp_path: Path) -> None:
    folder = tmp_path / "gw"
    config = write_first_configuration(folder, agency=AGENCY, hub_url=HUB_URL, trust_file=joining.config.trust_file)
    assert config.environment == "production"
    assert {f.name: f.stat().st_mode & 0o777 for f in folder.iterdir()} == dict.fromkeys(
        ("gateway.yaml", "trust.json", "keystore.key", "api.token"), 0o600
    )
    open_or_create_keystore(config.agencies[0])
    with pytest.raises(ConfigInvalid):
        write_first_configuration(folder, agency=AGENCY, hub_url=HUB_URL, trust_file=joining.config.trust_file)
