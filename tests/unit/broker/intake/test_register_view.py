"""What a decision sees of the registers: a claim of danger counts for the delivery of whoever made it, and for every one if the sender did."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from broker.intake import register_view
from deploy.authority.partnership import load_partnership
from schemas.codes import Compartment, SubjectType, TellValue
from schemas.directory import Directory
from schemas.header import (
    CaseFacts,
    DeliveryRequest,
    LawfulBasis,
    PolicyFacts,
    RoutingHeader,
    SubjectFacts,
    SubjectRouting,
    TellStatus,
)
from tests.support.gateways import SAMPLES

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MESSAGE = UUID("0193c0de-0000-7000-8000-000000000001")
POLICE, CSC, HEALTH = "police.marchshire", "csc.marchshire", "health.marchshire"


def make_header() -> RoutingHeader:
    return RoutingHeader(
        case=CaseFacts(kind="CP_S47", area="E10999001"),
        lawful_basis=LawfulBasis(art6="c"),
        policy=PolicyFacts(tell_status=TellStatus(value=TellValue.TELL), compartments=(Compartment.C01,)),
        subjects=(SubjectFacts(subject_id="subject-000000000child", type=SubjectType.PERSON),),
        routing=(SubjectRouting(subject_id="subject-000000000child"),),
        deliveries=tuple(
            DeliveryRequest(delivery_id=f"delivery-{n:013}", agency=agency, role="csc", purpose="safeguard_child")
            for n, agency in enumerate((CSC, HEALTH))
        ),
    )


def make_claim(agency: str, hours: int) -> dict[str, Any]:
    return {
        "agency": agency,
        "person": f"person-of-{agency}",
        "reason_code": "danger_now",
        "claimed_at": NOW - timedelta(hours=hours),
    }


@pytest.mark.parametrize(
    ("recipient", "claims", "by"),
    [
        (CSC, [make_claim(HEALTH, 1)], None),
        (CSC, [make_claim(CSC, 2), make_claim(HEALTH, 1)], CSC),
        (HEALTH, [make_claim(CSC, 2), make_claim(HEALTH, 1)], HEALTH),
        (CSC, [make_claim(POLICE, 2), make_claim(HEALTH, 1)], POLICE),
        (HEALTH, [make_claim(HEALTH, 2), make_claim(POLICE, 1)], POLICE),
        (None, [make_claim(HEALTH, 1)], None),
    ],
)
async def test_a_claim_counts_for_its_own_delivery_unless_it_is_the_senders(
    recipient: str | None, claims: list[dict[str, Any]], by: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_none(*_: Any) -> list[Any]:
        return []

    async def find_claims(*_: Any) -> list[Any]:
        return claims

    for name, answer in {
        "list_consents": find_none,
        "list_approvals": find_none,
        "list_claims": find_claims,
        "find_used": find_none,
    }.items():
        monkeypatch.setattr(register_view.register_store, name, answer)
    partnership = load_partnership(SAMPLES / "partnership.yaml")
    directory = Directory(
        version=1,
        issued_at=NOW,
        expires_at=NOW + timedelta(days=1),
        partnership=partnership.partnership,
        agencies=partnership.agencies,
    )
    seen = await register_view.read_registers(
        None,  # type: ignore[arg-type]
        make_header(),
        directory,
        sender=POLICE,
        recipient=recipient,
        conversation="conversation-000000001",
        message_id=MESSAGE,
        now=NOW,
    )
    assert (seen.break_glass.by if seen.break_glass else None) == (f"person-of-{by}" if by else None)
