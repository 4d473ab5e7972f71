"""One version of the directory with every key parsed once: what the hub's workers and its API look things up in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from schemas.clear_ids import KnownIds
from schemas.directory import Agency, Directory, Person
from schemas.errors import DependencyUnavailable, IntegrityBroken, MalformedMessage, SafelaneError, SignatureInvalid
from schemas.keys import KeyUse, VerifyingKeys, compute_thumbprint, pair_verifying_keys
from schemas.signed_directory import EncryptionKey, is_active, read_key_announcement, verify_directory

Jwk = dict[str, Any]


class DirectoryExpired(DependencyUnavailable):
    """The authority has not signed a newer directory in time: nobody's keys can be relied on."""

    code = "directory-expired"
    public_message = "The directory has expired. The partnership's officers must sign a new version."


@dataclass(frozen=True, slots=True)
class DirectorySnapshot:
    """A verified directory version, its keys parsed, revocations applied. Immutable; compare ``change`` to see whether it is current."""

    directory: Directory
    signed: bytes
    """The authority's signed bytes, passed on unchanged."""
    change: int
    """Counts directory versions and key announcements together."""
    announcements: tuple[bytes, ...]
    """The agencies' signed key announcements, passed on unchanged."""
    known_ids: KnownIds = field(repr=False)
    signing_keys: Mapping[str, tuple[VerifyingKeys, ...]]
    api_keys: Mapping[str, tuple[Jwk, ...]]
    """By agency id, and by ``person:<id>`` for people."""
    encryption_keys: Mapping[str, tuple[EncryptionKey, ...]]
    revoked: frozenset[str] = field(default_factory=frozenset)
    pack: bytes | None = field(default=None, repr=False)
    """The policy pack that the directory names, as it is stored; none where the directory names none, or it is not here."""
    verified: Mapping[tuple[str, bytes], EncryptionKey] = field(default_factory=dict, repr=False)
    """Announcements that were verified under this directory version, so that a new key costs one verification and not one a key."""

    @property
    def version(self) -> int:
        """The directory's version."""
        return self.directory.version

    def require_fresh(self, now: datetime) -> None:
        """Refuse to work with a directory that is over (real clock).

        Raises:
            DirectoryExpired: it is.
        """
        if now >= self.directory.expires_at:
            raise DirectoryExpired

    def find_active_agency(self, agency_id: str) -> Agency | None:
        """Return the agency if it is enrolled and not revoked, or none."""
        agency = self.directory.find_agency(agency_id)
        return agency if agency is not None and is_active(agency) else None

    def current_encryption_key(self, agency_id: str, now: datetime) -> EncryptionKey | None:
        """Return the agency's newest usable encryption key, or none."""
        usable = [k for k in self.encryption_keys.get(agency_id, ()) if k.not_before <= now < k.not_after]
        return max(usable, key=lambda k: k.not_before, default=None)


def build_snapshot(
    body: bytes,
    announcements: Sequence[tuple[str, bytes]],
    change: int,
    authority_keys: Sequence[VerifyingKeys],
    *,
    before: DirectorySnapshot | None = None,
) -> DirectorySnapshot:
    """Build a snapshot from stored bytes: the signed directory, and ``(agency, signed announcement)`` pairs.

    Announcements that no longer verify (their identity key was revoked or replaced) are left out. What ``before`` verified under the very
    same directory is not verified again.

    Raises:
        IntegrityBroken: the stored directory is not what the authority signed.
    """
    try:
        directory = verify_directory(body, authority_keys)
    except SafelaneError:
        raise IntegrityBroken("the stored directory is not one that the authority signed", field="directory") from None
    signing: dict[str, tuple[VerifyingKeys, ...]] = {}
    api: dict[str, tuple[Jwk, ...]] = {}
    for agency in directory.agencies:
        if is_active(agency):
            revoked = frozenset(agency.keys.revoked)
            signing[agency.id] = pair_verifying_keys(agency.keys.signing, revoked=revoked)
            api[agency.id] = tuple(k for k in agency.keys.api if compute_thumbprint(k) not in revoked)
    for person in directory.people:
        api[f"person:{person.id}"] = _api_keys(person, directory.find_agency(person.agency))
    known = before.verified if before is not None and before.signed == body else {}
    verified = _verify_announcements(directory, signing, announcements, known)
    encryption: dict[str, tuple[EncryptionKey, ...]] = {}
    for (agency_id, _), key in verified.items():
        encryption[agency_id] = (*encryption.get(agency_id, ()), key)
    return DirectorySnapshot(
        directory=directory,
        signed=body,
        change=change,
        announcements=tuple(announcement for _, announcement in verified),
        known_ids=before.known_ids if before is not None and before.signed == body else KnownIds.of(directory),
        signing_keys=MappingProxyType(signing),
        api_keys=MappingProxyType(api),
        encryption_keys=MappingProxyType(encryption),
        verified=MappingProxyType(verified),
        revoked=frozenset(t for agency in directory.agencies for t in agency.keys.revoked),
    )


def _api_keys(person: Person, agency: Agency | None) -> tuple[Jwk, ...]:
    # Officers' own agencies may not be enrolled yet; a revoked one takes its people along.
    if agency is None or agency.revoked_at is not None:
        return ()
    keys = (jwk for jwk in person.keys if jwk.get("safelane_use") == KeyUse.API.value)
    return tuple(jwk for jwk in keys if compute_thumbprint(jwk) not in agency.keys.revoked)


def _verify_announcements(
    directory: Directory,
    signing: Mapping[str, tuple[VerifyingKeys, ...]],
    announcements: Sequence[tuple[str, bytes]],
    known: Mapping[tuple[str, bytes], EncryptionKey],
) -> dict[tuple[str, bytes], EncryptionKey]:
    found: dict[tuple[str, bytes], EncryptionKey] = {}
    for agency_id, body in announcements:
        agency = directory.find_agency(agency_id)
        if agency is None or agency_id not in signing:
            continue
        key = known.get((agency_id, body))
        if key is None:
            try:
                key = read_key_announcement(body, agency_id, signing[agency_id], frozenset(agency.keys.revoked))
            except (SignatureInvalid, MalformedMessage):
                continue
        found[agency_id, body] = key
    return found
