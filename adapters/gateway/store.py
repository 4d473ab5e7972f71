"""One agency's durable store: SQLite in write-ahead mode, every commit on disk, every content column encrypted.

Both halves of the gateway keep their tables here: the outbox (``outbox_store``) and the inbox. Each brings its own append-only list of
migration steps. A row's encrypted columns are bound to their place (``table.column:row``), so that a value copied elsewhere does not open.

Crash-only: a transaction is either wholly on disk (``SYNCHRONOUS``) or never happened.
"""

import hashlib
import hmac
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import ConfigInvalid, DependencyUnavailable, IntegrityBroken, SafelaneError

LAYOUT = 1
"""``PRAGMA user_version`` of a store: the layout of this module's own tables. A newer one is refused."""
BUSY_TIMEOUT = 10.0
SYNCHRONOUS = "FULL"
"""Every commit waits for the disk."""
NONCE_BYTES = 12
_FORMAT = b"\x01"


class GatewayStore:
    """The store of one agency.

    Calls are synchronous and short (one commit costs one flush to disk). Threads take turns behind one lock.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        """Open or create the store at ``path``; ``key`` is 32 bytes from the keystore.

        Raises:
            ConfigInvalid: the file belongs to a newer version, or to another key.
            DependencyUnavailable: it cannot be opened.
        """
        if len(key) != 32:
            raise ConfigInvalid("must be 32 bytes", field="store_key")
        self._cipher = AESGCM(_derive_key(key, b"content"))
        self._index_key = _derive_key(key, b"index")
        self._lock = threading.RLock()
        self._depth = 0
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._db.execute("PRAGMA secure_delete=ON")
        except (sqlite3.Error, OSError):
            raise DependencyUnavailable("the gateway's store cannot be opened", field="data_dir") from None
        self._prepare()

    def migrate(self, component: str, steps: Sequence[str]) -> None:
        """Bring ``component``'s tables up to date: run the steps that this file has not seen, each in its own transaction.

        Raises:
            ConfigInvalid: the file has seen more steps than this program knows.
        """
        rows = self.query("SELECT version FROM component WHERE name = ?", (component,))
        done = rows[0]["version"] if rows else 0
        if done > len(steps):
            raise ConfigInvalid("the store was written by a newer version of this program", field="data_dir")
        for number, step in enumerate(steps[done:], start=done + 1):
            with self.transaction() as db:
                for statement in _split_statements(step):
                    db.execute(statement)
                db.execute(
                    "INSERT INTO component (name, version) VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                    (component, number),
                )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction, on disk when the block ends; within another in the same thread it joins that one.

        Raises:
            DependencyUnavailable: the disk is full, or the file is locked or gone.
        """
        with self._lock:
            if self._depth:
                yield self._db
                return
            self._execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._db
                self._execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise _translate(error) from None
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._depth -= 1

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a SELECT.

        Raises:
            DependencyUnavailable: the file cannot be read.
        """
        with self._lock:
            return self._execute(sql, parameters).fetchall()

    def seal(self, place: str, data: bytes) -> bytes:
        """Encrypt ``data`` for one ``place`` (``table.column:row``): format byte, nonce, ciphertext with tag."""
        nonce = os.urandom(NONCE_BYTES)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, data, place.encode())

    def open(self, place: str, sealed: bytes) -> bytes:
        """Decrypt what ``seal`` made for the same place.

        Raises:
            IntegrityBroken: it was altered, moved from another place, or sealed under another key.
        """
        try:
            if sealed[:1] != _FORMAT:
                raise IntegrityBroken("a stored value is not in a known form", field=place.partition(":")[0])
            return self._cipher.decrypt(sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], place.encode())
        except (InvalidTag, ValueError):
            raise IntegrityBroken("a stored value does not open", field=place.partition(":")[0]) from None

    def blind_index(self, kind: str, value: str) -> bytes:
        """Return an HMAC-SHA256 of ``value`` under this store's own key: equal values can be found, none can be read."""
        return hmac.new(self._index_key, f"{kind}\0{value}".encode(), hashlib.sha256).digest()

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        with self._lock:
            self._db.close()

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, parameters)
        except sqlite3.Error as error:
            raise _translate(error) from None

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._execute("ROLLBACK")

    def _prepare(self) -> None:
        version = self._execute("PRAGMA user_version").fetchone()[0]
        if version > LAYOUT:
            raise ConfigInvalid("the store was written by a newer version of this program", field="data_dir")
        if version == 0:
            with self.transaction() as db:
                db.execute("CREATE TABLE IF NOT EXISTS component (name TEXT PRIMARY KEY, version INTEGER NOT NULL)")
                db.execute("CREATE TABLE IF NOT EXISTS key_check (id INTEGER PRIMARY KEY, sealed BLOB NOT NULL)")
                db.execute(
                    "INSERT OR IGNORE INTO key_check (id, sealed) VALUES (1, ?)",
                    (self.seal("key_check.sealed:1", b"1"),),
                )
                db.execute(f"PRAGMA user_version = {LAYOUT}")
        sealed = self.query("SELECT sealed FROM key_check WHERE id = 1")[0]["sealed"]
        try:
            self.open("key_check.sealed:1", sealed)
        except IntegrityBroken:
            raise ConfigInvalid("the store belongs to another key", field="data_dir") from None


def _translate(error: sqlite3.Error) -> SafelaneError:
    if isinstance(error, sqlite3.OperationalError):
        return DependencyUnavailable("the gateway's store cannot be read or written")
    return IntegrityBroken("the gateway's store is damaged or contradicts itself")


def _derive_key(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"safelane gateway store " + purpose).derive(key)


def _split_statements(script: str) -> list[str]:
    """Split a migration script; a statement ends where SQLite says that it is complete."""
    statements: list[str] = []
    pending = ""
    for piece in script.split(";"):
        pending += f"{piece};"
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    return [statement for statement in statements if statement != ";"]
