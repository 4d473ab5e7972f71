"""The event that decides a delivery: logged by the hub as a salted leaf, carried to the recipient with its proof.

It commits to manifest digest, delivery, key id and every section's outcome, and names only what was released: outcomes of the rest are behind a
commitment of their own, so that a recipient does not learn that there is a rest.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.canonical import canonical_bytes, parse_object, sha256_base64url
from schemas.clear_forms import AgencyId, ContactId, Instant, OpaqueId, PurposeCode, RoleCode
from schemas.codes import DeliveryOutcome
from schemas.errors import MalformedMessage, RuleBroken
from schemas.validation import name_first_fault
from schemas.wire_types import Digest, Uuid7

MAX_EVENT_BYTES = 65_536


class DecidedEvent(BaseModel):
    """One delivery's decision as its recipient may see it. ``rest`` commits to what else was decided (``commit_rest``).

    ``row`` and ``authority`` are empty where they would tell a fact that the recipient may not have; ``inputs_digest`` is salted (``commit_inputs``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Literal["decided"] = "decided"
    version: Literal[1] = 1
    at: Instant
    message_id: Uuid7
    referral_id: OpaqueId
    revision: Annotated[int, Field(ge=1)]
    manifest_digest: Digest
    sender: AgencyId
    delivery_id: OpaqueId
    recipient: AgencyId
    role: RoleCode
    purpose: PurposeCode
    contact: ContactId | None = None
    keyring_kid: Digest | None = None
    outcome: DeliveryOutcome
    row: str
    reason: str = ""
    authority: str = ""
    agreement: str | None = None
    released: tuple[OpaqueId, ...] = ()
    rest: Digest
    policy_digest: str
    inputs_digest: str

    @model_validator(mode="after")
    def _released_is_a_sorted_set(self) -> Self:
        if list(self.released) != sorted(set(self.released)):
            raise RuleBroken("released sections must be sorted and distinct")
        return self

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that are salted, logged and delivered."""
        return canonical_bytes(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read an event.

        Raises:
            MalformedMessage: it is not a decided event.
            TooLarge: it is over ``MAX_EVENT_BYTES``.
        """
        try:
            return cls.model_validate(parse_object(data, max_bytes=MAX_EVENT_BYTES, max_depth=4, field="event"))
        except ValidationError as error:
            where = name_first_fault(error)
            raise MalformedMessage("is not of its form", field=f"event.{where}") from None


class DecidedMembers(TypedDict):
    """The members of a decided event that its writer fills in: as in ``DecidedEvent``."""

    at: datetime
    message_id: str
    referral_id: str
    revision: int
    manifest_digest: str
    sender: str
    delivery_id: str
    recipient: str
    role: str
    purpose: str
    contact: str | None
    keyring_kid: str | None
    outcome: DeliveryOutcome
    row: str
    reason: str
    authority: str
    agreement: str | None
    released: tuple[str, ...]
    rest: str
    policy_digest: str
    inputs_digest: str


def write_decided(members: DecidedMembers) -> bytes:
    """Return ``DecidedEvent(**members).to_bytes()`` without validating what the hub itself has just put together of validated parts.

    ``at`` must be UTC, ``released`` sorted and distinct.
    """
    written = {**members, "event": "decided", "version": 1, "at": members["at"].isoformat().replace("+00:00", "Z")}
    return canonical_bytes(written)


def commit_rest(outcomes: Mapping[str, str], salt: bytes) -> str:
    """Return the commitment to outcomes that the recipient may not see: section or compartment to outcome, under a 32-byte salt of its own."""
    return sha256_base64url(salt + canonical_bytes(dict(outcomes)))


def commit_inputs(inputs_digest: str, salt: bytes) -> str:
    """Return the commitment to a decision's inputs, under the salt of ``commit_rest``.

    The digest itself would let a recipient try out grades, compartments and embargoes until one fits: there are few of them.
    """
    return sha256_base64url(salt + b"inputs" + inputs_digest.encode("ascii"))
