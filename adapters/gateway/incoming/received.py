"""A received referral: one opened and verified delivery, as inboxes, folders, webhooks and PDFs show it.

It holds only what this delivery's openings, sections and decision say. Nothing in it is derived from what was not received.
"""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from schemas.codes import Compartment, Form
from schemas.header import CaseFacts, RiskFacts, SubjectFacts

INCIDENT = "incident"
"""The subject of a section that is about the incident as a whole (DESIGN, Section)."""


class ReceivedModel(BaseModel):
    """Base of the parts: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReceivedSection(ReceivedModel):
    """One opened section. ``content`` is the sender's JSON as sealed."""

    section_id: str
    compartment: Compartment
    subject: str
    form: Form
    media_type: str
    content: Any = None
    attachments: tuple[dict[str, Any], ...] = ()
    """Attachments of this heading (``schemas.referral.Attachment``); ``data_b64`` is base64."""


class DeskContact(ReceivedModel):
    """Whom to ring or write to, from the recipient's own verified directory."""

    post: str
    name: str = ""
    phone: str = ""
    email: str = ""


class Deadline(ReceivedModel):
    """A statutory or local clock that binds this recipient."""

    clock: str
    due_at: AwareDatetime
    starts_at: AwareDatetime | None = None


class ReceivedReferral(ReceivedModel):
    """An opened delivery. All instants are aware."""

    schema_version: Literal[1] = 1
    delivery_id: str
    message_id: str
    referral_id: str
    revision: int
    message_type: str = "referral"
    manifest_digest: str
    """Base64url SHA-256 of the manifest's payload bytes."""
    sender: str
    sender_name: str = ""
    sender_contacts: tuple[DeskContact, ...] = ()
    recipient: str
    recipient_name: str = ""
    role: str
    purpose: str
    contact: str | None = None
    """Contact id of the one person or post who may open it; none: anyone who holds the role."""
    case: CaseFacts
    risk: RiskFacts | None = None
    """The sender's grade; none: not shared with this recipient, which does not mean that nobody assessed it."""
    area_name: str = ""
    subjects: tuple[SubjectFacts, ...] = ()
    sections: tuple[ReceivedSection, ...] = ()
    supersedes: str | None = None
    """Message id that this one corrects or adds to."""
    issued_at: AwareDatetime
    received_at: AwareDatetime
    deadlines: tuple[Deadline, ...] = ()
    decision: dict[str, Any] = {}
    """This delivery's own decision record."""
    release: int = 1
    """Counts from 1: more than one means that sections were released later and added."""
    decision_leaf: str = ""
    """Base64url leaf hash in the message log."""
    witnessed: bool = False

    def sections_about(self, subject: str) -> tuple[ReceivedSection, ...]:
        """Return the sections about one subject id, or about the incident, in the order received."""
        return tuple(s for s in self.sections if s.subject == subject)

    def find_section(self, compartment: Compartment) -> ReceivedSection | None:
        """Return the first section of a compartment, or none."""
        return next((s for s in self.sections if s.compartment is compartment), None)

    @property
    def release_id(self) -> str:
        """The delivery's id; a later release has a number after it, so that outputs tell the two apart."""
        return self.delivery_id if self.release == 1 else f"{self.delivery_id}.{self.release}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON that leaves by the inbox API, the webhook and the folder."""
        return self.model_dump(mode="json", exclude_none=True)
