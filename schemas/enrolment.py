"""How an agency joins: its request, signed by its own new keys, and the authority's signed welcome (DESIGN, Who runs what).

The request proves possession of the identity keys by its two signatures, and of the API key by the token with which its state is asked for.
The welcome is signed by the authority, so that the hub that carries it can choose neither the certificate nor the pepper.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from schemas.canonical import canonical_bytes, parse_object, sha256_base64url
from schemas.checkpoint import write_verifier
from schemas.clear_forms import AgencyId, EnrolmentId, PepperId
from schemas.errors import MalformedMessage
from schemas.jose import peek_payload, sign_jws, verify_jws
from schemas.keys import (
    KeyUse,
    SigningKeys,
    VerifyingKeys,
    compute_thumbprint,
    pair_verifying_keys,
    require_distinct_keys,
    require_use,
)
from schemas.validation import name_first_fault

REQUEST_TYP = "safelane-enrolment+jws"
WELCOME_TYP = "safelane-welcome+jws"
MAX_ENROLMENT_BYTES = 64 * 1024

Jwk = dict[str, Any]
_PRIVATE = ("d", "priv")


class EnrolmentModel(BaseModel):
    """Base of the enrolment objects: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EnrolmentRequest(EnrolmentModel):
    """What an agency asks the authority to put in the directory: public keys made on its own machine, and a certificate request."""

    agency: AgencyId
    invitation_sha256: str = Field(min_length=43, max_length=43)
    """Base64url SHA-256 of the one-time invitation, so that a request fits one invitation only."""
    signing: tuple[Jwk, Jwk]
    api: tuple[Jwk, ...] = Field(min_length=1, max_length=2)
    witness: tuple[Jwk, ...] = Field(default=(), max_length=2)
    """The keys that cosign the log: Ed25519, then ML-DSA-44. A gateway from before ML-DSA cosignatures has the first alone."""
    csr_pem: str = Field(max_length=8192)
    """PKCS #10 request for the TLS client certificate; its common name is the agency id."""
    encryption_key: dict[str, Any]
    """The first encryption-key announcement, signed by the keys of ``signing``: the pepper is sealed to it."""
    at: AwareDatetime

    def fingerprint(self) -> str:
        """Return what an officer and the agency compare by telephone: the request's digest as eight groups of four characters."""
        digest = _fingerprint_hex(self)
        return " ".join(digest[i : i + 4] for i in range(0, 32, 4))

    def public_keys(self) -> list[Jwk]:
        """Return every public key of the request."""
        return [*self.signing, *self.api, *self.witness]


class Welcome(EnrolmentModel):
    """The authority's answer: the certificate, and the partnership's pepper sealed to the agency's own encryption key."""

    agency: AgencyId
    enrolment_id: EnrolmentId
    request_sha256: str = Field(min_length=43, max_length=43)
    """Base64url SHA-256 of the request's signed payload."""
    certificate_pem: str
    ca_pem: str
    pepper_id: PepperId
    sealed_pepper: dict[str, str]
    """Flattened JWE, HPKE-9-KE; plaintext ``{"agency", "pepper" (base64url, 32 bytes), "pepper_id"}``."""
    directory_version: int = Field(ge=1)
    """The first directory version that holds the agency's keys."""
    at: AwareDatetime


def sign_enrolment(request: EnrolmentRequest, signer: SigningKeys) -> dict[str, Any]:
    """Sign a request with the new identity keys that it names; return the JWS as a JSON object."""
    return sign_jws(_payload(request), signer, REQUEST_TYP)


def verify_enrolment(jws: Mapping[str, Any]) -> EnrolmentRequest:
    """Verify a request by the very keys that it brings, which proves possession of them and nothing else.

    Raises:
        MalformedMessage: it is not of the form, brings a private key, or uses one key twice.
        SignatureInvalid: its keys did not sign it.
    """
    raw = peek_payload(jws)
    request = _read(EnrolmentRequest, raw)
    for jwk, use in [(k, KeyUse.SIGNING) for k in request.signing] + [(k, KeyUse.API) for k in request.api]:
        require_use(jwk, use)
    for jwk in request.witness:
        write_verifier(request.agency, jwk, use=KeyUse.WITNESS)
    keys = request.public_keys()
    if any(name in jwk for jwk in keys for name in _PRIVATE):
        raise MalformedMessage("holds a private key: make new keys, this one is no longer secret", field="request")
    require_distinct_keys(keys)
    verify_jws(jws, pair_verifying_keys(request.signing), REQUEST_TYP)
    return request


def request_digest(jws: Mapping[str, Any]) -> str:
    """Return the base64url SHA-256 of a signed request's payload, by which the welcome names it."""
    return sha256_base64url(peek_payload(jws))


def sign_welcome(welcome: Welcome, authority: SigningKeys) -> dict[str, Any]:
    """Sign a welcome with the authority's keys; return the JWS as a JSON object."""
    return sign_jws(_payload(welcome), authority, WELCOME_TYP)


def verify_welcome(jws: Mapping[str, Any], authority_keys: Sequence[VerifyingKeys]) -> Welcome:
    """Verify a welcome by the pinned authority keys. The caller checks that it names its own agency and request.

    Raises:
        SignatureInvalid: the authority did not sign it.
        MalformedMessage: it is not of the form.
    """
    return _read(Welcome, verify_jws(jws, authority_keys, WELCOME_TYP))


ModelT = TypeVar("ModelT", bound=EnrolmentModel)


def _payload(model: EnrolmentModel) -> bytes:
    return canonical_bytes(model.model_dump(mode="json"))


def _read(model: type[ModelT], raw: bytes) -> ModelT:
    try:
        return model.model_validate(parse_object(raw, max_bytes=MAX_ENROLMENT_BYTES, field="payload"))
    except ValidationError as error:
        path = name_first_fault(error)
        raise MalformedMessage("is not of the form", field=path or "payload") from None


def _fingerprint_hex(request: EnrolmentRequest) -> str:
    thumbprints = [compute_thumbprint(jwk) for jwk in request.public_keys()]
    summary = {"agency": request.agency, "keys": thumbprints, "csr": sha256_base64url(request.csr_pem.encode())}
    return sha256(canonical_bytes(summary)).hexdigest()
