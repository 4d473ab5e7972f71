"""Decisions over time: what is remembered, until when a decision holds, and that nothing lags."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.decisions import Approval, DecisionEngine, Registers
from broker.decisions.consent import resolve_consents
from schemas.codes import ConsentGiver, ConsentState, DeliveryOutcome
from schemas.decision import Decision
from schemas.header import ConsentFacts, DisclosureToken, RoutingHeader
from tests.support.decisions import make_directory, make_engine

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def engine() -> DecisionEngine:
    return make_engine()


def make_header(kind: str, agency: str, role: str, purpose: str, **policy: Any) -> RoutingHeader:
    return RoutingHeader.model_validate(
        {
            "case": {"kind": kind, "area": "E10999001"},
            "risk": {"grade": "medium"},
            "lawful_basis": {"art6": "c"},
            "policy": {
                "tell_status": {"value": "tell"},
                "compartments": ["C01", "C04", "C09", "C12", "C14", "C17"],
                **policy,
            },
            "subjects": [{"subject_id": "subject-00000000000001", "type": "person", "age_band": "5-9"}],
            "deliveries": [
                {"delivery_id": "delivery-0000000000001", "agency": agency, "role": role, "purpose": purpose}
            ],
        }
    )


def decide(
    engine: DecisionEngine, header: RoutingHeader, now: datetime = NOW, registers: Registers | None = None
) -> Decision:
    return engine.decide(
        header, header.deliveries[0], sender="police.marchshire", registers=registers or Registers(), now=now
    )


def test_a_consent_that_expires_a_second_later_is_seen(engine: DecisionEngine) -> None:
    consent = {"state": "given", "giver": "parent_pr_holder", "expires_at": NOW + SECOND}
    header = make_header("CIN_S17", "earlyhelp.marchshire", "early_help", "early_help_service", consent=consent)
    first = decide(engine, header)
    assert first.outcome is DeliveryOutcome.DELIVERED
    assert first.valid_until == NOW + SECOND
    assert decide(engine, header, NOW + SECOND - timedelta(microseconds=1)).outcome is DeliveryOutcome.DELIVERED
    after = decide(engine, header, NOW + SECOND)
    assert after.outcome is DeliveryOutcome.WITHHELD
    assert after.policy == "consent-expired"


def test_a_decision_holds_until_the_first_of_its_facts_changes(engine: DecisionEngine) -> None:
    header = make_header("CIN_S17", "csc.marchshire", "csc", "promote_welfare")
    decision = decide(engine, header)
    review = datetime(
        2027, 9, 30, 23, tzinfo=UTC
    )  # the day after the agreement's review date begins, in British Summer Time
    assert decision.valid_until == review
    assert decide(engine, header, review - SECOND).alerts == ()
    assert decide(engine, header, review).alerts == ("agreement_review_overdue",)


def test_an_agreement_ends_with_its_last_local_day(engine: DecisionEngine) -> None:
    header = make_header("RSO_MAPPA", "probation.marchshire", "mappa", "public_protection")
    assert decide(engine, header, datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC)).outcome is DeliveryOutcome.DELIVERED
    expired = decide(engine, header, datetime(2028, 1, 1, tzinfo=UTC))
    assert (expired.outcome, expired.alerts, expired.agreement) == (
        DeliveryOutcome.REJECTED,
        ("agreement_expired",),
        "DSA-04",
    )
    early = decide(engine, header, datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert early.alerts == ("agreement_not_started",)


def test_deciding_again_gives_the_same_record(engine: DecisionEngine) -> None:
    header = make_header("CP_S47", "csc.marchshire", "csc", "safeguard_child")
    first, remembered, fresh = decide(engine, header), decide(engine, header), decide(make_engine(), header)
    assert first == remembered == fresh
    assert len(first.inputs_digest) == 64
    changed = decide(engine, make_header("CP_S47", "csc.marchshire", "csc", "safeguard_child", statutory_task="stated"))
    assert changed.inputs_digest != first.inputs_digest


def test_what_uses_a_token_is_never_remembered(engine: DecisionEngine) -> None:
    token = DisclosureToken(scheme="MAPPA", ref="e1" * 32, recipient="school.oakfield", expires_at=NOW + SECOND)
    header = make_header("RSO_MAPPA", "school.oakfield", "dsl", "public_protection", tokens=[token.model_dump()])
    assert decide(engine, header).outcome is DeliveryOutcome.DELIVERED
    assert not engine._remembered
    used = Registers(used_tokens=frozenset({("MAPPA", "e1" * 32)}))
    assert decide(engine, header, registers=used).outcome is DeliveryOutcome.HELD
    assert decide(engine, header, NOW + SECOND).outcome is DeliveryOutcome.HELD


def test_an_approval_takes_effect_at_once_and_ends_when_it_ends(engine: DecisionEngine) -> None:
    header = make_header("MISSING", "rhi.returnhome", "return_interview", "return_interview")
    approval = Approval(by="person-1", reason_given=True, recipient="rhi.returnhome", expires_at=NOW + SECOND)
    assert decide(engine, header).outcome is DeliveryOutcome.HELD
    released = decide(engine, header, registers=Registers(version=1, approvals=(approval,)))
    assert released.outcome is DeliveryOutcome.DELIVERED
    assert released.valid_until == NOW + SECOND
    assert decide(engine, header, NOW + SECOND, Registers(1, (approval,))).outcome is DeliveryOutcome.HELD


@pytest.mark.parametrize(
    "approval",
    [
        Approval(by="", reason_given=True, compartment="C12"),
        Approval(by="person-1", reason_given=False, compartment="C12"),
        Approval(by="person-1", reason_given=True, compartment="C12", requested_by="person-1"),
        Approval(by="person-1", reason_given=True, compartment="C12", recipient="csc.northmarch"),
        Approval(by="person-1", reason_given=True, compartment="C12", role="gp"),
        Approval(by="person-1", reason_given=True, compartment=None),
    ],
)
def test_what_is_no_approval_releases_nothing(engine: DecisionEngine, approval: Approval) -> None:
    header = make_header("CP_S47", "csc.marchshire", "csc", "safeguard_child")
    decision = decide(engine, header, registers=Registers(approvals=(approval,)))
    assert {c.value: d.result.value for c, d in decision.compartments.items()}["C12"] == "held"


def test_a_partnership_may_ask_for_two_different_approvers() -> None:
    local = {**make_directory().local_policy, "approvers_needed": {"C12": 2}}
    engine = make_engine(local_policy=local)
    header = make_header("CP_S47", "csc.marchshire", "csc", "safeguard_child")

    def result(*names: str) -> str:
        approvals = tuple(Approval(by=name, reason_given=True, compartment="C12") for name in names)
        decision = decide(engine, header, registers=Registers(approvals=approvals))
        return {c.value: d.result.value for c, d in decision.compartments.items()}["C12"]

    assert result("person-1") == "held"
    assert result("person-1", "person-1") == "held"
    assert result("person-1", "person-2") == "full"


def test_a_competent_childs_refusal_in_the_register_beats_a_parents_yes() -> None:
    parent = ConsentFacts(state=ConsentState.GIVEN, giver=ConsentGiver.PARENT_PR_HOLDER)
    child = ConsentFacts(state=ConsentState.REFUSED, giver=ConsentGiver.CHILD, giver_age=15, gillick_competent=True)
    assert resolve_consents(parent, [child]).child_competent_refusal
    assert resolve_consents(parent, [child, parent]).child_competent_refusal
    young = child.model_copy(update={"gillick_competent": None})
    assert not resolve_consents(parent, [young]).child_competent_refusal


def test_a_withdrawal_in_the_register_stops_the_purpose_and_is_emitted(engine: DecisionEngine) -> None:
    given = {"state": "given", "giver": "parent_pr_holder"}
    header = make_header("CIN_S17", "earlyhelp.marchshire", "early_help", "early_help_service", consent=given)
    gone = ConsentFacts(state=ConsentState.WITHDRAWN, giver=ConsentGiver.PARENT_PR_HOLDER, withdrawn_at=NOW)
    decision = decide(engine, header, registers=Registers(version=2, consents=(gone,)))
    assert decision.outcome is DeliveryOutcome.WITHHELD
    assert decision.emits == ("CONSENT_WITHDRAWN",)


CHILD_YES = ConsentFacts(state=ConsentState.GIVEN, giver=ConsentGiver.CHILD, giver_age=15, gillick_competent=True)
CHILD_NO = CHILD_YES.model_copy(update={"state": ConsentState.REFUSED})
UNASSESSED_YES = ConsentFacts(state=ConsentState.GIVEN, giver=ConsentGiver.CHILD, giver_age=12)
UNASSESSED_NO = UNASSESSED_YES.model_copy(update={"state": ConsentState.REFUSED})
PARENT_YES = ConsentFacts(state=ConsentState.GIVEN, giver=ConsentGiver.PARENT_PR_HOLDER)
PARENT_NO = PARENT_YES.model_copy(update={"state": ConsentState.REFUSED})


@pytest.mark.parametrize(
    ("stated", "recorded", "delivered"),
    [
        (PARENT_YES, [PARENT_NO], False),  # a later record by the same giver supersedes
        (PARENT_NO, [PARENT_YES], True),
        (PARENT_YES, [CHILD_NO], False),  # a competent child's own decision beats a parent's
        (PARENT_YES, [CHILD_NO, PARENT_YES], False),
        (PARENT_NO, [CHILD_YES], True),
        (PARENT_NO, [CHILD_YES, PARENT_NO], True),
        (PARENT_YES, [CHILD_NO, CHILD_YES], True),
        (CHILD_YES, [PARENT_NO], True),
        (CHILD_NO, [PARENT_YES], False),
        (PARENT_YES, [UNASSESSED_NO], True),  # a child who is not shown to be competent decides nothing beside an adult's answer
        (PARENT_YES, [UNASSESSED_YES], True),
        (PARENT_NO, [UNASSESSED_YES], False),
        (ConsentFacts(), [UNASSESSED_YES], False),
        (ConsentFacts(), [CHILD_YES.model_copy(update={"giver_age": 16, "gillick_competent": None})], True),
        (PARENT_YES, [CHILD_NO.model_copy(update={"giver_age": 16, "gillick_competent": None})], False),
    ],
)  # fmt: skip
def test_conflicting_consents_resolve_by_the_written_rule(
    engine: DecisionEngine, stated: ConsentFacts, recorded: list[ConsentFacts], delivered: bool
) -> None:
    named = [c.model_copy(update={"assessor_named": c.gillick_competent is True}) for c in recorded]
    first = stated.model_copy(update={"assessor_named": stated.gillick_competent is True})
    consent = first.model_dump(mode="json", exclude_none=True)
    header = make_header("CIN_S17", "earlyhelp.marchshire", "early_help", "early_help_service", consent=consent)
    decision = decide(engine, header, registers=Registers(consents=tuple(named)))
    assert (decision.outcome is DeliveryOutcome.DELIVERED) == delivered, decision.policy


def test_a_revocation_ahead_ends_a_decision() -> None:
    gone_at = NOW + timedelta(hours=1)
    agencies = tuple(
        a.model_copy(update={"revoked_at": gone_at}) if a.id == "csc.marchshire" else a
        for a in make_directory().agencies
    )
    engine = make_engine(agencies=agencies)
    header = make_header("CP_S47", "csc.marchshire", "csc", "safeguard_child")
    assert decide(engine, header).valid_until == gone_at
    assert decide(engine, header, gone_at).outcome is DeliveryOutcome.WITHHELD
