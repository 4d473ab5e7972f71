"""Ethnicity records, code sets and the crosswalk with match quality (DOMAIN section 3, FORMATS CH-21).

A record keeps what was said, in the scheme in which it was said, and by whom. A crosswalk never replaces it: it offers a code of another
scheme and says how well it fits; an ambiguous match is not populated. Officer-perceived codes and free text are never mapped.
"""

from enum import StrEnum
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from schemas.errors import Rejected
from schemas.ethnicity_codes import CROSSWALK, POLICE_IC, POLICE_NS_REASONS, SUBCODE_CROSSWALK


class EthnicityScheme(StrEnum):
    """Code sets that a source may use. ``police-ic`` and ``free_text`` are kept and never mapped."""

    POLICE_18_1 = "police-18+1"
    POLICE_16_1 = "police-16+1"
    NHS = "nhs-ethnic-category"
    DFE = "dfe"
    POLICE_IC = "police-ic"
    FREE_TEXT = "free_text"


class DefinedBy(StrEnum):
    """Who said it: only ``self`` is self-definition; a parent's word is recorded apart."""

    SELF = "self"
    PARENT_CARER = "parent_carer"
    PRACTITIONER_OBSERVED = "practitioner_observed"


class MatchQuality(StrEnum):
    """How a target code fits the source; ``broader``: the target says less than the source (FORMATS CH-21)."""

    EXACT = "exact"
    BROADER = "broader"
    NARROWER = "narrower"
    AMBIGUOUS = "ambiguous"
    NONE = "none"


class CrosswalkMatch(BaseModel):
    """A code of a target scheme, none where the match is ambiguous or there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    code: str | None = None
    match: MatchQuality = MatchQuality.NONE


class EthnicityRecord(BaseModel):
    """What one agency recorded of one person. ``reason_absent`` says why there is no self-defined code."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source_value: str | None = None
    scheme: EthnicityScheme | None = None
    sub_code: str | None = None
    defined_by: DefinedBy | None = None
    recorded_at: AwareDatetime | None = None
    reason_absent: str | None = None
    heritage: str | None = None
    nhs: CrosswalkMatch = CrosswalkMatch()
    dfe: CrosswalkMatch = CrosswalkMatch()

    def with_crosswalk(self, ns_reason: str | None = None) -> Self:
        """Return the record with its matches in the NHS and DfE schemes filled in."""
        return self.model_copy(
            update={
                "nhs": find_match(self.scheme, self.source_value, EthnicityScheme.NHS, self.sub_code, ns_reason),
                "dfe": find_match(self.scheme, self.source_value, EthnicityScheme.DFE, self.sub_code, ns_reason),
            }
        )


def parse_ethnic_code(scheme: EthnicityScheme, value: str, *, local_w4: bool = False, field: str | None = None) -> str:
    """Return the code in its canonical form.

    Args:
        scheme: the code set.
        value: the code as written.
        local_w4: whether the partnership has switched on the local code W4 (DOMAIN section 3: off by default).
        field: path of the field, for the error.

    Raises:
        Rejected: the scheme has no such code.
    """
    code = value.strip().upper()
    known = POLICE_IC if scheme is EthnicityScheme.POLICE_IC else CROSSWALK.get(scheme.value, {})
    if (
        code not in known or "/" in code or (code == "W4" and not local_w4)
    ):  # a slash joins NS and its reason in the data
        raise Rejected(f"no such code in the scheme {scheme.value}", field=field)
    return code


def find_match(
    scheme: EthnicityScheme | None,
    code: str | None,
    target: EthnicityScheme,
    sub_code: str | None = None,
    ns_reason: str | None = None,
) -> CrosswalkMatch:
    """Return the code of ``target`` for a source code, with the quality of the match.

    Args:
        scheme: the source's code set, or none when nothing was recorded.
        code: the source code.
        target: ``nhs-ethnic-category`` or ``dfe``.
        sub_code: local detail beside the code (``ROMA``).
        ns_reason: police reason N1 to N4 beside NS; N4 means declined, the others not asked.
    """
    if scheme is None or code is None or scheme in {EthnicityScheme.POLICE_IC, EthnicityScheme.FREE_TEXT}:
        return CrosswalkMatch()
    key = code
    if code == "NS" and ns_reason is not None:
        key = f"NS/{ns_reason}"
    if scheme is target:
        return CrosswalkMatch(code=code, match=MatchQuality.EXACT)
    with_sub = SUBCODE_CROSSWALK.get((scheme.value, code, (sub_code or "").upper()))
    row = with_sub or CROSSWALK.get(scheme.value, {}).get(key)
    if row is None:
        return CrosswalkMatch()
    found, quality = row.nhs if target is EthnicityScheme.NHS else row.dfe
    return CrosswalkMatch(code=found, match=MatchQuality(quality))


def name_ns_reason(reason: str | None) -> str:
    """Return why a police NS was recorded, in words that are a code (``declined``, ``disorder`` …)."""
    return POLICE_NS_REASONS.get(reason or "", "ns_reason_not_given")
