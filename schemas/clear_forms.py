"""Forms of the strings that travel or are logged in clear: codes of closed lists, digests, ids of fixed form. None has room for a name.

Three forms cannot be closed, because an older hub has to read what it does not know yet, or because only the directory knows the value:

* ``KindCode``: an unknown kind parses, so that policy can hold it (D12);
* ``AgencyId`` and ``ContactId``: ``schemas.clear_ids`` checks them against the directory;
* ``PersonId``: a staff number, or an id of a person in the directory, checked likewise.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints, TypeAdapter, ValidationError

from schemas.clear_codes import (
    ACTS,
    ConsentMethod,
    CourtBar,
    DisclosureScheme,
    MissingEvent,
    Purpose,
    QualityFlag,
    Reason,
    ResponsibilityEvidence,
    RiskTool,
    Role,
    TokenScheme,
)
from schemas.errors import RuleBroken


def _require_written(form: re.Pattern[str]) -> BeforeValidator:
    """Return a check that a moment is written out: a number would be read as seconds since 1970, and ten digits are an NHS number too."""

    def check(value: Any) -> Any:
        if isinstance(value, int | float) or (isinstance(value, str) and form.fullmatch(value) is None):
            raise RuleBroken("must be written as RFC 3339 says")
        return value

    return BeforeValidator(check)


_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
Instant = Annotated[AwareDatetime, _require_written(_INSTANT)]
"""An instant with its offset (RFC 3339)."""
AskedInstant = Annotated[AwareDatetime, Field(ge=datetime(1900, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]
"""An instant in a question or form, far enough from the ends of the calendar that it can be written in any zone."""
Day = Annotated[date, _require_written(_DAY)]


def fit(form: TypeAdapter[str], text: str | None) -> str | None:
    """Return a text if it is of a clear form, else none: what does not fit stays in sealed sections."""
    if text is None:
        return None
    try:
        return form.validate_python(text, strict=True)
    except ValidationError:
        return None


def _one_of(codes: type[StrEnum] | Iterable[str], *forms: str) -> str:
    """Return the pattern of a closed list, and of further fixed ``forms``."""
    listed = [code.replace(".", r"\.") for code in codes]
    return f"^(?:{'|'.join([*sorted(listed), *forms])})$"


_LOCAL = r"local_[0-9]{2}"
_PROVISION = rf"(?:{'|'.join(ACTS)}) s\.[0-9]{{1,3}}[A-Z]{{0,2}}"
_DIRECTORY_ID = r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*"
STAFF_NUMBER = r"(?:[A-Za-z]{1,4}-?[0-9]{1,7}|[0-9]{1,5})"

KindCode = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*$", max_length=32)]
"""A referral kind. One that is in no list parses, and is held (FORMATS CH-4)."""
MissingEventCode = Annotated[str, StringConstraints(pattern=_one_of(MissingEvent))]
RoleCode = Annotated[str, StringConstraints(pattern=_one_of(Role, _LOCAL))]
PurposeCode = Annotated[str, StringConstraints(pattern=_one_of(Purpose, _LOCAL))]
ReasonCode = Annotated[str, StringConstraints(pattern=_one_of(Reason))]
RiskToolCode = Annotated[str, StringConstraints(pattern=_one_of(RiskTool))]
FlagCode = Annotated[str, StringConstraints(pattern=_one_of(QualityFlag))]
MethodCode = Annotated[str, StringConstraints(pattern=_one_of(ConsentMethod))]
TokenSchemeCode = Annotated[str, StringConstraints(pattern=_one_of(TokenScheme))]
DisclosureSchemeCode = Annotated[str, StringConstraints(pattern=_one_of(DisclosureScheme))]

Provision = Annotated[str, StringConstraints(pattern=f"^{_PROVISION}$")]
"""An Act and a section, as practitioners write it: ``CA 1989 s.47``."""
StatutoryTask = Annotated[str, StringConstraints(pattern=f"^(?:{_PROVISION}|stated)$")]
"""The provision that a request names, or that one is stated: the words are in C15."""
LawCode = Annotated[str, StringConstraints(pattern=_one_of(CourtBar, _PROVISION))]
Art9Code = Annotated[
    str, StringConstraints(pattern=r"^9\(2\)\([a-j]\)(?: \+ DPA 2018 Sch 1 para [0-9]{1,2}[A-Z]?)?$", max_length=40)
]
"""A condition of UK GDPR Article 9(2), with that of DPA 2018 Schedule 1 where one is needed."""

ToolVersion = Annotated[str, StringConstraints(pattern=r"^(?:[0-9]{1,2}(?:\.[0-9]{1,2})?|(?:19|20)[0-9]{2})$")]
"""``3``, ``2.1``, or a year."""
WordingVersion = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,4}(?:-[A-Z]{2,4})?-[0-9]{1,3}[a-z]{0,3}$")]
"""A form's number, as printed on it: ``MC-CON-4en``."""
EvidenceCode = Annotated[str, StringConstraints(pattern=_one_of(ResponsibilityEvidence))]
PepperId = Annotated[str, StringConstraints(pattern=r"^p(?:epper-)?[0-9]{1,4}$")]
GssCode = Annotated[str, StringConstraints(pattern=r"^[EWSN][0-9]{8}$")]
"""An area's code of the Government Statistical Service."""

TokenDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""An HMAC-SHA256 under the partnership's pepper, hexadecimal."""
OpaqueId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}$")]
"""128 random bits as 22 characters of base64url: it says nothing of what it names."""
SubjectRef = Annotated[str, StringConstraints(pattern=r"^(?:incident|[A-Za-z0-9_-]{22})$")]
"""A subject's id, or the incident as a whole."""
EnrolmentId = Annotated[str, StringConstraints(pattern=r"^enr_[A-Za-z0-9_-]{10,16}$")]
TokenRef = Annotated[str, StringConstraints(pattern=r"^(?:[0-9a-f]{64}|[A-Za-z0-9_-]{22})$")]
"""A disclosure's reference as a digest, or the id of the approval that it is."""

_SCHEMES = "charity_number|code|gss|la_number|laestab|ods|ofsted_urn|police_force_code|urn"
_UNRESOLVED = (
    r"unresolved:(?:urn:[0-9]{6}|ods:[A-Z]{0,4}[0-9][A-Z0-9]{0,7}|gss:[EWSN][0-9]{8}|la_number:[0-9]{3}"
    rf"|police_force_code:[0-9]{{2}}|charity_number:[0-9]{{6,8}}|(?:{_SCHEMES}):[0-9a-f]{{16}})"
)
AgencyId = Annotated[str, StringConstraints(pattern=f"^(?:{_DIRECTORY_ID}|{_UNRESOLVED})$", max_length=80)]
"""An agency of the directory; or somebody whom it does not know, by an identifier of fixed form or by a digest of what the record says."""
ContactId = Annotated[str, StringConstraints(pattern=f"^{_DIRECTORY_ID}$", max_length=60)]
NamedContact = Annotated[str, StringConstraints(pattern=f"^{_DIRECTORY_ID}#{_DIRECTORY_ID}$", max_length=140)]
"""``agency#contact``."""
StaffNumber = Annotated[str, StringConstraints(pattern=f"^(?:{STAFF_NUMBER})$")]
PersonId = Annotated[str, StringConstraints(pattern=f"^(?:{STAFF_NUMBER}|{_DIRECTORY_ID})$", max_length=60)]
"""A staff number, or the id of a person or contact in the directory: never a name."""
