"""The catalogue of events and the one form in which any of them enters the log.

Events about persons and referrals are salted commitments; directory, key, enrolment, revocation, policy and configuration events are clear, so
that monitors can read them (DESIGN, The message log). An event holds ids, codes, digests and instants: never content, never a name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from asyncpg.pgproto import pgproto

from schemas.canonical import canonical_bytes
from schemas.errors import MalformedMessage
from schemas.log_entry import SALT_BYTES, commit_event

EVENT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind of event: whether its entry is clear, what its members are beside ``event``, ``version`` and ``at``, and what it says."""

    clear: bool
    members: tuple[str, ...]
    meaning: str


CATALOGUE: Final[Mapping[str, EventKind]] = {
    "accepted": EventKind(
        False,
        ("message_id", "referral_id", "revision", "sender", "kind", "manifest_digest", "notice_sha256"),
        "A verified message was taken in; its effect happens once.",
    ),
    "decided": EventKind(
        False,
        (
            "message_id",
            "delivery_id",
            "recipient",
            "outcome",
            "row",
            "released",
            "rest",
            "policy_digest",
            "inputs_digest",
        ),
        "One delivery was decided: released, withheld, held or rejected. The whole form is DecidedEvent of the contract.",
    ),
    "rejected": EventKind(
        False,
        ("claimed_id", "sender", "body_sha256", "code", "notice_sha256"),
        "A message broke a rule of the contract; nothing of it went anywhere. Its sender was told.",
    ),
    "quarantined": EventKind(
        False,
        ("claimed_id", "sender", "body_sha256", "code", "notice_sha256"),
        "A message could not be handled; it waits for a person.",
    ),
    "security": EventKind(
        False,
        ("claimed_id", "sender", "body_sha256", "code", "notice_sha256"),
        "A message contradicts who sent it or what was sent before under its id.",
    ),
    "receipt": EventKind(
        False,
        ("message_id", "delivery_id", "sender", "recipient", "state", "receipt_digest", "previous", "decision_leaf"),
        "A recipient's signed receipt was verified and joined to its chain.",
    ),
    "object": EventKind(
        False,
        ("type", "sender", "object_digest", "message_id"),
        "Another verified signed object (addendum, consent, approval, recall, request, control) was taken in.",
    ),
    "review": EventKind(
        False,
        ("message_id", "delivery_id", "action", "by"),
        "A person claimed, released or refused what policy held, closed a retrospective review, or approved a policy pack.",
    ),
    "redecided": EventKind(
        False,
        ("message_id", "delivery_id", "cause", "outcome", "notice_sha256"),
        "A delivery was decided again; its sender was told.",
    ),
    "collected": EventKind(
        False,
        ("message_id", "delivery_id", "recipient", "decided", "decision_sha256"),
        "A recipient collected what a claim ticket named, after it was decided once more.",
    ),
    "told": EventKind(
        False,
        ("message_id", "delivery_id", "code", "notice_sha256"),
        "An agency was told of something that concerns what it sent or received: CONSENT_WITHDRAWN, a recall, a correction.",
    ),
    "overdue": EventKind(
        False,
        ("message_id", "delivery_id", "review", "owner", "deadline_at", "escalation"),
        "What waited for a person is overdue and was escalated.",
    ),
    "clock": EventKind(
        False,
        ("message_id", "changes", "notice_sha256"),
        "Clocks of a referral were met, paused, resumed, renewed or breached; its sender was told.",
    ),
    "clocks_started": EventKind(
        False,
        ("message_id", "clocks", "notice_sha256"),
        "Clocks began with a delivery that went late; the sender was told. Those of a referral's acceptance are in its notice.",
    ),
    "negative_receipt": EventKind(
        False,
        ("message_id", "delivery_id", "recipient", "none_logged_by", "last_state", "log_size", "notice_sha256"),
        "No further receipt of a delivery was logged by a deadline.",
    ),
    "escalated": EventKind(
        False,
        ("message_id", "delivery_id", "agency", "clock", "roles", "notice_sha256"),
        "A clock that binds an agency ran out; the agency was told, for the named roles to act.",
    ),
    "consent_expired": EventKind(
        False,
        ("object_digest", "consent_id", "recorded_by", "expires_at"),
        "A recorded consent has ended; what is queued or held on it is decided again.",
    ),
    "undeliverable": EventKind(
        False,
        ("message_id", "delivery_id", "recipient", "code"),
        "A delivery could not be handed over and waits for a person.",
    ),
    "quarantine_decided": EventKind(
        False,
        ("quarantine_id", "action", "by"),
        "A person replayed or rejected a quarantined message; or its sender had sealed it again, and nobody need look (superseded, by nobody).",
    ),
    "audit_read": EventKind(False, ("by", "action", "subject"), "Somebody read or searched the audit."),
    "console_login": EventKind(False, ("by", "outcome"), "Somebody signed in to the console, or failed to."),
    "console_user": EventKind(
        False,
        ("by", "user", "action", "roles"),
        "A console account was added, enrolled, changed, disabled or reset, or a session of it was ended.",
    ),
    "console_denied": EventKind(
        False, ("by", "action"), "Somebody signed in asked the console for what their roles do not allow."
    ),
    "approval": EventKind(
        False,
        ("action", "subject", "by", "reason_code", "object_digest"),
        "One of two people approved an act that needs both: a chronology, erasing a referral, lifting a legal hold.",
    ),
    "chronology": EventKind(
        False,
        ("by", "approvers", "subject", "reason_code", "approvals"),
        "Somebody read who knew what of one child, on two people's approvals; the subject is the token's digest.",
    ),
    "erased": EventKind(
        False,
        ("scope", "message_id", "quarantine_id", "entries", "reason_code", "by", "approvers"),
        "Sealed bytes were erased after their time (scope ciphertext or quarantine), or on request all that was held of a message with the"
        " payloads and salts of the named entries (scope everything). The commitments stay.",
    ),
    "legal_hold": EventKind(
        False,
        ("hold_id", "action", "scope", "subject", "reason_code", "by", "approvers"),
        "A legal hold was placed or lifted: nothing under it is erased.",
    ),
    "export": EventKind(
        False, ("by", "action", "subject"), "An evidence pack was made, or what a search finds was taken as a file."
    ),
    "sample_seeded": EventKind(
        True,
        ("sample_id", "seed", "from_on", "to_on", "strata", "size", "by"),
        "An audit sample's seed was published, before anything was drawn by it.",
    ),
    "sample_drawn": EventKind(
        True, ("sample_id", "population", "drawn", "sha256", "by"), "An audit sample was drawn by its published seed."
    ),
    "sample_graded": EventKind(
        False,
        ("sample_id", "number", "by", "grade", "theme", "action", "reaudit_on"),
        "An auditor graded a referral of an audit sample.",
    ),
    "checkpoint_gap": EventKind(True, ("from_size", "to_size", "code"), "Checkpoints were late or missing."),
    "epoch": EventKind(
        True,
        ("epoch", "log_origin", "kept_size", "kept_root", "witnessed_size", "witnessed_root"),
        "The authority opened a new epoch after a loss: what was kept, and the highest head that witnesses had.",
    ),
    "heartbeat": EventKind(True, ("size",), "Nothing else happened for a while; the log still grows and is signed."),
    "directory": EventKind(
        True, ("version_number", "sha256"), "A directory version signed by the authority was published."
    ),
    "key": EventKind(True, ("agency", "kid", "not_before", "not_after"), "An agency announced an encryption key."),
    "enrolment": EventKind(
        True, ("agency", "enrolment_id", "state"), "An enrolment was asked for, approved or refused."
    ),
    "revocation": EventKind(True, ("agency", "thumbprint"), "A key or an agency was revoked."),
    "policy_pack": EventKind(
        True, ("policy_digest", "pack_id"), "A policy pack was lodged. It decides nothing until it is taken into use."
    ),
    "policy": EventKind(
        True,
        ("policy_digest", "approvals"),
        "A policy pack was taken into use; the signed approvals of two people are named by their digests.",
    ),
    "agreement": EventKind(
        True,
        ("agreement", "code", "due_on", "owner"),
        "A data-sharing agreement ends in 60 or 30 days, has ended, or is overdue for review.",
    ),
    "configuration": EventKind(True, ("sha256", "by"), "The hub's configuration changed."),
}


