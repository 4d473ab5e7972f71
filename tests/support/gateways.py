"""Gateways for tests: real keys, a real signed directory of the sample partnership, and a hub in process that decides by the real policies.

``StubHub`` answers as the hub's API does; a test replaces ``lie`` to make it lie.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from adapters.gateway.config import GatewayConfig, KeyTimes, load_config
from adapters.gateway.durable_files import write_durably
from adapters.gateway.identity.hub_client import HubClient
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.identity.route import write_route
from adapters.gateway.identity.sealed_secrets import write_new_key_file
from broker.decisions import DEFAULT_PACK, NO_REGISTERS, DecisionEngine, PolicyPack, load_pack
from deploy.authority.partnership import PartnershipFile, load_partnership
from deploy.local.pki import Pki
from schemas.canonical import parse_object
from schemas.directory import AgencyKeys, Directory, MatrixRow
from schemas.header import RoutingHeader
from schemas.jose import peek_issuer
from schemas.keys import Jwk, KeyUse, SigningKeys, public_part
from schemas.signed_directory import sign_directory

SAMPLES = Path(__file__).parents[2] / "deploy" / "local" / "samples"
HUB_URL = "https://hub.example.org:8443"
PEPPER = b"p" * 32
MAX = 32 * 1024 * 1024


@cache
def policy_pack() -> PolicyPack:
    return load_pack(DEFAULT_PACK)


@cache
def _partnership() -> PartnershipFile:
    return load_partnership(SAMPLES / "partnership.yaml")


def fill_keystore(folder: Path, agency: str, now: datetime) -> Keystore:
    """Make an agency's data folder with keys, as enrolment leaves it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keystore = Keystore.create(folder / "keystore.json", agency, write_new_key_file(folder / "kek"))
    keystore.rotate_encryption_key(now, KeyTimes().lifetimes())
    keystore.keep_pepper("p1", PEPPER)
    return keystore


@dataclass
class StubHub:
    """A hub's API in process. ``lie`` may change any answer: it gets path and body and returns the body."""

    authority: SigningKeys
    authority_jwks: Sequence[Jwk]
    ca_pem: str
    business_clock: Callable[[], datetime]
    keystores: dict[str, Keystore] = field(default_factory=dict)
    version: int = 1
    matrix: tuple[MatrixRow, ...] = ()
    lie: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _path, body: body
    down: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    issued_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def make(
        cls, ca_pem: str, business_clock: Callable[[], datetime], *, issued_at: datetime | None = None
    ) -> "StubHub":
        """Make one whose directory is issued at ``issued_at`` (none: now): tests with a fixed clock must say it."""
        authority, jwks = SigningKeys.generate(KeyUse.AUTHORITY)
        matrix = policy_pack().matrix.to_directory_rows()
        return cls(authority, jwks, ca_pem, business_clock, matrix=matrix, issued_at=issued_at or datetime.now(UTC))

    def trust(self) -> dict[str, Any]:
        return {
            "partnership": "marchshire",
            "authority": [public_part(jwk) for jwk in self.authority_jwks],
            "thumbprint": "ab" * 32,
            "successor": "",
            "ca_pem": self.ca_pem,
        }

    def directory(self, *, now: datetime | None = None, lifetime: timedelta = timedelta(days=30)) -> Directory:
        moment = (now or self.issued_at).replace(microsecond=0)
        partnership = _partnership()
        agencies = []
        for agency in partnership.agencies:
            keystore = self.keystores.get(agency.id)
            if keystore is not None:
                keys = AgencyKeys(
                    signing=keystore.public_signing_jwks(),
                    api=(public_part(keystore.api_key()),),
                    witness=tuple(public_part(jwk) for jwk in keystore.witness_keys()),
                )
                agency = agency.model_copy(update={"keys": keys, "enrolled_at": moment})  # noqa: PLW2901
            agencies.append(agency)
        return Directory(
            version=self.version,
            issued_at=moment - timedelta(minutes=1),
            expires_at=moment + lifetime,
            partnership=partnership.partnership,
            agencies=tuple(agencies),
            calendars=partnership.calendars,
            bank_holidays=partnership.bank_holidays,
            local_policy=partnership.local_policy,
            agreements=partnership.agreements,
            matrix=self.matrix,
        )

    def directory_body(
        self, directory: Directory | None = None, *, signer: SigningKeys | None = None
    ) -> dict[str, Any]:
        signed = sign_directory(directory or self.directory(), signer or self.authority)
        announcements = [k.newest_announcement() for k in self.keystores.values()]
        return {
            "directory": parse_object(signed, max_bytes=MAX),
            "keys": [parse_object(a, max_bytes=MAX) for a in announcements],
            "checkpoint": None,
        }

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.method, request.url.path))
        if self.down:
            return httpx.Response(503, json={"code": "dependency-unavailable", "retryable": True})
        body: dict[str, Any]
        if request.url.path == "/v1/plan":
            body = self._plan(json.loads(request.content), _read_issuer(request))
        elif request.url.path == "/v1/directory":
            body = self.directory_body()
        elif request.url.path == "/v1/keys":
            body = {"kid": "x"}
        else:
            return httpx.Response(404, json={"code": "not-found"})
        return httpx.Response(200, json=self.lie(request.url.path, body))

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def client(self, agency: str) -> HubClient:
        keystore = self.keystores[agency]
        return HubClient(
            HUB_URL,
            agency=agency,
            ca_pem=self.ca_pem,
            api_key=keystore.api_key,
            clock=lambda: datetime.now(UTC),
            transport=self.transport(),
            attempts=1,
        )

    def _plan(self, question: dict[str, Any], sender: str) -> dict[str, Any]:
        engine = DecisionEngine(policy_pack(), self.directory())
        header = RoutingHeader.model_validate(question["header"])
        now = self.business_clock()
        decisions = engine.decide_all(header, sender=sender, registers=NO_REGISTERS, now=now)
        return {
            "decisions": [decision.to_json() for decision in decisions],
            "policy_digest": "",
            "directory_version": self.version,
            "as_of": now.isoformat(),
        }


