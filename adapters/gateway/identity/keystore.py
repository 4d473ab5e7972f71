"""An agency's private keys, encrypted at rest in one file: identity pair, API key, witness pair, encryption keys, pepper, store key.

The file is AES-256-GCM under a key-encryption key, which comes from a file that only its owner can read or, through scrypt (RFC 7914), from a
passphrase. Encryption keys rotate weekly and are announced by a control object that the identity keys sign, so that rotation needs no officer.
A private encryption key dies when nothing sealed to it can still be under way: the end of its announced life, the queue's limit and a grace.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from adapters.gateway.durable_files import read_private_file, write_durably
from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, parse_object
from schemas.errors import ConfigInvalid, MalformedMessage
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

FORMAT = 1
KEY_BYTES = 32
SCRYPT_COST = {"n": 2**17, "r": 8, "p": 1}
MAX_SCRYPT_N = 2**20
MAX_FILE_BYTES = 1024 * 1024
CLOCK_ALLOWANCE = timedelta(minutes=5)
"""A new key is valid from a little before now, for partners whose clocks are behind."""


@dataclass(frozen=True, slots=True)
class KeyLifetimes:
    """How long encryption keys live: a new one each ``rotation``, announced for ``announced``, the private part kept ``kept_after`` longer."""

    rotation: timedelta = timedelta(days=7)
    announced: timedelta = timedelta(days=14)
    kept_after: timedelta = timedelta(days=16)


@dataclass(frozen=True, slots=True)
class KeyEncryptionKey:
    """Where the keystore's own key comes from: 32 random bytes, or a passphrase. Exactly one of the two."""

    key: bytes | None = field(default=None, repr=False)
    passphrase: bytes | None = field(default=None, repr=False)

    def new_parameters(self) -> dict[str, Any]:
        """Return the derivation parameters for a file written now: none for a key, a fresh salt for a passphrase."""
        return {} if self.passphrase is None else {"salt": encode_base64url(os.urandom(16)), **SCRYPT_COST}

    def derive(self, parameters: Mapping[str, Any]) -> bytes:
        """Return the 32-byte key for a file with these parameters.

        Raises:
            ConfigInvalid: the file needs the other kind of secret, or its parameters are out of bounds.
        """
        if (self.key is None) == (self.passphrase is None) or bool(parameters) != (self.passphrase is not None):
            raise ConfigInvalid("needs a key file or a passphrase, as when it was made", field="keystore")
        if self.key is not None:
            return self.key
        try:
            salt = decode_base64url(parameters["salt"])
            n, r, p = (int(parameters[name]) for name in ("n", "r", "p"))
            if n > MAX_SCRYPT_N or r > 32 or p > 8 or len(salt) < 16:
                raise ConfigInvalid("scrypt parameters are out of bounds", field="keystore")
            return Scrypt(salt=salt, length=KEY_BYTES, n=n, r=r, p=p).derive(self.passphrase or b"")
        except (KeyError, TypeError, ValueError, MalformedMessage):
            raise ConfigInvalid("scrypt parameters are not of their form", field="keystore") from None


def read_key_encryption_key(key_file: Path | None, passphrase_file: Path | None) -> KeyEncryptionKey:
    """Read the key-encryption key: ``key_file`` holds 32 bytes in base64url, ``passphrase_file`` one line.

    Raises:
        ConfigInvalid: neither or both are given, others may read the file, or it is not of its form.
    """
    if (key_file is None) == (passphrase_file is None):
        raise ConfigInvalid("give exactly one of the two", field="key_encryption_key_file or passphrase_file")
    if key_file is not None:
        text = read_private_file(key_file, field="key_encryption_key_file").strip().decode("ascii", "replace")
        try:
            key = decode_base64url(text)
        except MalformedMessage:
            key = b""
        if len(key) != KEY_BYTES:
            raise ConfigInvalid("must hold 32 bytes in base64url", field="key_encryption_key_file")
        return KeyEncryptionKey(key=key)
    assert passphrase_file is not None  # noqa: S101 - the check above leaves no other case
    passphrase = read_private_file(passphrase_file, field="passphrase_file").strip()
    if len(passphrase) < 12:
        raise ConfigInvalid("must hold at least 12 characters", field="passphrase_file")
    return KeyEncryptionKey(passphrase=passphrase)


