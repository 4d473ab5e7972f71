"""The outbox's states, records and tables.

A referral's way: received → planned → sealed → published → accepted → receipted → done. From any step before ``accepted`` it can be ``held`` (a person of
this agency must act) or ``failed`` (the hub refused it for good, or it cannot be sealed); both keep the content, raise an alarm and can be released.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class OutboxState(StrEnum):
    """Where a referral is on its way."""

    RECEIVED = "received"
    PLANNED = "planned"
    SEALED = "sealed"
    PUBLISHED = "published"
    ACCEPTED = "accepted"
    RECEIPTED = "receipted"
    DONE = "done"
    HELD = "held"
    FAILED = "failed"


TO_SEND = (OutboxState.RECEIVED, OutboxState.PLANNED, OutboxState.SEALED)
"""States from which the sender goes on by itself."""
STOPPED = (OutboxState.HELD, OutboxState.FAILED)

NOT_DELIVERED = "not-delivered:"
"""The alarm that a recipient who was to have a referral does not get it, followed by the recipient's id."""

OUTBOX_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE document (
        document_id TEXT PRIMARY KEY,
        stored_at TEXT NOT NULL,
        channel TEXT NOT NULL,
        mapping TEXT NOT NULL,
        request_index BLOB UNIQUE,
        body_index BLOB NOT NULL,
        body BLOB NOT NULL,
        answer BLOB NOT NULL
    );
    CREATE TABLE referral (
        referral_id TEXT PRIMARY KEY,
        document_id TEXT NOT NULL REFERENCES document,
        record_number INTEGER NOT NULL,
        source_index BLOB NOT NULL UNIQUE,
        reference_index BLOB NOT NULL,
        state TEXT NOT NULL,
        urgent INTEGER NOT NULL,
        kind TEXT NOT NULL,
        received_at TEXT NOT NULL,
        stored_at TEXT NOT NULL,
        changed_at TEXT NOT NULL,
        next_attempt_at TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        reseals INTEGER NOT NULL DEFAULT 0,
        message_id TEXT,
        conversation TEXT NOT NULL,
        alarm TEXT,
        alarm_at TEXT,
        reason BLOB,
        content BLOB NOT NULL,
        plan BLOB
    );
    CREATE INDEX referral_to_send ON referral (state, urgent DESC, received_at);
    CREATE INDEX referral_by_reference ON referral (reference_index, stored_at);
    CREATE TABLE sealing (
        message_id TEXT PRIMARY KEY,
        referral_id TEXT NOT NULL REFERENCES referral,
        predecessor TEXT,
        sealed_at TEXT NOT NULL,
        published_at TEXT,
        publications INTEGER NOT NULL DEFAULT 0,
        outcome TEXT,
        outcome_at TEXT,
        manifest_digest TEXT NOT NULL,
        body BLOB NOT NULL,
        section_keys BLOB NOT NULL
    );
    CREATE INDEX sealing_by_referral ON sealing (referral_id);
    CREATE TABLE delivery (
        delivery_id TEXT PRIMARY KEY,
        message_id TEXT NOT NULL REFERENCES sealing,
        referral_id TEXT NOT NULL REFERENCES referral,
        recipient TEXT NOT NULL,
        role TEXT NOT NULL,
        purpose TEXT NOT NULL,
        outcome TEXT NOT NULL,
        outcome_at TEXT,
        receipt_state TEXT,
        receipt_at TEXT,
        decision BLOB NOT NULL
    );
    CREATE INDEX delivery_by_message ON delivery (message_id);
    CREATE TABLE evidence (
        digest BLOB PRIMARY KEY,
        kind TEXT NOT NULL,
        message_id TEXT NOT NULL REFERENCES sealing,
        delivery_id TEXT,
        at TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE recipient (
        agency TEXT PRIMARY KEY,
        asked_at TEXT NOT NULL,
        confirmed_at TEXT,
        confirmed_by TEXT
    );
    """,
    "ALTER TABLE sealing ADD COLUMN log_position INTEGER;",
    """
    CREATE TABLE undelivered (
        referral_id TEXT NOT NULL REFERENCES referral,
        recipient TEXT NOT NULL,
        alarm_at TEXT NOT NULL,
        PRIMARY KEY (referral_id, recipient)
    );
    INSERT INTO undelivered SELECT referral_id, substr(alarm, length('not-delivered:') + 1), coalesce(alarm_at, changed_at)
        FROM referral WHERE alarm LIKE 'not-delivered:%';
    UPDATE referral SET alarm = NULL, alarm_at = NULL WHERE alarm LIKE 'not-delivered:%';
    """,
)


def write_instant(moment: datetime) -> str:
    """Return an instant as UTC text that sorts by time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def read_instant(text: str) -> datetime:
    """Return the instant that ``write_instant`` wrote."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class NewReferral:
    """One good record, ready to be stored. ``content`` is the referral's JSON; ``native_digest`` the digest of the record as it came."""

    number: int
    native_ref: str
    native_digest: str
    kind: str
    urgent: bool
    relates_to: str | None
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecordFault:
    """One bad record: field and rule, never a value."""

    number: int | None
    native_ref: str | None
    code: str
    field: str | None
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the form that the sender's system reads."""
        return {
            "number": self.number,
            "native_ref": self.native_ref,
            "code": self.code,
            "field": self.field,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document as it came, with what was read from it."""

    body: bytes = field(repr=False)
    body_digest: str
    channel: str
    mapping: str
    referrals: Sequence[NewReferral]
    faults: Sequence[RecordFault]
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class AcceptedDocument:
    """What became of a document: durable before anyone sees it. ``repeated``: the same request was answered before."""

    document_id: str
    answer: dict[str, Any]
    repeated: bool = False

    @property
    def referral_ids(self) -> list[str]:
        """The ids of its good records, in order."""
        return [entry["referral_id"] for entry in self.answer["referrals"]]


@dataclass(frozen=True, slots=True)
class OutboxReferral:
    """A referral's row, without its content."""

    referral_id: str
    state: OutboxState
    urgent: bool
    kind: str
    received_at: datetime
    stored_at: datetime
    attempts: int
    reseals: int
    message_id: str | None
    conversation: str
    alarm: str | None
    """What a person must look at first, as a code; all that there is, and the details, are in the whole view."""


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """A sealing as it was stored before its first publish: these bytes and no others are sent under this message id."""

    message_id: str
    referral_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery of a sealing, as planned."""

    delivery_id: str
    recipient: str
    role: str
    purpose: str
    decision: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewSealing:
    """What sealing made, to be stored in one transaction before anything is sent."""

    message_id: str
    predecessor: str | None
    body: bytes = field(repr=False)
    manifest_digest: str
    section_keys: dict[str, Any] = field(repr=False)
    """Section id to key and ciphertext digest, kept so that a held section can be released later."""
    deliveries: Sequence[NewDelivery]


@dataclass(frozen=True, slots=True)
class UnansweredMessage:
    """A published message that the hub has not answered: how often it was published, and when last."""

    message_id: str
    urgent: bool
    publications: int
    published_at: datetime


@dataclass(frozen=True, slots=True)
class EarlierMessage:
    """What was taken in before under a native reference: its message id once it is sealed, and its conversation."""

    message_id: str | None
    conversation: str
    is_being_prepared: bool = False
