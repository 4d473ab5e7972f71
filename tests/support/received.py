"""A received referral to show: invented people, every form, two children, three scripts."""

from datetime import UTC, datetime
from typing import Any

from adapters.gateway.incoming.received import Deadline, DeskContact, ReceivedReferral, ReceivedSection
from schemas.header import CaseFacts, RiskFacts, SubjectFacts

FIRST_CHILD = "subject-0000000000aaaa"
SECOND_CHILD = "subject-0000000000bbbb"


def make_section(compartment: str, subject: str, form: str, content: Any) -> ReceivedSection:
    return ReceivedSection(
        section_id=f"sec-{compartment}-{subject}",
        compartment=compartment,  # type: ignore[arg-type]
        subject=subject,
        form=form,  # type: ignore[arg-type]
        media_type="application/json",
        content=content,
    )


def make_received(**changes: Any) -> ReceivedReferral:
    """Return the sample with ``changes`` made to its members."""
    referral = ReceivedReferral(
        delivery_id="delivery-8fk2Lq0aT1aaa",
        message_id="0193a5b0-7c11-7aaa-8bbb-111122223333",
        referral_id="referral-Xk29sLq0aaaaa",
        revision=1,
        manifest_digest="uGx8x0n2P0y3Vq",
        sender="police.marchshire",
        sender_name="Marchshire Constabulary, Safeguarding Hub",
        sender_contacts=(DeskContact(post="Safeguarding hub sergeant", name="Sgt Sample", phone="01632 960110"),),
        recipient="csc.marchshire",
        recipient_name="Marchshire County Council, Children's Social Care (MASH)",
        role="csc",
        purpose="safeguard_child",
        case=CaseFacts(
            kind="CP_S47",
            area="E10999001",
        ),
        risk=RiskFacts(
            grade="high",  # type: ignore[arg-type]
            immediate_danger=True,
            tool="local",
            assessed_at=datetime(2026, 11, 16, 21, 15, tzinfo=UTC),
            next_review_due_at=datetime(2026, 11, 17, 21, 15, tzinfo=UTC),
        ),
        area_name="Marchshire",
        subjects=(
            SubjectFacts(subject_id=FIRST_CHILD, type="person", age_band="10-12"),  # type: ignore[arg-type]
            SubjectFacts(subject_id=SECOND_CHILD, type="person", age_band="5-9"),  # type: ignore[arg-type]
        ),
        issued_at=datetime(2026, 11, 16, 22, 32, tzinfo=UTC),
        received_at=datetime(2026, 11, 16, 22, 33, tzinfo=UTC),
        deadlines=(Deadline(clock="la_acknowledgement", due_at=datetime(2026, 11, 17, 17, tzinfo=UTC)),),
        decision={"reason": "Mandatory notification or section 47 assistance."},
        sections=(
            make_section(
                "C01", FIRST_CHILD, "full", {"surname": "Sampleford", "forenames": "Siân", "born": "2015-03-14"}
            ),
            make_section("C01", SECOND_CHILD, "full", {"surname": "Żółć-Sample", "forenames": "محمد"}),
            make_section("C04", "incident", "full", {"account": "A plate was thrown. " * 60}),
            make_section("C05", "incident", "summary", {"grade": "high"}),
            make_section("C06", FIRST_CHILD, "full", [{"label": "said", "text": "It was a big smash."}]),
            make_section("C14", FIRST_CHILD, "full", {"safe_contact": "Ring the aunt"}),
            make_section("C16", "incident", "pointer", {"held_by": "police.marchshire"}),
        ),
    )
    return referral.model_copy(update=changes)
