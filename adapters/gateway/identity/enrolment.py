"""Joining a partnership: keys made here, one invitation, an officer's approval, the authority's signed welcome.

Two steps, each safe to repeat: ``request_enrolment`` makes keys and hands in the signed request (kept on disk first, so that a crash sends the same
bytes again), ``complete_enrolment`` takes the welcome. The welcome and the directory are believed on the authority's signature alone: the hub can
choose neither the certificate nor the pepper nor our keys.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.gateway.config import AgencyConfig, GatewayConfig
from adapters.gateway.durable_files import read_private_file, write_durably
from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.identity.hub_client import HubClient
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.identity.route import write_route
from adapters.gateway.identity.sealed_secrets import read_key_encryption_key
from schemas.canonical import canonical_bytes, decode_base64url, parse_object, sha256_base64url
from schemas.clear_forms import AgencyId
from schemas.enrolment import EnrolmentRequest, Welcome, request_digest, sign_enrolment, verify_welcome
from schemas.errors import (
    ConfigInvalid,
    DependencyUnavailable,
    IntegrityBroken,
    MalformedMessage,
    Rejected,
    SafelaneError,
)
from schemas.jose import jwe_decrypt
from schemas.keys import public_part
from schemas.trust import TrustFile

_log = structlog.get_logger(__name__)

MAX_FILE_BYTES = 256 * 1024


class Invitation(BaseModel):
    """An invitation as ``safelane hub invite`` writes it; received out of band."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hub_url: str
    agency: AgencyId
    invitation: str


@dataclass(frozen=True, slots=True)
class PendingEnrolment:
    """A request that was handed in. ``fingerprint`` is what the officer and the agency compare by telephone."""

    enrolment_id: str
    fingerprint: str


def read_invitation(path: Path) -> Invitation:
    """Read an invitation file.

    Raises:
        ConfigInvalid: it cannot be read or is not of its form.
    """
    try:
        return Invitation.model_validate(parse_object(path.read_bytes(), max_bytes=MAX_FILE_BYTES, field="invitation"))
    except (OSError, ValidationError, SafelaneError):
        raise ConfigInvalid("is not an invitation", field="invitation") from None


async def request_enrolment(
    config: GatewayConfig,
    entry: AgencyConfig,
    trust: TrustFile,
    invitation: Invitation,
    *,
    hub: HubClient,
    now: datetime,
    keystore: Keystore | None = None,
) -> PendingEnrolment:
    """Make keys (unless they are there), hand in the signed request, and return its id and fingerprint.

    ``keystore`` is the open one where the caller goes on using it; two open ones would not see each other's changes.

    Raises:
        ConfigInvalid: the invitation is for another agency or hub.
        Rejected: the invitation is used up, expired or unknown.
        DependencyUnavailable: the hub does not answer; run it again.
    """
    if (invitation.agency, invitation.hub_url) != (entry.agency, config.hub_url):
        raise ConfigInvalid("is for another agency or another hub", field="invitation")
    kept = _read_state(entry)
    if kept is None or kept["invitation"] != invitation.invitation:
        kept = {
            "invitation": invitation.invitation,
            "request": _make_request(config, entry, invitation, keystore, now=now),
        }
        _write_state(entry, kept)
    body = {"invitation": kept["invitation"], "request": kept["request"]}
    answer = await hub.request("POST", "/v1/enrolments", body, with_token=False)
    if not isinstance(answer.body, dict) or not isinstance(answer.body.get("enrolment_id"), str):
        raise MalformedMessage("is not an enrolment", field="enrolment")
    ours = _read_request(kept["request"]).fingerprint()
    if answer.body.get("fingerprint") != ours:
        raise IntegrityBroken("the hub shows another fingerprint than our own", field="fingerprint")
    _write_state(entry, kept | {"enrolment_id": answer.body["enrolment_id"]})
    _log.info("enrolment_requested", agency=entry.agency, partnership=trust.partnership)
    return PendingEnrolment(answer.body["enrolment_id"], ours)


async def complete_enrolment(
    entry: AgencyConfig, trust: TrustFile, keystore: Keystore, keeper: DirectoryKeeper, *, hub: HubClient, now: datetime
) -> bool:
    """Ask whether the request was approved; if so, verify and keep certificate, pepper, route and directory. Return whether it is done.

    Raises:
        Rejected: an officer refused the request, or none was handed in.
        SignatureInvalid, IntegrityBroken: the welcome is not the authority's, or not for this request.
        DependencyUnavailable: the hub does not answer; run it again.
    """
    kept = _read_state(entry)
    if kept is None or "enrolment_id" not in kept:
        raise Rejected("no request was handed in: run enrol with the invitation first", field="enrolment")
    answer = await hub.request("GET", f"/v1/enrolments/{kept['enrolment_id']}")
    status: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    if status.get("state") == "refused":
        raise Rejected("an officer of the authority refused the request", field="enrolment")
    if status.get("state") != "enrolled":
        return False
    welcome = verify_welcome(status.get("welcome") or {}, trust.authority_keys())
    if (welcome.agency, welcome.request_sha256) != (entry.agency, request_digest(kept["request"])):
        raise IntegrityBroken("the welcome is for another request", field="welcome")
    pepper = _open_pepper(welcome, keystore, now)
    _check_certificate(welcome, entry, trust)
    await _require_own_keys(entry, keystore, keeper, welcome)
    keystore.keep_pepper(welcome.pepper_id, pepper)
    write_durably(entry.certificate_path, welcome.certificate_pem.encode())
    write_route(entry.route_path, queue=str(status.get("queue", "")), amqp=dict(status.get("amqp") or {}))
    _log.info("enrolled", agency=entry.agency, directory_version=keeper.current().version)
    return True


