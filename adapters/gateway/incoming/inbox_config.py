"""What happens to what an agency receives: outputs, named contacts, waits. A part of the gateway's configuration."""

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.clear_forms import ContactId
from schemas.errors import RuleBroken


class InboxModel(BaseModel):
    """Base of the parts: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FolderConfig(InboxModel):
    """A folder of files: one sub-folder for each delivery, JSON and PDF."""

    out_folder: Path = Field(description="The folder, on a disk that only the case system and its users read.")
    json_file: bool = Field(True, description="Write referral.json.")
    pdf_file: bool = Field(True, description="Write referral.pdf.")


class WebhookConfig(InboxModel):
    """A case system that takes referrals by HTTP POST."""

    url: str = Field(
        pattern=r"^https://[^/\s]+/\S*$|^http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/\S*$",
        description="Where to POST. HTTPS, or plain HTTP on this machine only.",
    )
    secret_file: Path = Field(
        description="File (mode 600) with the secret, at least 32 characters, that signs each POST."
    )
    ca_file: Path | None = Field(None, description="CA certificate of the case system; none: the system's own list.")
    timeout: timedelta = Field(timedelta(seconds=10), description="Longest wait for one answer.")
    attempts: int = Field(12, ge=1, le=50, description="After so many failures a person must look; nothing is lost.")
    retry_first: timedelta = Field(
        timedelta(seconds=2), description="Wait before the first retry; it doubles, with jitter."
    )
    retry_longest: timedelta = Field(timedelta(minutes=10), description="Longest wait between two retries.")


class ContactConfig(InboxModel):
    """One named contact of this agency (a post in the directory) who may receive what nobody else here may open."""

    contact: ContactId = Field(description="The contact's id in the directory.")
    key_file: Path = Field(
        description="File (mode 600) with the key that opens this contact's deliveries in the local API."
    )
    folder: FolderConfig | None = Field(None, description="A folder for this contact alone, or none.")


class InboxConfig(InboxModel):
    """Outputs and waits of the receiving half. Durations are ISO 8601 (``PT30S``) or seconds."""

    folder: FolderConfig | None = Field(None, description="A folder for every delivery that names no contact, or none.")
    webhook: WebhookConfig | None = Field(
        None, description="A case system for every delivery that names no contact, or none."
    )
    contacts: tuple[ContactConfig, ...] = Field((), description="Named contacts of this agency.")
    handing_over_opens: bool = Field(
        True, description="Count a delivery as opened when the case system has answered the webhook with success."
    )
    prefetch: int = Field(20, ge=1, le=200, description="How many unacknowledged messages RabbitMQ may hand over.")
    poll: timedelta = Field(timedelta(seconds=1), description="How often outputs and receipts look for work left over.")
    publish_timeout: timedelta = Field(timedelta(seconds=15), description="Longest wait for RabbitMQ's confirm.")
    max_quarantine: int = Field(
        10_000, ge=10, description="Most messages in the local quarantine; when it is full, consuming stops and alarms."
    )

    @model_validator(mode="after")
    def _contacts_are_apart(self) -> Self:
        ids = [c.contact for c in self.contacts]
        keys = [c.key_file for c in self.contacts]
        if len(set(ids)) != len(ids) or len(set(keys)) != len(keys):
            raise RuleBroken("contacts must not share an id or a key file")
        folders = [c.folder.out_folder for c in self.contacts if c.folder]
        folders += [self.folder.out_folder] if self.folder else []
        if len(set(folders)) != len(folders):
            raise RuleBroken("contacts must not share an output folder")
        return self

    def find_contact(self, contact: str) -> ContactConfig | None:
        """Return what is configured for a contact, or none."""
        return next((c for c in self.contacts if c.contact == contact), None)
