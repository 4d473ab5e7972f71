"""What may be asked of a search, and where its next page begins. Everything is bounded, so that no question can be made expensive."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from schemas.canonical import canonical_bytes, sha256_base64url
from schemas.clear_forms import AskedInstant
from schemas.errors import MalformedMessage, RuleBroken
from schemas.validation import name_first_fault

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 50
MAX_CHOICES: Final = 12
"""Values of one filter that may be asked for at once."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:|/+#-]*$")]
"""An id or a code. It has no spaces: nobody's name belongs in a search."""
Words = Annotated[tuple[Word, ...], Field(max_length=MAX_CHOICES)]


class SearchFilter(BaseModel):
    """What to find; members that are empty bound nothing, several values of one member are alternatives. Instants: ``since`` <= at < ``until``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Words = ()
    """Kinds of events (docs/events.md)."""
    agency: Word | None = None
    """An agency that sent or received."""
    kind: Words = ()
    """Kinds of referrals."""
    state: Words = ()
    """Outcome, receipt state, action or code of the event."""
    rule: Words = ()
    """Row of the decision table."""
    id: Word | None = None
    """A referral's, message's or delivery's id."""
    token: Word | None = None
    """A subject's token, ``scheme|pepper id|value``."""
    person: Word | None = None
    """Who acted or looked."""
    since: AskedInstant | None = None
    until: AskedInstant | None = None

    @model_validator(mode="after")
    def _span_is_one(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise RuleBroken("since must be before until")
        return self

    @classmethod
    def read(cls, members: dict[str, Any]) -> Self:
        """Read a filter from a request's members; those that are empty count as absent.

        Raises:
            MalformedMessage: a member is unknown or not of its form; the field is named, never its value.
        """
        try:
            return cls.model_validate(
                {name: value for name, value in members.items() if value not in ("", None, [], ())}
            )
        except ValidationError as error:
            raise MalformedMessage("is not of its form", field=name_first_fault(error)) from None

    def digest(self) -> str:
        """Return a digest of the question, which ties a cursor to it."""
        return sha256_base64url(canonical_bytes(self.model_dump(mode="json", exclude_defaults=True)))

    def bounds_streams(self) -> bool:
        """Tell whether it asks for agency, kind, event, state or rule."""
        return bool(self.event or self.agency or self.kind or self.state or self.rule)

    def is_selective(self) -> bool:
        """Tell whether it asks for one referral, child or person."""
        return self.id is not None or self.token is not None or self.person is not None


class Cursor(BaseModel):
    """Where a page ended: below (``at``, ``position``), in the log as it was at ``as_of``. It gives no right: the caller's scope applies to every page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    micros: Annotated[int, Field(ge=0, lt=2**53)]
    """Microseconds since 1970: canonical JSON has no fractions."""
    position: Annotated[int, Field(ge=0, lt=2**53)]
    as_of: Annotated[int, Field(ge=0, lt=2**53)]
    question: Annotated[str, StringConstraints(min_length=43, max_length=43)]

    @property
    def at(self) -> datetime:
        """The instant at which the page ended."""
        return datetime.fromtimestamp(self.micros // 1_000_000, UTC).replace(microsecond=self.micros % 1_000_000)

    @classmethod
    def after(cls, at: datetime, position: int, *, as_of: int, search: SearchFilter) -> Self:
        """Return the cursor of a page whose last row this was."""
        span = at - _EPOCH
        micros = (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
        return cls(micros=micros, position=position, as_of=as_of, question=search.digest())

    def write(self) -> str:
        """Return the opaque text that a caller hands back."""
        return urlsafe_b64encode(canonical_bytes(self.model_dump())).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, search: SearchFilter) -> Self:
        """Read a cursor that was made for the same question.

        Raises:
            MalformedMessage: it was made for another question, or is none of ours.
        """
        try:
            cursor = cls.model_validate_json(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValidationError, ValueError, binascii.Error):
            raise MalformedMessage("is not a cursor of this search", field="cursor") from None
        if cursor.question != search.digest() or cursor.micros // 1_000_000 > 253_402_300_799:
            raise MalformedMessage("is not a cursor of this search", field="cursor")
        return cursor