def open_or_create_keystore(entry: AgencyConfig) -> Keystore:
    """Open the keystore, or make it with fresh keys.

    Raises:
        ConfigInvalid: the key-encryption key is missing, or the keystore does not open with it.
    """
    entry.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    kek = read_key_encryption_key(entry.key_encryption_key_file, entry.passphrase_file)
    if entry.keystore_path.exists():
        return Keystore.open(entry.keystore_path, entry.agency, kek)
    return Keystore.create(entry.keystore_path, entry.agency, kek)


def _make_request(
    config: GatewayConfig, entry: AgencyConfig, invitation: Invitation, keystore: Keystore | None, *, now: datetime
) -> dict[str, Any]:
    keystore = keystore or open_or_create_keystore(entry)
    keystore.rotate_encryption_key(now, config.keys.lifetimes())
    keystore.complete_witness_keys()
    announcement = parse_object(keystore.newest_announcement(), max_bytes=MAX_FILE_BYTES, field="encryption_key")
    request = EnrolmentRequest(
        agency=entry.agency,
        invitation_sha256=sha256_base64url(invitation.invitation.encode()),
        signing=keystore.public_signing_jwks(),
        api=(public_part(keystore.api_key()),),
        witness=tuple(public_part(jwk) for jwk in keystore.witness_keys()),
        csr_pem=_make_certificate_request(entry),
        encryption_key=announcement,
        at=now.replace(microsecond=0),
    )
    return sign_enrolment(request, keystore.signing_keys())


def _make_certificate_request(entry: AgencyConfig) -> str:
    """Return a PKCS #10 request for the TLS client key, which is made here (P-256: every RabbitMQ takes it) and stays here."""
    if entry.private_key_path.exists():
        loaded = load_pem_private_key(read_private_file(entry.private_key_path, field="client.key"), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ConfigInvalid("is not a key of ours", field="client.key")
        key = loaded
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        write_durably(entry.private_key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, entry.agency)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def _read_request(jws: dict[str, Any]) -> EnrolmentRequest:
    payload = parse_object(decode_base64url(jws["payload"]), max_bytes=MAX_FILE_BYTES, field="request")
    return EnrolmentRequest.model_validate(payload)


def _open_pepper(welcome: Welcome, keystore: Keystore, now: datetime) -> bytes:
    """Open the pepper with whichever of our encryption keys it was sealed to."""
    for jwk in keystore.encryption_private_jwks(now).values():
        try:
            plain = parse_object(jwe_decrypt(welcome.sealed_pepper, jwk), max_bytes=MAX_FILE_BYTES, field="pepper")
        except SafelaneError:
            continue
        pepper = decode_base64url(str(plain.get("pepper", "")), field="pepper")
        named = (plain.get("agency"), plain.get("pepper_id"))
        if named != (welcome.agency, welcome.pepper_id) or len(pepper) != 32:
            raise IntegrityBroken("the sealed pepper is not of this welcome", field="welcome.sealed_pepper")
        return pepper
    raise IntegrityBroken("the pepper is not sealed to a key of ours", field="welcome.sealed_pepper")


def _check_certificate(welcome: Welcome, entry: AgencyConfig, trust: TrustFile) -> None:
    """Check that the certificate is for our name and our TLS key, and that the CA is the pinned one."""
    if welcome.ca_pem.strip() != trust.ca_pem.strip():
        raise IntegrityBroken("the welcome names another CA than the trust file", field="welcome.ca_pem")
    try:
        certificate = x509.load_pem_x509_certificate(welcome.certificate_pem.encode())
        key = load_pem_private_key(read_private_file(entry.private_key_path, field="client.key"), None)
    except ValueError:
        raise IntegrityBroken("is not a certificate", field="welcome.certificate_pem") from None
    names = [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    same_key = certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    if names != [entry.agency] or not same_key:
        raise IntegrityBroken("is not for our name and key", field="welcome.certificate_pem")


async def _require_own_keys(entry: AgencyConfig, keystore: Keystore, keeper: DirectoryKeeper, welcome: Welcome) -> None:
    """Fetch the directory and find our own keys in it: anything else would let somebody else sign as us."""
    known = await keeper.refresh()
    agency = known.directory.find_agency(entry.agency)
    if agency is None or known.version < welcome.directory_version:
        raise DependencyUnavailable(
            "the hub does not serve the directory with this agency yet", field="directory.version"
        )
    ours = [jwk["x" if jwk["kty"] == "OKP" else "pub"] for jwk in keystore.public_signing_jwks()]
    listed = [jwk.get("x") or jwk.get("pub") for jwk in agency.keys.signing]
    if any(key not in listed for key in ours):
        raise IntegrityBroken("the directory holds other identity keys than ours", field="directory.keys")


def _read_state(entry: AgencyConfig) -> dict[str, Any] | None:
    if not entry.enrolment_path.exists():
        return None
    data = read_private_file(entry.enrolment_path, field="enrolment.json", max_bytes=MAX_FILE_BYTES)
    return parse_object(data, max_bytes=MAX_FILE_BYTES, field="enrolment.json")


def _write_state(entry: AgencyConfig, state: dict[str, Any]) -> None:
    write_durably(entry.enrolment_path, canonical_bytes(state))
