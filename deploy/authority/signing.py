"""The act of two officers: open the authority's key, take in what was approved, sign the next directory version and the welcomes.

Order of writing: directory, welcomes, state. Only after the state is written is anything published, so a crash before that leaves a version that
nobody saw and that the next run replaces.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from typing import Any

from deploy.authority.certificates import CertificateAuthority, issue_client_certificate, load_ca, read_request
from deploy.authority.directory_building import DIRECTORY_LIFETIME, build_directory, enrol_agency
from deploy.authority.founding import KEY_FILE, OFFICERS, PARTNERSHIP_FILE, TRUST_FILE
from deploy.authority.key_file import open_with_pair, write_durably
from deploy.authority.officers import Officer, approve_enrolment, list_officers, verify_approval
from deploy.authority.partnership import load_partnership
from deploy.authority.state import AuthorityState, load_state, save_state
from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url
from schemas.directory import Directory
from schemas.enrolment import EnrolmentRequest, Welcome, request_digest, sign_welcome, verify_enrolment
from schemas.errors import ConfigInvalid, IntegrityBroken, NotFound
from schemas.jose import encrypt_hpke
from schemas.keys import SigningKeys, VerifyingKeys, pair_verifying_keys
from schemas.signed_directory import EncryptionKey, read_key_announcement, sign_directory, verify_directory
from schemas.trust import TrustFile, parse_trust_file

REQUESTS, APPROVALS, WELCOMES, DIRECTORIES = "requests", "approvals", "welcomes", "directories"


@dataclass(frozen=True, slots=True)
class SignedVersion:
    """What a signing made: the directory and its signed bytes, and welcomes by enrolment id, ready to publish."""

    directory: Directory
    body: bytes
    welcomes: Mapping[str, dict[str, Any]]


def record_approval(
    folder: Path, officer: Officer, enrolment_id: str, request: Mapping[str, Any], *, now: datetime
) -> EnrolmentRequest:
    """Keep a request with an officer's signed approval of it; the next signing takes it in.

    Raises:
        SignatureInvalid, MalformedMessage: the request does not prove possession of its keys.
        ConfigInvalid: the agency is not in the partnership file.
        CertificateRequestInvalid: the CA could not answer its certificate request.
    """
    verified = verify_enrolment(request)
    partnership = load_partnership(folder / PARTNERSHIP_FILE)
    if verified.agency not in {agency.id for agency in partnership.agencies}:
        raise ConfigInvalid("is not in the partnership file: add it first", field="agency")
    read_request(verified.csr_pem, verified.agency)
    approval = approve_enrolment(officer, enrolment_id, request_digest(request), verified.agency, now=now)
    write_durably(folder / REQUESTS / f"{enrolment_id}.json", canonical_bytes(dict(request)))
    write_durably(folder / APPROVALS / f"{enrolment_id}.json", canonical_bytes(approval))
    return verified


def sign_next_version(
    folder: Path,
    passphrases: Mapping[str, str],
    *,
    now: datetime,
    lifetime: timedelta = DIRECTORY_LIFETIME,
    changed: AuthorityState | None = None,
) -> SignedVersion:
    """Sign the next directory version with the approved enrolments in it, and a welcome for each of them.

    ``passphrases``: two officers' (by id). ``changed``: the state to sign instead of the stored one (a revocation, a new policy pack).

    Raises:
        ConfigInvalid: not two officers of this authority, or something is not in the partnership file.
        WrongPassphrase: a passphrase is wrong.
        SignatureInvalid, IntegrityBroken: an approval or a request was altered.
    """
    state = changed or load_state(folder)
    sealed = json.loads((folder / KEY_FILE).read_text(encoding="utf-8"))["sealed"]
    bundle = open_with_pair(sealed, passphrases)
    authority = SigningKeys.from_jwks(*bundle["signing"])
    approved = _read_approved(folder, state)
    for _, request in approved.values():
        state = enrol_agency(state, request, now=now)
    officers = list_officers(folder / OFFICERS)
    directory = build_directory(
        load_partnership(folder / PARTNERSHIP_FILE), state, officers, now=now, lifetime=lifetime
    )
    body = sign_directory(directory, authority)
    verify_directory(body, read_trusted_keys(folder / TRUST_FILE))
    ca = load_ca(Path(state.ca_certificate), Path(state.ca_key))
    pepper = decode_base64url(bundle["peppers"][state.pepper_id])
    welcomes = {
        enrolment_id: sign_welcome(
            _welcome(enrolment_id, jws, request, directory, ca=ca, pepper=pepper, pepper_id=state.pepper_id, now=now),
            authority,
        )
        for enrolment_id, (jws, request) in approved.items()
    }
    _write_version(folder, state, directory, body, welcomes)
    return SignedVersion(directory, body, welcomes)


def read_trusted_keys(trust_file: Path) -> tuple[VerifyingKeys, ...]:
    """Return the authority keys that a trust file pins.

    Raises:
        ConfigInvalid: it cannot be read.
    """
    return read_trust(trust_file).authority_keys()


def read_trust(trust_file: Path) -> TrustFile:
    """Return a trust file.

    Raises:
        ConfigInvalid: it cannot be read.
    """
    try:
        return parse_trust_file(trust_file.read_bytes())
    except OSError:
        raise ConfigInvalid("the trust file cannot be read", field="trust_file") from None


def read_signed(folder: Path) -> SignedVersion:
    """Return the newest signed version and the welcomes, to publish them (again).

    Raises:
        NotFound: nothing is signed yet.
        IntegrityBroken: the file is not what the state says was signed.
    """
    state = load_state(folder)
    if not state.directory_version:
        raise NotFound("no directory is signed yet", field="directory")
    body = _version_path(folder, state.directory_version).read_bytes()
    if sha256(body).hexdigest() != state.directory_sha256:
        raise IntegrityBroken("the signed directory's file was altered", field="directory")
    directory = verify_directory(body, read_trusted_keys(folder / TRUST_FILE))
    welcomes = {name: json.loads((folder / WELCOMES / f"{name}.json").read_bytes()) for name in state.welcomed}
    return SignedVersion(directory, body, welcomes)


def _read_approved(folder: Path, state: AuthorityState) -> dict[str, tuple[dict[str, Any], EnrolmentRequest]]:
    """Return requests with an officer's valid approval that are not welcomed yet, by enrolment id."""
    officers = list_officers(folder / OFFICERS)
    found: dict[str, tuple[dict[str, Any], EnrolmentRequest]] = {}
    for path in sorted((folder / APPROVALS).glob("*.json")):
        enrolment_id = path.stem
        if enrolment_id in state.welcomed:
            continue
        jws = json.loads((folder / REQUESTS / path.name).read_bytes())
        request = verify_enrolment(jws)
        approval = verify_approval(json.loads(path.read_bytes()), officers)
        if approval is None or (approval.enrolment_id, approval.agency, approval.request_sha256) != (
            enrolment_id,
            request.agency,
            request_digest(jws),
        ):
            raise IntegrityBroken(
                "no officer of this authority approved this request", field=f"approvals.{enrolment_id}"
            )
        found[enrolment_id] = (jws, request)
    return found


