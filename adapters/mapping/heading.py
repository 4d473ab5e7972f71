"""Drafting the routing header: what the hub may read of a referral, in codes, ids and instants (DESIGN, Routing header)."""

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Callable, Mapping

from pydantic import TypeAdapter

from adapters.mapping.addressing import make_clear
from adapters.mapping.defaults import load_defaults
from schemas.clear_codes import DisclosureScheme, RiskTool
from schemas.clear_forms import DisclosureSchemeCode, StaffNumber, ToolVersion, fit
from schemas.directory import Directory
from schemas.header import (
    CaseFacts,
    DeliveryRequest,
    DisclosureToken,
    PolicyFacts,
    RiskFacts,
    RoutingHeader,
    SubjectFacts,
    SubjectRouting,
    SubjectToken,
)
from schemas.referral import Referral, StatedRisk, StatedToken, Subject

_ID_BYTES = 16
_TOOL_VERSION: TypeAdapter[str] = TypeAdapter(ToolVersion)
_DISCLOSURE_SCHEME: TypeAdapter[str] = TypeAdapter(DisclosureSchemeCode)
_STAFF_NUMBER: TypeAdapter[str] = TypeAdapter(StaffNumber)


def make_opaque_id() -> str:
    """Return a random id that says nothing."""
    return secrets.token_urlsafe(_ID_BYTES)


def draft_header(
    referral: Referral,
    directory: Directory,
    subject_ids: Mapping[str, str],
    pepper: bytes,
    *,
    pepper_id: str = "p1",
    make_id: Callable[[], str] = make_opaque_id,
) -> RoutingHeader:
    """Return the routing header, with no section granted to any delivery yet.

    Args:
        referral: the referral.
        directory: the signed directory; ties to agencies that it has since revoked are left out.
        subject_ids: opaque id of each subject, by the record system's reference.
        pepper: the partnership's pepper, which the hub lacks.
        pepper_id: names the pepper.
        make_id: makes delivery ids.

    Returns:
        The header; one delivery for each distinct agency, role, purpose and contact.
    """
    return RoutingHeader(
        case=CaseFacts(
            kind=referral.kind,
            original_kind=referral.original_kind,
            missing_event=referral.missing_event,
            area=referral.area,
            reported_at=referral.reported_at,
        ),
        risk=_draft_risk(referral.risk),
        lawful_basis=referral.lawful_basis,
        policy=_draft_policy(referral, pepper),
        subjects=tuple(
            SubjectFacts(subject_id=subject_ids[s.ref], type=s.type, age_band=s.age_band) for s in referral.subjects
        ),
        routing=tuple(
            SubjectRouting(
                subject_id=subject_ids[s.ref],
                tied_agencies=tuple(a for a in s.tied_agencies if _is_current(directory, a)),
                tokens=_make_tokens(s, pepper, pepper_id),
            )
            for s in referral.subjects
        ),
        deliveries=_draft_deliveries(referral, make_id),
        flags=referral.quality_flags,
    )


def make_token(pepper: bytes, scheme: str, value: str) -> str:
    """Return the hexadecimal HMAC-SHA256 of ``scheme:value`` in one Unicode form (NFKC, case folded)."""
    text = unicodedata.normalize("NFKC", f"{scheme}:{value}").casefold()
    return hmac.new(pepper, text.encode("utf-8"), hashlib.sha256).hexdigest()


def digest_native_ref(pepper: bytes, sender: str, native_ref: str) -> str:
    """Return the digest under which a sender can ask for its own reference (``PolicyFacts.native_ref_digest``)."""
    return make_token(pepper, "native_ref", f"{sender}|{native_ref}")


def _draft_risk(risk: StatedRisk) -> RiskFacts:
    """Return the risk with the tool as a code of the list: its own name is in C05."""
    tools = load_defaults().risk_tools
    tool = tools.get(risk.tool.casefold(), RiskTool.LOCAL.value) if risk.tool is not None else None
    return RiskFacts(
        grade=risk.grade,
        immediate_danger=risk.immediate_danger,
        tool=tool,
        tool_version=fit(_TOOL_VERSION, risk.tool_version),
        assessed_at=risk.assessed_at,
        next_review_due_at=risk.next_review_due_at,
    )


def _draft_token(token: StatedToken, pepper: bytes) -> DisclosureToken:
    """Return the token with its reference as a digest: the same reference gives the same digest, so that it serves one matter once."""
    return DisclosureToken(
        scheme=fit(_DISCLOSURE_SCHEME, token.scheme) or DisclosureScheme.OTHER.value,
        ref=make_token(pepper, "disclosure", f"{token.scheme}|{token.ref}"),
        recipient=make_clear(token.recipient),
        expires_at=token.expires_at,
        authorised_by=fit(_STAFF_NUMBER, token.authorised_by),
    )


def _draft_policy(referral: Referral, pepper: bytes) -> PolicyFacts:
    relates_to, occurrence = referral.relates_to, referral.occurrence_ref
    return PolicyFacts(
        consent=referral.consent.facts,
        tell_status=referral.tell_status.facts,
        compartments=referral.compartments,
        embargo=referral.embargo.facts if referral.embargo is not None else None,
        conflicts=referral.conflicts,
        tokens=tuple(_draft_token(one, pepper) for one in referral.tokens),
        bars=referral.bars,
        clinical_confidence=referral.clinical_confidence,
        break_glass=referral.break_glass,
        detriment=referral.detriment,
        statutory_task=referral.statutory_task,
        clocks=referral.clocks,
        native_ref_digest=digest_native_ref(pepper, referral.sender, referral.native_ref),
        corrects_ref_digest=digest_native_ref(pepper, referral.sender, relates_to) if relates_to else None,
        occurrence_token=make_token(pepper, "occurrence", f"{referral.sender}|{occurrence}") if occurrence else None,
    )


def _draft_deliveries(referral: Referral, make_id: Callable[[], str]) -> tuple[DeliveryRequest, ...]:
    distinct = dict.fromkeys(
        (make_clear(entry.agency), entry.role, entry.purpose, entry.contact) for entry in referral.circulation
    )
    return tuple(
        DeliveryRequest(
            delivery_id=make_id(),
            agency=agency,
            role=role,
            purpose=purpose,
            contact=contact,
        )
        for agency, role, purpose, contact in distinct
    )


def _make_tokens(subject: Subject, pepper: bytes, pepper_id: str) -> tuple[SubjectToken, ...]:
    return tuple(
        SubjectToken(scheme=one.scheme, pepper_id=pepper_id, value=make_token(pepper, one.scheme, one.value))
        for one in subject.identifiers
    )


def _is_current(directory: Directory, agency_id: str) -> bool:
    agency = directory.find_agency(agency_id)
    return agency is not None and agency.revoked_at is None
