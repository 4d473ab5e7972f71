"""A small, complete referral to seal in tests: two children, eight sections, three deliveries. Every value is invented."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import shake_256
from typing import Any

from schemas.codes import AgeBand, Art6, Compartment, Form, RiskGrade, SubjectType, TellValue
from schemas.envelope import INCIDENT, EnvelopeDraft, ManifestFacts, SectionDraft
from schemas.header import (
    CaseFacts,
    DeliveryRequest,
    LawfulBasis,
    PolicyFacts,
    RiskFacts,
    RoutingHeader,
    SubjectFacts,
    SubjectRouting,
    SubjectToken,
    TellStatus,
)
from schemas.keys import (
    Jwk,
    KeyUse,
    SigningKeys,
    generate_ed25519_jwk,
    generate_encryption_jwk,
    generate_ml_dsa_65_jwk,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SENDER = "police.marchshire"
MESSAGE_ID = "019aaf00-0000-7000-8000-000000000001"
DELIVERIES = {
    "delivery-00000000csc01": "csc.marchshire",
    "delivery-00000000dsl01": "school.one",
    "delivery-00000000gp001": "gp.one",
}
ROLES = {"csc.marchshire": "csc", "school.one": "dsl", "gp.one": "gp"}


class SeededBytes:
    """Random bytes that are the same in every run: SHAKE256 of a seed and a counter."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def __call__(self, count: int, /) -> bytes:
        """Return the next ``count`` bytes."""
        self._count += 1
        return shake_256(self._seed + self._count.to_bytes(8)).digest(count)


def seeded_signing_jwks(name: str, use: KeyUse = KeyUse.SIGNING) -> tuple[Jwk, Jwk]:
    """Return the private pair of ``name``, the same in every run."""
    rng = SeededBytes(f"signing {name} {use.value}")
    return generate_ed25519_jwk(use, seed=rng(32)), generate_ml_dsa_65_jwk(use, seed=rng(32))


def seeded_signer(name: str) -> SigningKeys:
    """Return the signing keys of ``name``, the same in every run."""
    return SigningKeys.from_jwks(*seeded_signing_jwks(name))


def seeded_encryption_jwk(name: str) -> Jwk:
    """Return the private encryption key of ``name``, the same in every run."""
    return generate_encryption_jwk(seed=SeededBytes(f"encryption {name}")(32))


@dataclass(frozen=True)
class Sample:
    """A draft with the keys of everyone concerned."""

    draft: EnvelopeDraft
    signer: SigningKeys
    encryption: dict[str, Jwk]
    """Delivery id to the recipient's private encryption key."""


def build_header() -> RoutingHeader:
    """Return a header with two children and three requested deliveries."""
    return RoutingHeader(
        case=CaseFacts(
            kind="CP_S47",
            area="E06000001",
        ),
        risk=RiskFacts(grade=RiskGrade.HIGH, tool="dash", assessed_at=NOW - timedelta(hours=1)),
        lawful_basis=LawfulBasis(art6=Art6.LEGAL_OBLIGATION, provision="CA 2004 s.16LA"),
        policy=PolicyFacts(tell_status=TellStatus(value=TellValue.TELL), compartments=tuple(Compartment)),
        subjects=(
            SubjectFacts(subject_id="subject-0000000000aaaa", type=SubjectType.PERSON, age_band=AgeBand.TEN_TO_12),
            SubjectFacts(subject_id="subject-0000000000bbbb", type=SubjectType.PERSON, age_band=AgeBand.UNDER_5),
        ),
        routing=(
            SubjectRouting(
                subject_id="subject-0000000000aaaa",
                tied_agencies=("school.one",),
                tokens=(SubjectToken(scheme="nhs", pepper_id="p1", value="70ce" * 16),),
            ),
            SubjectRouting(subject_id="subject-0000000000bbbb"),
        ),
        deliveries=tuple(
            DeliveryRequest(delivery_id=delivery_id, agency=agency, role=ROLES[agency], purpose="safeguard_child")
            for delivery_id, agency in DELIVERIES.items()
        ),
        flags=("voice_absent",),
    )


def build_sections(size: int = 400) -> list[SectionDraft]:
    """Return eight sections of about ``size`` bytes of content each."""
    plan = [
        ("section-00000000000001", Compartment.C01, "subject-0000000000aaaa", Form.FULL),
        ("section-00000000000002", Compartment.C01, "subject-0000000000bbbb", Form.FULL),
        ("section-00000000000003", Compartment.C04, INCIDENT, Form.FULL),
        ("section-00000000000004", Compartment.C04, INCIDENT, Form.SUMMARY),
        ("section-00000000000005", Compartment.C05, INCIDENT, Form.FULL),
        ("section-00000000000006", Compartment.C08, "subject-0000000000aaaa", Form.FULL),
        ("section-00000000000007", Compartment.C12, "subject-0000000000bbbb", Form.FULL),
        ("section-00000000000008", Compartment.C14, "subject-0000000000aaaa", Form.FULL),
    ]
    return [
        SectionDraft(section_id, compartment, subject, form, {"text": f"invented {section_id} ".ljust(size, "x")})
        for section_id, compartment, subject, form in plan
    ]


def build_sample(**facts: Any) -> Sample:
    """Return a draft, ready to seal. ``facts`` replace manifest facts. The section of C12 is held: in no grant."""
    base: dict[str, Any] = {
        "message_id": MESSAGE_ID,
        "referral_id": "referral-0000000000001",
        "sender": SENDER,
        "issued_at": NOW,
        "expires_at": NOW + timedelta(days=7),
        "conversation": "conversation-000000001",
    }
    grants = {
        "delivery-00000000csc01": [f"section-{n:014}" for n in (1, 2, 3, 5, 6, 8)],
        "delivery-00000000dsl01": [
            "section-00000000000001",
            "section-00000000000004",
            "section-00000000000006",
            "section-00000000000008",
        ],
        "delivery-00000000gp001": ["section-00000000000001", "section-00000000000004", "section-00000000000008"],
    }
    return Sample(
        draft=EnvelopeDraft(ManifestFacts(**(base | facts)), build_header(), build_sections(), grants),
        signer=seeded_signer(SENDER),
        encryption={delivery_id: seeded_encryption_jwk(agency) for delivery_id, agency in DELIVERIES.items()},
    )
