"""The directory as this gateway knows it: fetched from the hub, believed only with the authority's signature.

Refused: a directory that is unsigned, signed by anyone but the pinned authority (or its pinned successor), expired, older than the one at hand, or
another one under the same version. Encryption keys count only when the identity keys that the directory names signed them. What was verified is
kept on disk, so that a restart cannot be used to go back.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from adapters.gateway.durable_files import write_durably
from adapters.gateway.identity.hub_client import HubClient
from schemas.canonical import canonical_bytes, parse_object
from schemas.directory import Agency, Directory
from schemas.errors import DependencyUnavailable, IntegrityBroken, MalformedMessage, SafelaneError, Undeliverable
from schemas.keys import VerifyingKeys, pair_verifying_keys
from schemas.objects import digest_object, peek_object
from schemas.signed_directory import EncryptionKey, is_active, read_key_announcement, verify_directory
from schemas.trust import TrustFile, digest_pair

_log = structlog.get_logger(__name__)

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_KEYS = 10_000


class DirectoryExpired(DependencyUnavailable):
    """There is no directory in force: nothing is sealed to anyone until a new one comes."""

    code = "directory-expired"
    public_message = (
        "There is no valid directory. Sending waits until the partnership's authority has signed a new one."
    )


@dataclass(frozen=True, slots=True)
class VerifiedDirectory:
    """A directory whose signature was verified, with the keys of each agency that count. ``digest`` is of the signed payload."""

    directory: Directory
    digest: str
    signing_keys: dict[str, tuple[VerifyingKeys, ...]] = field(repr=False)
    encryption_keys: dict[str, tuple[EncryptionKey, ...]] = field(repr=False)

    @property
    def version(self) -> int:
        """The directory's version."""
        return self.directory.version

    def find_encryption_key(self, agency: str, now: datetime) -> EncryptionKey:
        """Return the newest encryption key of an active agency that is good at ``now``.

        Raises:
            Undeliverable: the agency is unknown, revoked, or has announced no such key.
        """
        found = self.directory.find_agency(agency)
        if found is None or not is_active(found):
            raise Undeliverable("the agency is not active in the directory", field="recipient")
        good = [k for k in self.encryption_keys.get(agency, ()) if k.not_before <= now < k.not_after]
        if not good:
            raise Undeliverable("the agency has no valid encryption key", field="recipient")
        return max(good, key=lambda k: k.not_before)


class DirectoryKeeper:
    """Keeps one agency's verified directory. ``clock`` is the real one."""

    def __init__(
        self,
        path: Path,
        trust: TrustFile,
        hub: HubClient | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._path = path
        (self._authority,) = trust.authority_keys()
        self._successor = trust.successor
        self._hub = hub
        self._clock = clock
        self._etag: str | None = None
        self._known: VerifiedDirectory | None = None
        self._refreshing = asyncio.Lock()
        if path.exists():
            self._load()

    def current(self, now: datetime | None = None) -> VerifiedDirectory:
        """Return the directory in force.

        Raises:
            DirectoryExpired: there is none, or its time is over.
        """
        known = self._known
        if known is None or not _in_force(known.directory, now or self._clock()):
            raise DirectoryExpired
        return known

    async def refresh(self) -> VerifiedDirectory:
        """Fetch, verify and keep the directory; return the one in force.

        Raises:
            IntegrityBroken: the hub served one that must never be: unsigned, older, or another under the same version.
            DependencyUnavailable: the hub does not answer, or there is none in force.
        """
        if self._hub is None:
            return self.current()
        async with self._refreshing:
            answer = await self._hub.directory(self._etag)
            if answer.status != 304:
                self.accept(answer.body)
                self._etag = answer.etag
        return self.current()

    def accept(self, body: Any) -> VerifiedDirectory:
        """Verify what the hub served and keep it.

        Raises:
            IntegrityBroken: it is unsigned, expired, older, or another one under the version at hand.
        """
        verified = self._verify(body)
        now = self._clock()
        if not _in_force(verified.directory, now):
            raise IntegrityBroken("the hub serves a directory that is not in force", field="directory.expires_at")
        known = self._known
        if known is not None and verified.version < known.version:
            raise IntegrityBroken("the hub serves an older directory", field="directory.version")
        if known is not None and verified.version == known.version and verified.digest != known.digest:
            raise IntegrityBroken("two directories under one version", field="directory.version")
        kept = {name: body[name] for name in ("directory", "keys", "authority") if name in body}
        write_durably(self._path, canonical_bytes(kept))
        self._known = verified
        if known is None or known.version != verified.version:
            _log.info("directory_accepted", version=verified.version)
        return verified

    def _load(self) -> None:
        try:
            body = parse_object(self._path.read_bytes(), max_bytes=MAX_FILE_BYTES, field="directory")
        except OSError:
            raise DependencyUnavailable("the kept directory cannot be read", field="data_dir") from None
        self._known = self._verify(body)

    def _verify(self, body: Any) -> VerifiedDirectory:
        try:
            signed = canonical_bytes(body["directory"])
            announcements = list(body.get("keys", []))
            directory = verify_directory(signed, self._signers(body))
        except (SafelaneError, KeyError, TypeError, AttributeError):
            raise IntegrityBroken("is not signed by the partnership's authority", field="directory") from None
        if len(announcements) > MAX_KEYS:
            raise IntegrityBroken(f"more than {MAX_KEYS} keys", field="keys")
        signing = {a.id: _signing_keys(a) for a in directory.agencies}
        return VerifiedDirectory(
            directory, digest_object(signed), signing, _read_announcements(directory, signing, announcements)
        )

    def _signers(self, body: Mapping[str, Any]) -> list[VerifyingKeys]:
        """Return the pairs that may have signed: the pinned authority, and its successor if the pair served has the pinned digest."""
        served = body.get("authority")
        if self._successor and isinstance(served, list) and len(served) == 2 and digest_pair(served) == self._successor:
            return [self._authority, VerifyingKeys.from_jwks(*served)]
        return [self._authority]


def _in_force(directory: Directory, now: datetime) -> bool:
    # A little slack at the beginning only: partners' clocks differ, but an expiry is final.
    return directory.issued_at - timedelta(minutes=5) <= now < directory.expires_at


def _signing_keys(agency: Agency) -> tuple[VerifyingKeys, ...]:
    if not is_active(agency):
        return ()
    return pair_verifying_keys(agency.keys.signing, revoked=agency.keys.revoked)


def _read_announcements(
    directory: Directory, signing: dict[str, tuple[VerifyingKeys, ...]], announcements: Sequence[Any]
) -> dict[str, tuple[EncryptionKey, ...]]:
    """Keep the announcements that the agency's own identity keys signed. A key that the hub slips in has no such signature and is left out."""
    found: dict[str, list[EncryptionKey]] = {}
    for announcement in announcements:
        try:
            signed = canonical_bytes(announcement)
            agency = str(peek_object(signed).get("agency"))
            entry = directory.find_agency(agency)
            if entry is None:
                raise MalformedMessage("names no agency of the directory", field="keys")
            key = read_key_announcement(signed, agency, signing[agency], entry.keys.revoked)
        except SafelaneError as error:
            _log.error("key_announcement_refused", code=error.code, field=error.field)
            continue
        found.setdefault(agency, []).append(key)
    return {agency: tuple(keys) for agency, keys in found.items()}
