"""The local quarantine: messages that cannot be taken in, whole, encrypted, with the reason. Nothing that arrived is thrown away."""

import hashlib
from datetime import datetime
from sqlite3 import Row

from adapters.gateway.incoming.inbox_model import INBOX_MIGRATIONS, QuarantinedMessage
from adapters.gateway.outgoing.outbox_model import read_instant, write_instant
from adapters.gateway.store import GatewayStore
from schemas.errors import DependencyUnavailable, NotFound, SafelaneError


class LocalQuarantine:
    """An agency's quarantine, at most ``limit`` messages: when it is full, messages stay in RabbitMQ and the alarm goes off."""

    def __init__(self, store: GatewayStore, *, limit: int = 10_000) -> None:
        store.migrate("inbox", INBOX_MIGRATIONS)
        self._store = store
        self._limit = limit

    def keep(
        self, body: bytes, *, claimed_type: str, amqp_message_id: str, error: SafelaneError, now: datetime
    ) -> None:
        """Keep a message that cannot be taken in, with the reason; the same bytes again only count.

        Raises:
            DependencyUnavailable: the quarantine is full; the message stays in RabbitMQ.
        """
        digest = hashlib.sha256(body).digest()
        with self._store.transaction() as db:
            seen = db.execute("UPDATE inbox_quarantine SET arrivals = arrivals + 1 WHERE digest = ?", (digest,))
            if seen.rowcount:
                return
            if db.execute("SELECT count(*) FROM inbox_quarantine").fetchone()[0] >= self._limit:
                raise DependencyUnavailable("the local quarantine is full: a person must look at it", field="inbox")
            db.execute(
                "INSERT INTO inbox_quarantine (digest, type, amqp_message_id, code, field, arrived_at, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    digest,
                    claimed_type[:40],
                    amqp_message_id[:80],
                    error.code,
                    error.field,
                    write_instant(now),
                    self._store.seal(f"inbox_quarantine.body:{digest.hex()}", body),
                ),
            )

    def list_messages(self, limit: int = 200) -> list[QuarantinedMessage]:
        """Return quarantined messages, newest first."""
        rows = self._store.query("SELECT * FROM inbox_quarantine ORDER BY arrived_at DESC LIMIT ?", (limit,))
        return [_read_message(row) for row in rows]

    def find_message(self, digest: str) -> QuarantinedMessage:
        """Return one quarantined message.

        Raises:
            NotFound: there is no such message.
        """
        rows = self._store.query("SELECT * FROM inbox_quarantine WHERE digest = ?", (_digest_bytes(digest),))
        if not rows:
            raise NotFound("there is no such quarantined message", field="digest")
        return _read_message(rows[0])

    def read_body(self, digest: str) -> bytes:
        """Return a quarantined message's bytes, to examine or to take in again.

        Raises:
            NotFound: there is no such message.
        """
        rows = self._store.query("SELECT body FROM inbox_quarantine WHERE digest = ?", (_digest_bytes(digest),))
        if not rows:
            raise NotFound("there is no such quarantined message", field="digest")
        return self._store.open(f"inbox_quarantine.body:{digest}", rows[0]["body"])

    def resolve(self, body: bytes) -> None:
        """Forget a message that has been taken in after all."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM inbox_quarantine WHERE digest = ?", (hashlib.sha256(body).digest(),))


def _digest_bytes(digest: str) -> bytes:
    try:
        return bytes.fromhex(digest)
    except ValueError:
        raise NotFound("there is no such quarantined message", field="digest") from None


def _read_message(row: Row) -> QuarantinedMessage:
    return QuarantinedMessage(
        digest=row["digest"].hex(),
        type=row["type"],
        amqp_message_id=row["amqp_message_id"],
        code=row["code"],
        field=row["field"],
        arrived_at=read_instant(row["arrived_at"]),
        arrivals=row["arrivals"],
    )
