"""What this agency says besides referrals and receipts: keyring addenda, consents, claims of danger, recalls, confirmed deletions, requests.

Signed once, stored before they leave, sent unchanged until the log has them. What the hub refuses stays here with its code, for a person.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic import BaseModel

from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.outgoing.publisher import Publisher
from adapters.gateway.random_ids import new_opaque_id
from adapters.gateway.store import GatewayStore
from schemas.errors import SafelaneError
from schemas.keys import SigningKeys
from schemas.objects import digest_object, sign_object

_log = structlog.get_logger(__name__)

RESEND_UNLOGGED = timedelta(minutes=5)

STATEMENT_MIGRATIONS = (
    """
CREATE TABLE statement (
  statement_id TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE,
  subject TEXT NOT NULL,
  made_at TEXT NOT NULL,
  published_at TEXT,
  logged_at TEXT,
  refused_code TEXT,
  body BLOB NOT NULL
);
CREATE INDEX statement_to_publish ON statement (logged_at, published_at);
CREATE TABLE told (
  digest TEXT PRIMARY KEY,
  code TEXT NOT NULL,
  message_id TEXT NOT NULL,
  delivery_id TEXT,
  at TEXT NOT NULL,
  body BLOB NOT NULL
);
""",
    "ALTER TABLE statement ADD COLUMN log_position INTEGER;",
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A signed object of ours. ``subject`` is the id that it is about (a consent, a message), to find the next of its chain."""

    statement_id: str
    type: str
    digest: str
    subject: str
    body: bytes = field(repr=False)


