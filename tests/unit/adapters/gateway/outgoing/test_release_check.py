"""What a sender's gateway gives keys for: only what a named person approved and the signed matrix allows, whatever the hub asks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.outgoing.release_check import ReleaseNotProven, SentDelivery, check_sections, verify_grounds
from deploy.authority.partnership import load_partnership
from schemas.canonical import parse_object
from schemas.codes import Compartment, Form, SubjectType, TellValue
from schemas.directory import Directory, MatrixRow, Person
from schemas.envelope import INCIDENT, SectionDescriptor
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
from schemas.keys import KeyUse, SigningKeys, public_part
from schemas.objects import sign_object
from schemas.objects.approval import Approval
from schemas.objects.control import BreakGlassControl
from tests.support.gateways import SAMPLES

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICE, CSC, SCHOOL, GONE = "police.marchshire", "csc.marchshire", "school.oakfield", "education.marchshire"
MANIFEST = "m" * 43
MESSAGE = "0193c0de-0000-7000-8000-000000000001"
CHILD, SIBLING = "subject-000000000child", "subject-0000000sibling"


def make_person(name: str, agency: str, roles: tuple[str, ...] = ("approver",)) -> tuple[SigningKeys, Person]:
    signer, pair = SigningKeys.generate(KeyUse.APPROVAL)
    return signer, Person(id=name, agency=agency, roles=roles, keys=tuple(public_part(jwk) for jwk in pair))


ANN, ANN_ENTRY = make_person("ann.lee", POLICE)
BOB, BOB_ENTRY = make_person("bob.lee", POLICE)
EVE, EVE_ENTRY = make_person("eve.lee", CSC)
GIL, GIL_ENTRY = make_person("gil.lee", SCHOOL)
KIM, KIM_ENTRY = make_person("kim.lee", SCHOOL, ("approver", "partnership_approver"))
LOU, LOU_ENTRY = make_person("lou.lee", GONE, ("approver", "partnership_approver"))
JOE, JOE_ENTRY = make_person("joe.lee", POLICE, ("clerk",))
AGENCY_KEYS, _ = SigningKeys.generate(KeyUse.SIGNING)


def make_directory(**local_policy: Any) -> VerifiedDirectory:
    partnership = load_partnership(SAMPLES / "partnership.yaml")
    cells = {"C01": "F", "C04": "S", "C10": "A", "C12": "A", "C07": "-"}
    directory = Directory(
        version=1,
        issued_at=NOW - timedelta(days=1),
        expires_at=NOW + timedelta(days=10),
        partnership=partnership.partnership,
        agencies=tuple(
            a.model_copy(update={"enrolled_at": NOW - timedelta(days=9), "revoked_at": NOW if a.id == GONE else None})
            for a in partnership.agencies
        ),
        people=(ANN_ENTRY, BOB_ENTRY, EVE_ENTRY, GIL_ENTRY, JOE_ENTRY, KIM_ENTRY, LOU_ENTRY),
        local_policy=dict(partnership.local_policy) | local_policy,
        matrix=tuple(MatrixRow(kind="CP_S47", role=role, cells=cells) for role in ("csc", "dsl")),
    )
    return VerifiedDirectory(directory, "d" * 43, dict.fromkeys((POLICE, SCHOOL), (AGENCY_KEYS.public,)), {})


def make_sent(agency: str = CSC, role: str = "csc") -> SentDelivery:
    def section(name: str, compartment: Compartment, form: Form, subject: str = INCIDENT) -> SectionDescriptor:
        return SectionDescriptor(
            section_id=name,
            compartment=compartment,
            subject=subject,
            form=form,
            media_type="application/json",
            ciphertext_sha256="c" * 43,
            content_sha256="p" * 43,
        )

    sections = [
        section("section-00000000000c10", Compartment.C10, Form.FULL),
        section("section-0000000000c04f", Compartment.C04, Form.FULL),
        section("section-0000000000c04s", Compartment.C04, Form.SUMMARY),
        section("section-00000000000c07", Compartment.C07, Form.SUMMARY),
        section("section-00000000000sib", Compartment.C01, Form.FULL, SIBLING),
        section("section-00000000000own", Compartment.C01, Form.FULL, CHILD),
    ]
    request = DeliveryRequest(delivery_id="delivery-0000000000001", agency=agency, role=role, purpose="safeguard_child")
    header = RoutingHeader(
        case=CaseFacts(kind="CP_S47", area="E10999001"),
        lawful_basis=LawfulBasis(art6="c"),
        policy=PolicyFacts(
            tell_status=TellStatus(value=TellValue.TELL), compartments=tuple({s.compartment for s in sections})
        ),
        subjects=tuple(SubjectFacts(subject_id=s, type=SubjectType.PERSON) for s in (CHILD, SIBLING)),
        routing=(SubjectRouting(subject_id=CHILD, tied_agencies=(SCHOOL,)),),
        deliveries=(request,),
    )
    return SentDelivery(POLICE, MESSAGE, MANIFEST, header, request, {s.section_id: s for s in sections})


def approve(signer: SigningKeys = ANN, **changes: Any) -> dict[str, Any]:
    """Return a basis as the hub passes it on."""
    fields: dict[str, Any] = {
        "approval_id": "approval-0000000000001",
        "action": "release",
        "approver": "ann.lee",
        "approver_agency": POLICE,
        "approver_role": "approver",
        "message_id": MESSAGE,
        "manifest_digest": MANIFEST,
        "delivery_id": "delivery-0000000000001",
        "recipient": CSC,
        "compartments": ("C10",),
        "reason_code": "need_to_know",
        "issued_at": NOW - timedelta(hours=1),
        "expires_at": NOW + timedelta(hours=1),
    }
    body = sign_object("approval", Approval.model_validate(fields | changes), signer)
    return {"type": "approval", "object": parse_object(body, max_bytes=1 << 20)}


def ask(bases: list[Any], sections: list[str], *, sent: SentDelivery | None = None, needed: Any = None) -> None:
    directory = make_directory(**({"approvers_needed": needed} if needed else {}))
    about = sent or make_sent()
    check_sections(sections, verify_grounds(bases, about, directory, now=NOW), about, directory.directory)


def test_an_approved_section_is_given() -> None:
    ask([approve()], ["section-00000000000c10"])


@pytest.mark.parametrize(
    ("basis", "why"),
    [
        (list, "nobody approved"),
        (lambda: [approve(BOB)], "signed by somebody else"),
        (lambda: [approve(approver="nobody")], "not in the directory"),
        (lambda: [approve(EVE, approver="eve.lee", approver_agency=CSC)], "the recipient's own person"),
        (lambda: [approve(GIL, approver="gil.lee", approver_agency=SCHOOL)], "a third agency's person"),
        (lambda: [approve(LOU, approver="lou.lee", approver_agency=GONE)], "of a revoked agency"),
        (lambda: [approve(JOE, approver="joe.lee")], "a role that they lack"),
        (lambda: [approve(JOE, approver="joe.lee", approver_role="clerk")], "a role that may not approve"),
        (lambda: [approve(manifest_digest="x" * 43)], "another message"),
        (lambda: [approve(delivery_id="delivery-0000000000002")], "another delivery"),
        (lambda: [approve(recipient=SCHOOL)], "another recipient"),
        (lambda: [approve(action="refuse")], "a refusal"),
        (lambda: [approve(action="review_embargo", compartments=())], "a review"),
        (lambda: [approve(expires_at=NOW)], "over at this instant"),
        (lambda: [approve(compartments=("C12",))], "another compartment"),
        (lambda: [approve(compartments=())], "the whole never opens a cell that needs approval"),
        (lambda: [{"type": "approval"}, {"type": "x", "object": {}}, 3], "not of the form"),
    ],
)
def test_what_proves_nothing_gives_nothing(basis: Any, why: str) -> None:
    with pytest.raises(ReleaseNotProven):
        ask(basis(), ["section-00000000000c10"])


@pytest.mark.parametrize("section", ["section-00000000000c07", "section-0000000000c04f", "section-of-nobody"])
def test_no_approval_gives_more_than_the_signed_matrix(section: str) -> None:
    with pytest.raises(ReleaseNotProven):
        ask([approve(compartments=("C04", "C07", "C10"))], [section])


def test_the_partnerships_own_approver_counts_wherever_they_work() -> None:
    ask([approve(KIM, approver="kim.lee", approver_agency=SCHOOL)], ["section-00000000000c10"])


def test_a_release_of_the_whole_gives_the_matrix_form() -> None:
    ask([approve(compartments=())], ["section-0000000000c04s", "section-00000000000own"])


def test_a_school_gets_its_own_child_alone() -> None:
    sent = make_sent(SCHOOL, "dsl")
    ask([approve(compartments=(), recipient=SCHOOL)], ["section-00000000000own"], sent=sent)
    with pytest.raises(ReleaseNotProven):
        ask([approve(compartments=(), recipient=SCHOOL)], ["section-00000000000sib"], sent=sent)


def test_two_people_where_two_are_needed() -> None:
    needed = {"C10": 2}
    twice = [approve(), approve(approval_id="approval-0000000000002")]
    with pytest.raises(ReleaseNotProven):
        ask(twice, ["section-00000000000c10"], needed=needed)
    ask(
        [approve(), approve(BOB, approver="bob.lee", approval_id="approval-0000000000002")],
        ["section-00000000000c10"],
        needed=needed,
    )


def test_a_release_of_the_whole_needs_as_many_people_as_the_default_says() -> None:
    needed = {"default": 2}
    first = approve(compartments=())
    twice = [first, approve(compartments=(), approval_id="approval-0000000000002")]
    for too_few in ([first], twice):
        with pytest.raises(ReleaseNotProven):
            ask(too_few, ["section-0000000000c04s"], needed=needed)
    second = approve(BOB, approver="bob.lee", approval_id="approval-0000000000002", compartments=())
    ask([first, second], ["section-0000000000c04s"], needed=needed)


def test_a_claim_of_danger_gives_the_matrix_and_no_more() -> None:
    claim = BreakGlassControl(
        agency=POLICE,
        message_id=MESSAGE,
        manifest_digest=MANIFEST,
        person="p-17",
        reason_code="danger_now",
        claimed_at=NOW,
    )

    def basis(of: BreakGlassControl) -> list[Any]:
        body = sign_object("control", of, AGENCY_KEYS)
        return [{"type": "control", "object": parse_object(body, max_bytes=1 << 20)}]

    ask(basis(claim), ["section-00000000000own"])
    for section in ("section-00000000000c10", "section-00000000000c07", "section-0000000000c04f"):
        with pytest.raises(ReleaseNotProven):
            ask(basis(claim), [section])
    changes: list[dict[str, Any]] = [{"agency": CSC}, {"agency": SCHOOL}, {"manifest_digest": "x" * 43}]
    for forged in [claim.model_copy(update=change) for change in changes]:
        with pytest.raises(ReleaseNotProven):
            ask(basis(forged), ["section-00000000000own"])


def test_nothing_asked_or_something_unsealed_is_refused() -> None:
    for sections in ([], ["section-00000000000c10", "section-of-nobody"]):
        with pytest.raises(ReleaseNotProven):
            ask([approve()], sections)


def test_a_delivery_of_another_agency_is_not_mistaken() -> None:
    sent = replace(make_sent(), manifest_digest="z" * 43)
    with pytest.raises(ReleaseNotProven):
        ask([approve()], ["section-00000000000c10"], sent=sent)
