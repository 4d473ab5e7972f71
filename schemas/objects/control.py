"""Control objects: what an agency tells the partnership about itself, signed by its identity keys."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from schemas.clear_forms import AgencyId, Instant, OpaqueId, PersonId, ReasonCode
from schemas.objects.model import SignedModel
from schemas.wire_types import Digest, Uuid7


class EncryptionKeyControl(SignedModel):
    """An agency's short-lived encryption key (``schemas.signed_directory`` makes and reads it)."""

    control: Literal["encryption_key"] = "encryption_key"
    agency: AgencyId
    jwk: dict[str, Any]
    not_before: Instant
    not_after: Instant


class KeyRevokedControl(SignedModel):
    """An agency withdraws one of its encryption keys at once."""

    control: Literal["key_revoked"] = "key_revoked"
    agency: AgencyId
    kid: Digest
    reason_code: ReasonCode
    revoked_at: Instant


class DeletionConfirmedControl(SignedModel):
    """A recipient confirms that it deleted what a recall named."""

    control: Literal["deletion_confirmed"] = "deletion_confirmed"
    agency: AgencyId
    recall_id: OpaqueId
    message_id: Uuid7
    delivery_id: OpaqueId
    deleted_at: Instant
    exceptions_code: ReasonCode | None = None
    """Why something had to be kept (a legal hold), if so."""


class BreakGlassControl(SignedModel):
    """Someone authorised claims immediate danger for a message that is held (FORMATS CH-14)."""

    control: Literal["break_glass"] = "break_glass"
    agency: AgencyId
    message_id: Uuid7
    manifest_digest: Digest
    person: PersonId
    reason_code: ReasonCode
    claimed_at: Instant


Control = EncryptionKeyControl | KeyRevokedControl | DeletionConfirmedControl | BreakGlassControl
ControlAdapter: TypeAdapter[Control] = TypeAdapter(Annotated[Control, Field(discriminator="control")])
