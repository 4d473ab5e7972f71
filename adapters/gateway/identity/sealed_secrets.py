"""One encrypted file of secrets, and the key that opens it. A change is on disk before it is used, and every process of the agency sees it.

The file is AES-256-GCM under a key-encryption key, which comes from a file that only its owner can read or, through scrypt (RFC 7914), from a
passphrase. ``safelane gateway enrol`` may run beside ``serve``: changes follow one another under a lock on the folder, each begins with what is on disk,
and whoever has the file open reads it again once another process has written it.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from adapters.gateway.durable_files import read_private_file, write_durably
from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, parse_object
from schemas.errors import ConfigInvalid, DependencyUnavailable, MalformedMessage

FORMAT = 1
KEY_BYTES = 32
SCRYPT_COST = {"n": 2**17, "r": 8, "p": 1}
MAX_SCRYPT_N = 2**20
MAX_FILE_BYTES = 1024 * 1024
LOCK_SECONDS = 5.0
"""A change takes milliseconds, with a passphrase half a second; who holds the lock for longer is stuck, and may not take a gateway with it."""
LOCK_LOOK_SECONDS = 0.02


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
    if key_file is not None and passphrase_file is None:
        text = read_private_file(key_file, field="key_encryption_key_file").strip().decode("ascii", "replace")
        try:
            key = decode_base64url(text)
        except MalformedMessage:
            key = b""
        if len(key) != KEY_BYTES:
            raise ConfigInvalid("must hold 32 bytes in base64url", field="key_encryption_key_file")
        return KeyEncryptionKey(key=key)
    if passphrase_file is not None and key_file is None:
        passphrase = read_private_file(passphrase_file, field="passphrase_file").strip()
        if len(passphrase) < 12:
            raise ConfigInvalid("must hold at least 12 characters", field="passphrase_file")
        return KeyEncryptionKey(passphrase=passphrase)
    raise ConfigInvalid("give exactly one of the two", field="key_encryption_key_file or passphrase_file")


def write_new_key_file(path: Path) -> KeyEncryptionKey:
    """Make a key-encryption key file (mode 0600) and return its key."""
    key = os.urandom(KEY_BYTES)
    write_durably(path, encode_base64url(key).encode() + b"\n")
    return KeyEncryptionKey(key=key)


class SealedSecrets:
    """The open file of one agency."""

    def __init__(self, path: Path, agency: str, kek: KeyEncryptionKey) -> None:
        self._path = path
        self._agency = agency
        self._kek = kek
        self._lock = threading.RLock()
        self._secrets: dict[str, Any] = {}
        self._read: tuple[int, int] | None = None

    @classmethod
    def create(cls, path: Path, agency: str, kek: KeyEncryptionKey, secrets: dict[str, Any]) -> Self:
        """Write ``secrets`` to a new file.

        Raises:
            ConfigInvalid: there is a file already; it is never overwritten.
            DependencyUnavailable: it cannot be written.
        """
        if path.exists():
            raise ConfigInvalid("there is one already: move it away first", field="keystore")
        sealed = cls(path, agency, kek)
        sealed._write(secrets)
        return sealed

    @classmethod
    def open(cls, path: Path, agency: str, kek: KeyEncryptionKey) -> Self:
        """Read and decrypt the file.

        Raises:
            ConfigInvalid: it is missing, damaged, another agency's, or the secret is wrong.
        """
        sealed = cls(path, agency, kek)
        sealed._load()
        return sealed

    def current(self) -> dict[str, Any]:
        """Return what the file holds now; what was read last where the file is not there.

        Raises:
            ConfigInvalid: another process has written what this one cannot open.
        """
        with self._lock:
            if self._identify() not in {None, self._read}:
                self._load()
            return self._secrets

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """Yield a copy of what the file holds; what it is at the end of the block is written, if it is another.

        Raises:
            ConfigInvalid: as ``current``.
            DependencyUnavailable: it cannot be written; nothing has changed then.
        """
        with self._lock, _hold(self._path.parent):
            before = self.current()
            secrets = dict(before)
            yield secrets
            if secrets != before:
                self._write(secrets)

    def _identify(self) -> tuple[int, int] | None:
        """Tell one writing of the file from another: each is a new file, moved into place."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _load(self) -> None:
        identity = self._identify()  # before the bytes: a file that is replaced in between is read once more
        data = read_private_file(self._path, field="keystore", max_bytes=MAX_FILE_BYTES)
        try:
            outer = parse_object(data, max_bytes=MAX_FILE_BYTES, field="keystore")
            if outer["format"] != FORMAT or outer["agency"] != self._agency:
                raise ConfigInvalid("is another agency's, or of another version", field="keystore")
            cipher = AESGCM(self._kek.derive(outer["kdf"]))
            nonce, sealed = decode_base64url(outer["nonce"]), decode_base64url(outer["ciphertext"])
            plain = cipher.decrypt(nonce, sealed, _associated_data(self._agency, outer["kdf"]))
            self._secrets = parse_object(plain, max_bytes=MAX_FILE_BYTES, field="keystore")
        except (InvalidTag, KeyError, TypeError, ValueError, MalformedMessage):
            raise ConfigInvalid("does not open: wrong key or passphrase, or damaged", field="keystore") from None
        self._read = identity

    def _write(self, secrets: dict[str, Any]) -> None:
        """Put ``secrets`` on disk, and only then use them."""
        parameters = self._kek.new_parameters()
        nonce = os.urandom(12)
        cipher = AESGCM(self._kek.derive(parameters))
        sealed = cipher.encrypt(nonce, canonical_bytes(secrets), _associated_data(self._agency, parameters))
        outer = {
            "format": FORMAT,
            "agency": self._agency,
            "kdf": parameters,
            "nonce": encode_base64url(nonce),
            "ciphertext": encode_base64url(sealed),
        }
        write_durably(self._path, canonical_bytes(outer) + b"\n")
        self._secrets, self._read = secrets, self._identify()


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Let other processes of the agency wait that want to change a file of this folder; give up on one that holds it for too long.

    Raises:
        DependencyUnavailable: the folder cannot be read, or another process does not let go.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise DependencyUnavailable("the folder cannot be read", field="data_dir") from None
    try:
        _take(descriptor)
        yield
    finally:
        os.close(descriptor)  # and with it the lock


def _take(descriptor: int) -> None:
    last = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= last:
                held = "another process of this agency holds the keystore: end it, and try again"
                raise DependencyUnavailable(held, field="data_dir") from None
            time.sleep(LOCK_LOOK_SECONDS)
        else:
            return


def _associated_data(agency: str, parameters: Mapping[str, Any]) -> bytes:
    return canonical_bytes({"format": FORMAT, "agency": agency, "kdf": dict(parameters)})
