"""The inbox's tables and rows: deliveries, receipt chains, outputs still to be made, and the local quarantine.

Ids, codes and instants are in clear, so that the inbox can be listed; everything that a sender sealed is encrypted at rest.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from schemas.codes import ReceiptState, RiskGrade

INBOX_MIGRATIONS = (
    """
CREATE TABLE inbox_delivery (
  delivery_id TEXT PRIMARY KEY,
  message_id TEXT NOT NULL,
  referral_id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  manifest_digest TEXT NOT NULL,
  decision_leaf TEXT NOT NULL,
  sections TEXT NOT NULL,
  supersedes TEXT,
  sender TEXT NOT NULL,
  kind TEXT NOT NULL,
  role TEXT NOT NULL,
  contact TEXT,
  grade TEXT NOT NULL,
  immediate_danger INTEGER NOT NULL,
  received_at TEXT NOT NULL,
  state TEXT NOT NULL,
  changed_at TEXT NOT NULL,
  content BLOB NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX inbox_delivery_by_time ON inbox_delivery (received_at DESC, delivery_id DESC);
CREATE INDEX inbox_delivery_by_message ON inbox_delivery (message_id);
CREATE INDEX inbox_delivery_by_corrected ON inbox_delivery (supersedes);
CREATE TABLE inbox_receipt (
  delivery_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  receipt_id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  reason_code TEXT,
  at TEXT NOT NULL,
  digest TEXT NOT NULL,
  body BLOB NOT NULL,
  published_at TEXT,
  logged_at TEXT,
  PRIMARY KEY (delivery_id, number)
);
CREATE INDEX inbox_receipt_to_publish ON inbox_receipt (logged_at, published_at);
CREATE TABLE inbox_output (
  delivery_id TEXT NOT NULL REFERENCES inbox_delivery (delivery_id),
  channel TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_attempt_at TEXT NOT NULL,
  code TEXT,
  done_at TEXT,
  PRIMARY KEY (delivery_id, channel)
);
CREATE INDEX inbox_output_due ON inbox_output (state, next_attempt_at);
CREATE TABLE inbox_quarantine (
  digest BLOB PRIMARY KEY,
  type TEXT NOT NULL,
  amqp_message_id TEXT NOT NULL,
  code TEXT NOT NULL,
  field TEXT,
  arrived_at TEXT NOT NULL,
  arrivals INTEGER NOT NULL DEFAULT 1,
  body BLOB NOT NULL
);
""",
    """
CREATE TABLE inbox_supplement (
  delivery_id TEXT NOT NULL REFERENCES inbox_delivery (delivery_id),
  decision_leaf TEXT NOT NULL,
  received_at TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (delivery_id, decision_leaf)
);
""",
    """
CREATE TABLE inbox_witnessed (
  delivery_id TEXT PRIMARY KEY REFERENCES inbox_delivery (delivery_id),
  size INTEGER NOT NULL,
  root BLOB NOT NULL,
  noted_at TEXT NOT NULL,
  witnessed_at TEXT
);
CREATE INDEX inbox_witnessed_open ON inbox_witnessed (size) WHERE witnessed_at IS NULL;
""",
    """
ALTER TABLE inbox_receipt ADD COLUMN log_position INTEGER;
CREATE TABLE inbox_lost (delivery_id TEXT PRIMARY KEY REFERENCES inbox_delivery (delivery_id));
""",
)

SEALING_MIGRATIONS = ("CREATE INDEX inbox_delivery_by_referral ON inbox_delivery (sender, referral_id, revision);",)


class Taken(StrEnum):
    """What taking in a delivery did."""

    STORED = "stored"
    REPEATED = "repeated"
    SUPPLEMENTED = "supplemented"
    """A later decision released more sections of a delivery that is here (late release)."""
    DECIDED_ANEW = "decided-anew"
    """The log lost the decision under which it came, and the hub decided again: its receipts are signed again for that decision."""


class OutputState(StrEnum):
    """What became of one output of one delivery."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """One line of the inbox: ids, codes and instants, no content."""

    delivery_id: str
    message_id: str
    referral_id: str
    revision: int
    manifest_digest: str
    decision_leaf: str
    sections: tuple[str, ...]
    supersedes: str | None
    sender: str
    kind: str
    role: str
    contact: str | None
    grade: RiskGrade | None
    """None: the risk was not shared with this recipient."""
    immediate_danger: bool | None
    received_at: datetime
    state: ReceiptState
    release: int = 1
    """Counts from 1: more than one means that sections were released later and added, perhaps since it was opened."""


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """One signed receipt, as it was and will be sent. ``number`` counts from 1 in the delivery's chain."""

    delivery_id: str
    number: int
    receipt_id: str
    state: ReceiptState
    reason_code: str | None
    at: datetime
    digest: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PendingOutput:
    """An output that is due: which delivery by which channel, after how many failures."""

    delivery_id: str
    channel: str
    attempts: int


@dataclass(frozen=True, slots=True)
class FailedOutput:
    """An output that has failed for good until a person acts. ``code`` is the last error's."""

    delivery_id: str
    channel: str
    attempts: int
    code: str


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """A message that could not be taken in: when, of what claimed type, and why."""

    digest: str
    type: str
    amqp_message_id: str
    code: str
    field: str | None
    arrived_at: datetime
    arrivals: int


@dataclass(frozen=True, slots=True)
class InboxFilter:
    """What to list. ``contact``: who asks; deliveries for another named contact are not there for them."""

    contact: str | None = None
    states: tuple[ReceiptState, ...] = ()
    kinds: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    since: datetime | None = None
    before: tuple[str, str] | None = None
    """(received_at as stored, delivery id) of the last line of the page before."""