def write_gateway(
    folder: Path,
    hub: StubHub,
    agencies: Sequence[str],
    *,
    amqp: dict[str, Any] | None = None,
    pki: Pki | None = None,
    more: dict[str, Any] | None = None,
    **sending: Any,
) -> GatewayConfig:
    """Write a gateway's configuration and data folders, as if enrolled, and read it back. ``more`` changes each agency's entry."""
    (folder / "trust.json").parent.mkdir(parents=True, exist_ok=True)
    (folder / "trust.json").write_text(json.dumps(hub.trust()))
    entries = []
    for agency in agencies:
        data = folder / agency
        if agency not in hub.keystores:
            hub.keystores[agency] = fill_keystore(data, agency, datetime.now(UTC))
        write_durably(data / "token", secrets.token_urlsafe(32).encode())
        if pki is not None:
            credential = pki.issue_client(agency)
            write_durably(data / "client.pem", credential.cert_file.read_bytes())
            write_durably(data / "client.key", credential.key_file.read_bytes())
        write_route(
            data / "route.json", queue=f"queue.{agency}", amqp=amqp or {"host": "127.0.0.1", "port": 1, "vhost": "v"}
        )
        entries.append(
            {
                "agency": agency,
                "data_dir": str(data),
                "key_encryption_key_file": str(data / "kek"),
                "api_token_file": str(data / "token"),
                "confirm_new_recipients": False,
            }
            | (more or {})
        )
    document = {
        "environment": "test",
        "trust_file": "trust.json",
        "hub_url": HUB_URL,
        "listen_port": 0,
        "agencies": entries,
        "sending": {"poll": 0.05, "retry_first": 0.05} | sending,
    }
    (folder / "gateway.yaml").write_text(json.dumps(document))  # JSON is YAML
    return load_config(folder / "gateway.yaml")


def _read_issuer(request: httpx.Request) -> str:
    return peek_issuer(request.headers["authorization"].removeprefix("Bearer "))