class NewEvent(NamedTuple):
    """An event that is not in the log yet. ``salt`` is none for a clear event, whose entry is the event itself."""

    event_id: UUID
    kind: str
    event: bytes
    salt: bytes | None
    message_id: UUID | None = None
    """The message that it is about: by it a matter's events are found, and erased."""

    def __repr__(self) -> str:
        return f"NewEvent({self.kind} {self.event_id})"

    @classmethod
    def salted(cls, kind: str, members: Mapping[str, Any]) -> Self:
        """Make an event about a person or referral: the log gets a commitment only."""
        return cls.from_bytes(kind, write_event(kind, members), message_id=members.get("message_id"))

    @classmethod
    def clear(cls, kind: str, members: Mapping[str, Any]) -> Self:
        """Make an event that anyone may read.

        Raises:
            MalformedMessage: events of this kind must be salted.
        """
        if not CATALOGUE[kind].clear:
            raise MalformedMessage("an event of this kind must be salted", field="event")
        return cls(new_event_id(), kind, write_event(kind, members), None)

    @classmethod
    def from_bytes(cls, kind: str, event: bytes, *, message_id: str | None) -> Self:
        """Make a salted event from canonical bytes that the contract defines (``DecidedEvent``); ``message_id`` is the one in them."""
        about = UUID(message_id) if message_id else None
        return cls(new_event_id(), kind, event, token_bytes(SALT_BYTES), about)

    def entry(self) -> bytes:
        """Return the bytes that the log commits to."""
        return self.event if self.salt is None else commit_event(self.event, self.salt)


def write_event(kind: str, members: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of an event; ``members`` hold ``at`` (RFC 3339) and what the catalogue names.

    Raises:
        MalformedMessage: the kind is not in the catalogue.
    """
    if kind not in CATALOGUE:
        raise MalformedMessage("is not in the catalogue of events", field="event")
    return canonical_bytes({**members, "event": kind, "version": EVENT_VERSION})


def new_event_id() -> UUID:
    """Return a random id; it orders nothing and says nothing. It is of the driver's own class, which is made and written much faster."""
    return pgproto.UUID(token_bytes(16))