def write_new_key_file(path: Path) -> KeyEncryptionKey:
    """Make a key-encryption key file (mode 0600) and return its key."""
    key = os.urandom(KEY_BYTES)
    write_durably(path, encode_base64url(key).encode() + b"\n")
    return KeyEncryptionKey(key=key)


class Keystore:
    """The open keystore of one agency. Each change is on disk before it is used."""

    def __init__(self, path: Path, agency: str, kek: KeyEncryptionKey, secrets: dict[str, Any]) -> None:
        self.agency = agency
        self._path = path
        self._kek = kek
        self._secrets = secrets
        self._lock = threading.RLock()
        self._signing = SigningKeys.from_jwks(*secrets["signing"])

    @classmethod
    def create(cls, path: Path, agency: str, kek: KeyEncryptionKey) -> "Keystore":
        """Make all keys, on this machine, and write them encrypted.

        Raises:
            ConfigInvalid: there is a keystore already; it is never overwritten.
        """
        if path.exists():
            raise ConfigInvalid("there is one already: move it away first", field="keystore")
        _, signing = SigningKeys.generate()
        keystore = cls(
            path,
            agency,
            kek,
            {
                "signing": list(signing),
                "api": generate_ed25519_jwk(KeyUse.API),
                "witness": generate_ed25519_jwk(KeyUse.WITNESS),
                "witness_ml_dsa_44": generate_ml_dsa_44_jwk(KeyUse.WITNESS),
                "store_key": encode_base64url(os.urandom(KEY_BYTES)),
                "encryption": [],
                "pepper": None,
            },
        )
        keystore._write(keystore._secrets)
        return keystore

    @classmethod
    def open(cls, path: Path, agency: str, kek: KeyEncryptionKey) -> "Keystore":
        """Read and decrypt the keystore.

        Raises:
            ConfigInvalid: it is missing, damaged, another agency's, or the secret is wrong.
        """
        data = read_private_file(path, field="keystore", max_bytes=MAX_FILE_BYTES)
        try:
            outer = parse_object(data, max_bytes=MAX_FILE_BYTES, field="keystore")
            if outer["format"] != FORMAT or outer["agency"] != agency:
                raise ConfigInvalid("is another agency's, or of another version", field="keystore")
            cipher = AESGCM(kek.derive(outer["kdf"]))
            nonce, sealed = decode_base64url(outer["nonce"]), decode_base64url(outer["ciphertext"])
            plain = cipher.decrypt(nonce, sealed, _associated_data(agency, outer["kdf"]))
            secrets = parse_object(plain, max_bytes=MAX_FILE_BYTES, field="keystore")
            return cls(path, agency, kek, secrets)
        except (InvalidTag, KeyError, TypeError, ValueError, MalformedMessage):
            raise ConfigInvalid("does not open: wrong key or passphrase, or damaged", field="keystore") from None

    def signing_keys(self) -> SigningKeys:
        """Return the identity pair that signs."""
        return self._signing

    def public_signing_jwks(self) -> tuple[Jwk, Jwk]:
        """Return the identity pair's public JWKs, Ed25519 first."""
        first, second = self._secrets["signing"]
        return public_part(first), public_part(second)

    def api_key(self) -> Jwk:
        """Return the private API key."""
        return dict(self._secrets["api"])

    def witness_keys(self) -> tuple[Jwk, ...]:
        """Return the private witness keys: Ed25519, and ML-DSA-44 unless the keystore is from before it and was not enrolled again."""
        names = [name for name in ("witness", "witness_ml_dsa_44") if name in self._secrets]
        return tuple(dict(self._secrets[name]) for name in names)

    def complete_witness_keys(self) -> None:
        """Make the ML-DSA-44 witness key where there is none yet; it counts once the directory lists it."""
        with self._lock:
            if "witness_ml_dsa_44" not in self._secrets:
                self._write(self._secrets | {"witness_ml_dsa_44": generate_ml_dsa_44_jwk(KeyUse.WITNESS)})

    def store_key(self) -> bytes:
        """Return the 32-byte key of the agency's store."""
        return decode_base64url(self._secrets["store_key"])

    def pepper(self) -> tuple[str, bytes]:
        """Return the partnership's pepper and its id.

        Raises:
            ConfigInvalid: enrolment has not handed it out yet.
        """
        found = self._secrets["pepper"]
        if found is None:
            raise ConfigInvalid("the agency is not enrolled yet", field="pepper")
        return found["pepper_id"], decode_base64url(found["pepper"])

    def keep_pepper(self, pepper_id: str, pepper: bytes) -> None:
        """Keep the pepper that the authority's welcome brought."""
        with self._lock:
            self._write(self._secrets | {"pepper": {"pepper_id": pepper_id, "pepper": encode_base64url(pepper)}})

    def rotate_encryption_key(self, now: datetime, lifetimes: KeyLifetimes) -> bool:
        """Make the next encryption key if the newest is older than a rotation; destroy those that are dead. Return whether one was made."""
        with self._lock:
            keys = self._secrets["encryption"]
            alive = [k for k in keys if now < datetime.fromisoformat(k["dies_at"])]
            due = not alive or now >= datetime.fromisoformat(alive[0]["made_at"]) + lifetimes.rotation
            if due:
                alive.insert(0, self._make_encryption_key(now, lifetimes))
            if due or len(alive) != len(keys):
                self._write(self._secrets | {"encryption": alive})
            return due

    def announcements(self) -> list[tuple[str, bytes]]:
        """Return ``(kid, signed control object)`` of the encryption keys that the hub has not confirmed yet."""
        with self._lock:
            return [
                (k["jwk"]["kid"], decode_base64url(k["announcement"]))
                for k in self._secrets["encryption"]
                if not k["announced"]
            ]

    def newest_announcement(self) -> bytes:
        """Return the signed control object of the newest encryption key (enrolment brings it along)."""
        with self._lock:
            return decode_base64url(self._secrets["encryption"][0]["announcement"])

    def newest_encryption_jwk(self) -> Jwk:
        """Return the newest encryption key's public JWK."""
        with self._lock:
            return public_part(self._secrets["encryption"][0]["jwk"])

    def mark_announced(self, kid: str) -> None:
        """Note that the hub has this key's announcement."""
        with self._lock:
            keys = [k | {"announced": k["announced"] or k["jwk"]["kid"] == kid} for k in self._secrets["encryption"]]
            self._write(self._secrets | {"encryption": keys})

    def announce_again(self) -> None:
        """Let every key be announced anew: the hub may have lost what it was told. One that it knows changes nothing there."""
        with self._lock:
            keys = [k | {"announced": False} for k in self._secrets["encryption"]]
            self._write(self._secrets | {"encryption": keys})

    def encryption_private_jwks(self, now: datetime) -> dict[str, Jwk]:
        """Return the private encryption keys that still live, by key id, newest first."""
        with self._lock:
            return {
                k["jwk"]["kid"]: dict(k["jwk"])
                for k in self._secrets["encryption"]
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

    def _write(self, secrets: dict[str, Any]) -> None:
        """Put ``secrets`` on disk, and only then use them."""
        parameters = self._kek.new_parameters()
        nonce = os.urandom(12)
        cipher = AESGCM(self._kek.derive(parameters))
        sealed = cipher.encrypt(nonce, canonical_bytes(secrets), _associated_data(self.agency, parameters))
        outer = {
            "format": FORMAT,
            "agency": self.agency,
            "kdf": parameters,
            "nonce": encode_base64url(nonce),
            "ciphertext": encode_base64url(sealed),
        }
        write_durably(self._path, canonical_bytes(outer) + b"\n")
        self._secrets = secrets


def _associated_data(agency: str, parameters: Mapping[str, Any]) -> bytes:
    return canonical_bytes({"format": FORMAT, "agency": agency, "kdf": dict(parameters)})


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