class StatementBook:
    """Signs, stores and publishes this agency's statements, and keeps what the hub told it."""

    def __init__(
        self, store: GatewayStore, signer: Callable[[], SigningKeys], publisher: Publisher, now: Callable[[], datetime]
    ) -> None:
        store.migrate("statements", STATEMENT_MIGRATIONS)
        self._store = store
        self._signer = signer
        self._publisher = publisher
        self._now = now

    def sign(self, statement_type: str, payload: BaseModel | Mapping[str, Any], *, subject: str) -> Statement:
        """Sign a statement and store it; it leaves from the store."""
        body = sign_object(statement_type, payload, self._signer())
        statement = Statement(new_opaque_id(), statement_type, digest_object(body), subject, body)
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO statement (statement_id, type, digest, subject, made_at, body) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    statement.statement_id,
                    statement_type,
                    statement.digest,
                    subject,
                    write_instant(self._now()),
                    self._store.seal(f"statement.body:{statement.statement_id}", body),
                ),
            )
        _log.info("statement_signed", type=statement_type, digest=statement.digest)
        return statement

    def find_last(self, statement_type: str, subject: str) -> Statement | None:
        """Return the newest statement of a type about a subject that the hub has not refused, or none."""
        rows = self._store.query(
            "SELECT * FROM statement WHERE type = ? AND subject = ? AND refused_code IS NULL ORDER BY rowid DESC LIMIT 1",
            (statement_type, subject),
        )
        return self._read(rows[0]) if rows else None

    def list_statements(self) -> list[dict[str, Any]]:
        """Return what was said, newest first: type, digest, subject, and whether it is logged or refused."""
        rows = self._store.query(
            "SELECT type, digest, subject, made_at, published_at, logged_at, refused_code FROM statement ORDER BY rowid DESC LIMIT 500"
        )
        return [dict(row) for row in rows]

    def list_signed(self, statement_type: str) -> list[tuple[Statement, bool, str | None]]:
        """Return the newest statements of a type, oldest first, with whether the log has each, and the code if the hub refused it."""
        rows = self._store.query(
            "SELECT * FROM (SELECT rowid AS number, * FROM statement WHERE type = ? ORDER BY rowid DESC LIMIT 500) ORDER BY number",
            (statement_type,),
        )
        return [(self._read(row), row["logged_at"] is not None, row["refused_code"]) for row in rows]

    def record_logged(self, digest: str, position: int | None = None) -> bool:
        """Note that the log has a statement, and where (its proof was verified); return whether it is ours."""
        with self._store.transaction() as db:
            found = db.execute(
                "UPDATE statement SET logged_at = coalesce(logged_at, ?), log_position = ? WHERE digest = ?",
                (write_instant(self._now()), position, digest),
            )
            return found.rowcount > 0

    def record_refused(self, amqp_id: str, subject: str, code: str) -> bool:
        """Note that the hub refused a statement, which it names by the id under which it came or by its message."""
        with self._store.transaction() as db:
            found = db.execute(
                "UPDATE statement SET refused_code = ? WHERE logged_at IS NULL AND refused_code IS NULL"
                " AND (statement_id = ? OR (subject = ? AND published_at IS NOT NULL))",
                (code, amqp_id, subject),
            )
        if found.rowcount:
            _log.error("statement_refused", code=code)
        return found.rowcount > 0

    def record_told(self, digest: str, code: str, message_id: str, delivery_id: str | None, body: bytes) -> None:
        """Keep what the hub told this agency, once."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO told VALUES (?, ?, ?, ?, ?, ?)",
                (
                    digest,
                    code,
                    message_id,
                    delivery_id,
                    write_instant(self._now()),
                    self._store.seal(f"told.body:{digest}", body),
                ),
            )

    def list_told(self) -> list[dict[str, Any]]:
        """Return what the hub told, newest first: codes and ids."""
        rows = self._store.query("SELECT code, message_id, delivery_id, at FROM told ORDER BY rowid DESC LIMIT 500")
        return [dict(row) for row in rows]

    def list_told_bodies(self, codes: Sequence[str]) -> list[bytes]:
        """Return the newest notices that the hub told with one of these codes, oldest first, whole."""
        marks = ", ".join("?" for _ in codes)
        rows = self._store.query(
            f"SELECT digest, body FROM told WHERE code IN ({marks}) ORDER BY rowid DESC LIMIT 500",  # noqa: S608 (marks alone)
            tuple(codes),
        )
        return [self._store.open(f"told.body:{row['digest']}", row["body"]) for row in reversed(rows)]

    def list_told_about(self, message_id: str, code: str) -> list[bytes]:
        """Return the notices of one code about a message, oldest first, whole."""
        rows = self._store.query(
            "SELECT digest, body FROM told WHERE code = ? AND message_id = ? ORDER BY rowid", (code, message_id)
        )
        return [self._store.open(f"told.body:{row['digest']}", row["body"]) for row in rows]

    async def send_due(self) -> int:
        """Publish what is not in the log yet, in order; return how many.

        Raises:
            DependencyUnavailable, Undeliverable: RabbitMQ did not take one; the rest wait.
        """
        now = self._now()
        rows = await asyncio.to_thread(
            self._store.query,
            "SELECT * FROM statement WHERE logged_at IS NULL AND refused_code IS NULL"
            " AND (published_at IS NULL OR published_at < ?) ORDER BY rowid LIMIT 50",
            (write_instant(now - RESEND_UNLOGGED),),
        )
        for row in rows:
            statement = self._read(row)
            await self._publisher.publish(statement.type, statement.body, statement.statement_id)
            await asyncio.to_thread(self._note_published, statement.statement_id)
        return len(rows)

    def _note_published(self, statement_id: str) -> None:
        with self._store.transaction() as db:
            db.execute(
                "UPDATE statement SET published_at = ? WHERE statement_id = ?",
                (write_instant(self._now()), statement_id),
            )

    def _read(self, row: Any) -> Statement:
        body = self._store.open(f"statement.body:{row['statement_id']}", row["body"])
        return Statement(row["statement_id"], row["type"], row["digest"], row["subject"], body)


def forget_lost_statements(store: GatewayStore, kept: int) -> int:
    """Make due again, unchanged, what the log had at a position that is gone, or at one that we did not keep; return how many."""
    with store.transaction() as db:
        found = db.execute(
            "UPDATE statement SET logged_at = NULL, published_at = NULL, log_position = NULL"
            " WHERE refused_code IS NULL AND (log_position IS NULL OR log_position >= ?)",
            (kept,),
        )
    return found.rowcount


async def send_statements(book: StatementBook, stop: asyncio.Event, poll: timedelta) -> None:
    """Publish statements until ``stop`` is set."""
    while not stop.is_set():
        try:
            await book.send_due()
            pause = poll.total_seconds()
        except SafelaneError as error:
            _log.warning("statements_wait", code=error.code, field=error.field)
            pause = 2.0
        try:
            await asyncio.wait_for(stop.wait(), timeout=pause)
        except TimeoutError:
            continue
