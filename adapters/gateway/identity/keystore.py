"""An agency's private keys: identity pair, API key, witness pair, encryption keys, pepper, store key. One encrypted file (``sealed_secrets``).

Encryption keys rotate weekly and are announced by a control object that the identity keys sign, so that rotation needs no officer.
A private encryption key dies when nothing sealed to it can still be under way: the end of its announced life, the queue's limit and a grace.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from adapters.gateway.identity.sealed_secrets import KEY_BYTES, KeyEncryptionKey, SealedSecrets
from schemas.canonical import decode_base64url, encode_base64url
from schemas.errors import ConfigInvalid
from schemas.keys import (
    Jwk,
    KeyUse,
    SigningKeys,
    generate_ed25519_jwk,
    generate_encryption_jwk,
    generate_ml_dsa_44_jwk,
    public_part,
)
from schemas.signed_directory import announce_encryption_key

CLOCK_ALLOWANCE = timedelta(minutes=5)
"""A new key is valid from a little before now, for partners whose clocks are behind."""


@dataclass(frozen=True, slots=True)
class KeyLifetimes:
    """How long encryption keys live: a new one each ``rotation``, announced for ``announced``, the private part kept ``kept_after`` longer."""

    rotation: timedelta = timedelta(days=7)
    announced: timedelta = timedelta(days=14)
    kept_after: timedelta = timedelta(days=16)


class Keystore:
    """The open keystore of one agency. Each change is on disk before it is used; one that another process made is seen at the next look."""

    def __init__(self, agency: str, sealed: SealedSecrets) -> None:
        """Take the open file; its identity pair is this keystore's for as long as it is open."""
        self.agency = agency
        self._sealed = sealed
        self._identity: list[Jwk] = sealed.current()["signing"]
        self._signing = SigningKeys.from_jwks(*self._identity)

    @classmethod
    def create(cls, path: Path, agency: str, kek: KeyEncryptionKey) -> Self:
        """Make all keys, on this machine, and write them encrypted.

        Raises:
            ConfigInvalid: there is a keystore already; it is never overwritten.
        """
        _, signing = SigningKeys.generate()
        secrets = {
            "signing": list(signing),
            "api": generate_ed25519_jwk(KeyUse.API),
            "witness": generate_ed25519_jwk(KeyUse.WITNESS),
            "witness_ml_dsa_44": generate_ml_dsa_44_jwk(KeyUse.WITNESS),
            "store_key": encode_base64url(os.urandom(KEY_BYTES)),
            "encryption": [],
            "pepper": None,
        }
        return cls(agency, SealedSecrets.create(path, agency, kek, secrets))

    @classmethod
    def open(cls, path: Path, agency: str, kek: KeyEncryptionKey) -> Self:
        """Read and decrypt the keystore.

        Raises:
            ConfigInvalid: it is missing, damaged, another agency's, or the secret is wrong.
        """
        sealed = SealedSecrets.open(path, agency, kek)
        try:
            return cls(agency, sealed)
        except (KeyError, TypeError):
            raise ConfigInvalid("is not a keystore", field="keystore") from None

    def signing_keys(self) -> SigningKeys:
        """Return the identity pair that signs."""
        return self._signing

    def public_signing_jwks(self) -> tuple[Jwk, Jwk]:
        """Return the identity pair's public JWKs, Ed25519 first."""
        first, second = self._identity
        return public_part(first), public_part(second)

    def api_key(self) -> Jwk:
        """Return the private API key."""
        return dict(self._current()["api"])

    def witness_keys(self) -> tuple[Jwk, ...]:
        """Return the private witness keys: Ed25519, and ML-DSA-44 unless the keystore is from before it and was not enrolled again."""
        secrets = self._current()
        return tuple(dict(secrets[name]) for name in ("witness", "witness_ml_dsa_44") if name in secrets)

    def complete_witness_keys(self) -> None:
        """Make the ML-DSA-44 witness key where there is none yet; it counts once the directory lists it."""
        with self._changing() as secrets:
            if "witness_ml_dsa_44" not in secrets:
                secrets["witness_ml_dsa_44"] = generate_ml_dsa_44_jwk(KeyUse.WITNESS)

    def store_key(self) -> bytes:
        """Return the 32-byte key of the agency's store."""
        return decode_base64url(self._current()["store_key"])

    def pepper(self) -> tuple[str, bytes]:
        """Return the partnership's pepper and its id.

        Raises:
            ConfigInvalid: enrolment has not handed it out yet.
        """
        found = self._current()["pepper"]
        if found is None:
            raise ConfigInvalid("the agency is not enrolled yet", field="pepper")
        return found["pepper_id"], decode_base64url(found["pepper"])

    def keep_pepper(self, pepper_id: str, pepper: bytes) -> None:
        """Keep the pepper that the authority's welcome brought."""
        with self._changing() as secrets:
            secrets["pepper"] = {"pepper_id": pepper_id, "pepper": encode_base64url(pepper)}

    def rotate_encryption_key(self, now: datetime, lifetimes: KeyLifetimes) -> bool:
        """Make the next encryption key if the newest is older than a rotation; destroy those that are dead. Return whether one was made."""
        with self._changing() as secrets:
            keys = secrets["encryption"]
            alive = [k for k in keys if now < datetime.fromisoformat(k["dies_at"])]
            due = not alive or now >= datetime.fromisoformat(alive[0]["made_at"]) + lifetimes.rotation
            if due:
                alive.insert(0, self._make_encryption_key(now, lifetimes))
            secrets["encryption"] = alive
        return due

    def announcements(self) -> list[tuple[str, bytes]]:
        """Return ``(kid, signed control object)`` of the encryption keys that the hub has not confirmed yet."""
        return [
            (k["jwk"]["kid"], decode_base64url(k["announcement"]))
            for k in self._current()["encryption"]
            if not k["announced"]
        ]

    def newest_announcement(self) -> bytes:
        """Return the signed control object of the newest encryption key (enrolment brings it along)."""
        return decode_base64url(self._current()["encryption"][0]["announcement"])

    def newest_encryption_jwk(self) -> Jwk:
        """Return the newest encryption key's public JWK."""
        return public_part(self._current()["encryption"][0]["jwk"])

    def mark_announced(self, kid: str) -> None:
        """Note that the hub has this key's announcement."""
        with self._changing() as secrets:
            keys = [k | {"announced": k["announced"] or k["jwk"]["kid"] == kid} for k in secrets["encryption"]]
            secrets["encryption"] = keys

    def announce_again(self) -> None:
        """Let every key be announced anew: the hub may have lost what it was told. One that it knows changes nothing there."""
        with self._changing() as secrets:
            secrets["encryption"] = [k | {"announced": False} for k in secrets["encryption"]]

    def encryption_private_jwks(self, now: datetime) -> dict[str, Jwk]:
        """Return the private encryption keys that still live, by key id, newest first."""
        return {
            k["jwk"]["kid"]: dict(k["jwk"])
            for k in self._current()["encryption"]
            if now < datetime.fromisoformat(k["dies_at"])
        }

    def _make_encryption_key(self, now: datetime, lifetimes: KeyLifetimes) -> dict[str, Any]:
        jwk = generate_encryption_jwk()
        not_before, not_after = now - CLOCK_ALLOWANCE, now + lifetimes.announced
        announcement = announce_encryption_key(
            self.agency,
            jwk,
            not_before=_whole_seconds(not_before),
            not_after=_whole_seconds(not_after),
            signer=self._signing,
        )
        return {
            "jwk": jwk,
            "made_at": now.isoformat(),
            "dies_at": (not_after + lifetimes.kept_after).isoformat(),
            "announcement": encode_base64url(announcement),
            "announced": False,
        }

    def _current(self) -> dict[str, Any]:
        return self._require_own(self._sealed.current())

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        with self._sealed.changing() as secrets:
            yield self._require_own(secrets)

    def _require_own(self, secrets: dict[str, Any]) -> dict[str, Any]:
        if secrets["signing"] != self._identity:
            raise ConfigInvalid("was replaced by another identity's while it was open: restart", field="keystore")
        return secrets


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
