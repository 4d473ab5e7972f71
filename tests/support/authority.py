"""A founded authority and agencies' own keys, for tests: real keys and real signatures, cheap passphrases."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from deploy.authority.founding import OFFICERS, NewOfficer, found_authority
from deploy.authority.officers import Officer, open_officer
from deploy.authority.signing import SignedVersion, record_approval, sign_next_version
from deploy.authority.state import AuthorityState, load_state, save_state
from deploy.local.pki import Pki, make_client_request
from schemas.canonical import parse_object, sha256_base64url
from schemas.cosignature import cosign_checkpoint
from schemas.enrolment import EnrolmentRequest, sign_enrolment
from schemas.jose import sign_jwt
from schemas.keys import (
    KeyUse,
    SigningKeys,
    generate_ed25519_jwk,
    generate_encryption_jwk,
    generate_ml_dsa_44_jwk,
    public_part,
)
from schemas.signed_directory import announce_encryption_key

SAMPLES = Path(__file__).parents[2] / "deploy" / "local" / "samples"
PASSPHRASES = {"ann": "a long test passphrase", "ben": "another long passphrase", "cai": "third passphrase here"}
CHEAP = 2**4


@dataclass(frozen=True, slots=True)
class AgencyKit:
    """One agency's private keys, as its own machine would make them."""

    agency: str
    signer: SigningKeys
    signing_jwks: tuple[dict[str, Any], dict[str, Any]]
    api_jwk: dict[str, Any]
    witness_jwks: tuple[dict[str, Any], ...]
    encryption_jwk: dict[str, Any]
    tls_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def make(cls, agency: str) -> "AgencyKit":
        signer, jwks = SigningKeys.generate(KeyUse.SIGNING)
        return cls(
            agency,
            signer,
            jwks,
            generate_ed25519_jwk(KeyUse.API),
            (generate_ed25519_jwk(KeyUse.WITNESS), generate_ml_dsa_44_jwk(KeyUse.WITNESS)),
            generate_encryption_jwk(),
        )

    def announcement(self, *, now: datetime, days: int = 14) -> bytes:
        """Return the signed announcement of this kit's encryption key."""
        return announce_encryption_key(
            self.agency,
            self.encryption_jwk,
            not_before=now - timedelta(minutes=5),
            not_after=now + timedelta(days=days),
            signer=self.signer,
        )

    def request(self, invitation: str, *, now: datetime, **changes: Any) -> dict[str, Any]:
        """Return the signed enrolment request; ``changes`` replace members before it is signed."""
        members: dict[str, Any] = {
            "agency": self.agency,
            "invitation_sha256": sha256_base64url(invitation.encode()),
            "signing": tuple(public_part(jwk) for jwk in self.signing_jwks),
            "api": (public_part(self.api_jwk),),
            "witness": tuple(public_part(jwk) for jwk in self.witness_jwks),
            "csr_pem": make_client_request(self.tls_key, self.agency).decode(),
            "encryption_key": parse_object(self.announcement(now=now), max_bytes=65536),
            "at": now,
        }
        return sign_enrolment(EnrolmentRequest(**(members | changes)), self.signer)

    def cosign(self, note: str, *, at: datetime, name: str | None = None) -> str:
        """Return this kit's cosignature of a checkpoint: one line for each of its witness keys."""
        seconds = int(at.timestamp())
        return "".join(
            cosign_checkpoint(note, name or self.agency, jwk, timestamp=seconds) for jwk in self.witness_jwks
        )

    def token(self, audience: str, **changes: Any) -> str:
        """Return a fresh access token; ``changes`` replace arguments of ``sign_jwt``."""
        arguments: dict[str, Any] = {
            "jti": token_urlsafe(18),
            "now": datetime.now(UTC),
            "lifetime": timedelta(minutes=2),
        } | changes
        agency = arguments.pop("agency", self.agency)
        return sign_jwt(agency, arguments.pop("audience", audience), arguments.pop("key", self.api_jwk), **arguments)


@dataclass(frozen=True, slots=True)
class FoundedAuthority:
    """An authority in a folder of its own, with the sample partnership."""

    folder: Path

    @classmethod
    def found(cls, folder: Path, *, partnership: Path = SAMPLES / "partnership.yaml") -> "FoundedAuthority":
        Pki(folder / "pki")
        officers = (
            NewOfficer("ann", "csc.marchshire", PASSPHRASES["ann"]),
            NewOfficer("ben", "police.marchshire", PASSPHRASES["ben"]),
            NewOfficer("cai", "health.marchshire-ft", PASSPHRASES["cai"]),
        )
        found_authority(
            folder / "authority",
            partnership,
            officers,
            ca_certificate=folder / "pki" / "ca.pem",
            ca_key=folder / "pki" / "ca.key",
            cost=CHEAP,
        )
        return cls(folder / "authority")

    def state(self) -> AuthorityState:
        return load_state(self.folder)

    def change(self, **changes: Any) -> AuthorityState:
        """Write changes of the state (matrix, policy digest, hub keys …)."""
        return save_state(self.folder, self.state(), **changes)

    def officer(self, name: str = "ann") -> Officer:
        return open_officer(self.folder / OFFICERS, name, PASSPHRASES[name])

    def approve(self, enrolment_id: str, request: dict[str, Any], *, now: datetime | None = None) -> None:
        record_approval(self.folder, self.officer(), enrolment_id, request, now=now or datetime.now(UTC))

    def sign(
        self, *, now: datetime | None = None, officers: tuple[str, ...] = ("ann", "ben"), **rest: Any
    ) -> SignedVersion:
        passphrases = {name: PASSPHRASES[name] for name in officers}
        return sign_next_version(self.folder, passphrases, now=now or datetime.now(UTC), **rest)

    def enrol(self, *kits: AgencyKit, now: datetime | None = None) -> SignedVersion:
        """Approve these agencies and sign one version with all of them, without a hub."""
        moment = now or datetime.now(UTC)
        for kit in kits:
            self.approve(f"enr_{token_urlsafe(12)}", kit.request("invitation", now=moment), now=moment)
        return self.sign(now=moment)