def _welcome(
    enrolment_id: str,
    jws: Mapping[str, Any],
    request: EnrolmentRequest,
    directory: Directory,
    *,
    ca: CertificateAuthority,
    pepper: bytes,
    pepper_id: str,
    now: datetime,
) -> Welcome:
    key: EncryptionKey = read_key_announcement(
        canonical_bytes(request.encryption_key), request.agency, pair_verifying_keys(request.signing)
    )
    plaintext = canonical_bytes({"agency": request.agency, "pepper": encode_base64url(pepper), "pepper_id": pepper_id})
    return Welcome(
        agency=request.agency,
        enrolment_id=enrolment_id,
        request_sha256=request_digest(jws),
        certificate_pem=issue_client_certificate(request.csr_pem, request.agency, ca, now=now),
        ca_pem=ca.pem,
        pepper_id=pepper_id,
        sealed_pepper=encrypt_hpke(plaintext, key.jwk, key.kid, {"typ": "safelane-pepper"}, rng=token_bytes),
        directory_version=directory.version,
        at=now,
    )


def _write_version(
    folder: Path, state: AuthorityState, directory: Directory, body: bytes, welcomes: Mapping[str, dict[str, Any]]
) -> None:
    write_durably(_version_path(folder, directory.version), body)
    for enrolment_id, welcome in welcomes.items():
        write_durably(folder / WELCOMES / f"{enrolment_id}.json", canonical_bytes(welcome))
    save_state(
        folder,
        state,
        directory_version=directory.version,
        directory_sha256=sha256(body).hexdigest(),
        welcomed=(*state.welcomed, *sorted(welcomes)),
    )


def _version_path(folder: Path, version: int) -> Path:
    return folder / DIRECTORIES / f"{version:06d}.json"
