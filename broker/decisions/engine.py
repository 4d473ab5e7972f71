"""The decision engine: facts in, one ``Decision`` for each delivery out (DESIGN, Decisions).

For a delivery it asks Cedar whether it may go, for each compartment whether it may go in the matrix's form, and for each sort of subject
whether the role may have its sections. Which policy decided is read from annotations: the lowest step that applies is reported.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from broker.decisions.clocks import Clock, ClockRules, start_clocks
from broker.decisions.facts import DecisionFacts
from broker.decisions.header_facts import MAX_REMEMBERED, DirectoryView, HeaderFacts
from broker.decisions.matrix import NO_CELL, Row
from broker.decisions.pack import Policy, PolicyPack
from broker.decisions.questions import CLOSED_ROW, Answer, CedarAsker, name_subject
from broker.decisions.registers import NO_REGISTERS, Registers
from schemas.codes import Compartment, CompartmentResult, ConsentState, DeliveryOutcome
from schemas.decision import SENT, CompartmentDecision, Decision, Verdicts
from schemas.directory import Directory
from schemas.errors import ConfigInvalid
from schemas.header import DeliveryRequest, RoutingHeader

CHOICE = "depends_on_choice"
"""The group of purposes for which consent is asked and can be taken back."""
AS_COMPANY = "as-company"
"""A row that stands for the row of the compartments that a companion travels with."""
_CONSENT_STATES = frozenset({*(state.value for state in ConsentState), "not_yet_given"})
_IDENTIFYING = frozenset(
    {"delivery_id", "recipient", "deliver_to", "agreement_id", "subjects", "decided_at", "valid_until", "uses_token"}
)
_SEEN = attrgetter(*(f.name for f in fields(DecisionFacts) if f.name not in _IDENTIFYING))


@dataclass(frozen=True, slots=True)
class _Verdict:
    result: CompartmentResult
    policy: Policy


class _Judgement(NamedTuple):
    """What Cedar decided, without what merely identifies the delivery: this is what is remembered."""

    decision: Decision
    includes: Mapping[bool, bool]
    """Whether the sections of a subject go, by whether the recipient is that child's own."""


class DecisionEngine:
    """Decides under one pack and one directory. Holds no clock and no connection; safe to share within a process."""

    def __init__(self, pack: PolicyPack, directory: Directory) -> None:
        if directory.policy_digest and directory.policy_digest != pack.digest:
            raise ConfigInvalid("is not the pack that the signed directory names", field="policies")
        self.pack = pack
        self.directory = directory
        self._view = DirectoryView(directory)
        self._asker = CedarAsker(pack)
        self._signed = {(row.kind, row.role): row.cells for row in directory.matrix}
        self._remembered: dict[tuple[Any, ...], _Judgement] = {}

    def decide(
        self,
        header: RoutingHeader,
        delivery: DeliveryRequest,
        *,
        sender: str,
        registers: Registers = NO_REGISTERS,
        now: datetime,
    ) -> Decision:
        """Decide one requested delivery of a verified header from ``sender`` (agency id) at ``now`` (aware)."""
        return self.decide_facts(self._resolve(header, sender, registers, now).resolve(delivery))

    def decide_all(
        self, header: RoutingHeader, *, sender: str, registers: Registers = NO_REGISTERS, now: datetime
    ) -> list[Decision]:
        """Decide every requested delivery of a verified header, in the header's order."""
        facts = self._resolve(header, sender, registers, now)
        return [self.decide_facts(facts.resolve(delivery)) for delivery in header.deliveries]

    def _resolve(self, header: RoutingHeader, sender: str, registers: Registers, now: datetime) -> HeaderFacts:
        return HeaderFacts(header, sender=sender, registers=registers, directory=self._view, pack=self.pack, now=now)

    def decide_facts(self, facts: DecisionFacts) -> Decision:
        """Decide on resolved facts. Remembered on exactly what policies can see; never where a token is used."""
        key = (*_SEEN(facts), frozenset([tied for _, tied in facts.subjects]))
        judgement = None if facts.uses_token else self._remembered.get(key)
        if judgement is None:
            judgement = self._judge(facts)
            if not facts.uses_token:
                if len(self._remembered) >= MAX_REMEMBERED:
                    self._remembered.pop(next(iter(self._remembered)), None)
                self._remembered[key] = judgement
        decision, includes = judgement
        # A copy is not validated again: what is added was validated with the header and the directory.
        return decision.model_copy(
            update={
                "delivery_id": facts.delivery_id,
                "recipient": facts.recipient,
                "deliver_to": facts.deliver_to if decision.outcome is DeliveryOutcome.DELIVERED else None,
                "agreement": facts.agreement_id,
                "subjects": tuple([name for name, tied in facts.subjects if includes[tied]]),
                "decided_at": facts.decided_at,
                "valid_until": facts.valid_until,
            }
        )

    @property
    def clock_rules(self) -> ClockRules:
        """The pack's table of clocks."""
        return self.pack.clock_rules

    def rests_on_choice(self, purpose: str) -> bool:
        """Tell whether deliveries for this purpose rest on somebody's choice (the pack's group of purposes)."""
        return CHOICE in self.pack.purposes.groups.get(purpose, ())

    def start_clocks(self, header: RoutingHeader, decisions: Sequence[Decision], received_at: datetime) -> list[Clock]:
        """Return the clocks that a decided referral starts (``broker.decisions.clocks``)."""
        return start_clocks(header, decisions, self.directory, received_at, rules=self.pack.clock_rules)

    def find_row(self, facts: DecisionFacts) -> Row | None:
        """Return the matrix row that serves these facts, or none; a row that the signed directory lacks does not count."""
        row = self.pack.matrix.find_row(facts.kind, facts.role, facts.holds)
        if row is not None and self._signed and (facts.kind, facts.role) not in self._signed:
            return None
        return row

    def _judge(self, facts: DecisionFacts) -> _Judgement:
        matrix = self.pack.matrix
        row = self.find_row(facts)
        context = facts.to_context(
            kind_known=facts.kind in matrix.kinds,
            purpose_known=facts.purpose in self.pack.purposes.groups,
            values_known=facts.grade in matrix.grades and facts.consent.state in _CONSENT_STATES,
            row_exists=row is not None,
        )
        tied = sorted({tied for _, tied in facts.subjects})
        alone = [c for c in facts.compartments if c not in matrix.companions]
        company = [c for c in facts.compartments if c in matrix.companions]
        cells = {code: self._find_cell(facts, row, code) for code in facts.compartments}

        questions = [("deliver", "Delivery", "delivery"), ("note", "Delivery", "delivery")]
        questions += [("include", "Subject", name_subject(tied=value)) for value in tied]
        questions += [(matrix.forms[cells[c][1]], "Compartment", cells[c][0]) for c in alone]
        unasked = json.dumps({**context, "company": "unasked"}, sort_keys=True)
        go, notes, *rest = self._asker.ask(facts.role, questions, unasked)
        verdicts = {c: self._read_verdict(a, cells[c][1]) for c, a in zip(alone, rest[len(tied) :], strict=True)}

        fate = _find_fate(verdicts.values())
        together = json.dumps({**context, "company": fate}, sort_keys=True)
        questions = [(matrix.forms[cells[c][1]], "Compartment", cells[c][0]) for c in company]
        answers = self._asker.ask(facts.role, questions, together) if company else []
        verdicts |= {c: self._read_verdict(a, cells[c][1]) for c, a in zip(company, answers, strict=True)}
        if not go.allowed and any(v.result in SENT for v in verdicts.values()):
            # A compartment may never go in a delivery that may not: policies that disagree are a fault, and a fault withholds.
            verdicts = dict.fromkeys(verdicts, _Verdict(CompartmentResult.WITHHELD, self.pack.fallback))
        outcome, policy = self._sum_up(go, verdicts)
        alerts = [policy.alert] if policy.alert else []
        alerts += [p.alert for p in notes.policies if notes.allowed and p.alert]
        decision = Decision(
            recipient="",
            role=facts.role,
            purpose=facts.purpose,
            outcome=outcome,
            row=policy.row,
            policy=policy.id,
            reason=policy.reason,
            authority=policy.authority,
            told=policy.told or None,
            queue=any(
                v.result is CompartmentResult.HELD or v.policy.queue for v in verdicts.values() if v.result not in SENT
            )
            or (outcome is not DeliveryOutcome.DELIVERED and policy.queue),
            alerts=tuple(alerts),
            emits=tuple(p.emits for p in notes.policies if notes.allowed and p.emits),
            retrospective_review=any(p.review for p in notes.policies if notes.allowed),
            compartments=Verdicts({Compartment(c): _describe(verdicts[c], policy) for c in facts.compartments}),
            policy_digest=self.pack.digest,
            inputs_digest=_digest_inputs(facts, together, cells),
        )
        return _Judgement(decision, {value: answer.allowed for value, answer in zip(tied, rest, strict=False)})

    def _find_cell(self, facts: DecisionFacts, row: Row | None, code: str) -> tuple[str, str]:
        """Return (resource id, cell letter) of a compartment: closed where the pack and the signed matrix do not agree."""
        if row is None:
            return f"{CLOSED_ROW}/{code}", NO_CELL
        cell = row.cells.get(code, NO_CELL)
        if self._signed and code not in self.pack.matrix.companions:
            signed = self._signed.get((facts.kind, facts.role), {})
            if signed.get(code, NO_CELL) != cell:
                return f"{CLOSED_ROW}/{code}", NO_CELL
        return f"{row.number}/{code}", cell

    def _read_verdict(self, answer: Answer, cell: str) -> _Verdict:
        if answer.failed or not answer.policies:
            return _Verdict(CompartmentResult.WITHHELD, self.pack.fallback)
        policy = answer.policies[0]
        if answer.allowed:
            return _Verdict(CompartmentResult(self.pack.matrix.forms[cell]), policy)
        return _Verdict(policy.remaining or CompartmentResult.WITHHELD, policy)

    def _sum_up(self, go: Answer, verdicts: Mapping[str, _Verdict]) -> tuple[DeliveryOutcome, Policy]:
        """Return the delivery's outcome and the policy that it reports."""
        if any(v.result in SENT for v in verdicts.values()):
            return DeliveryOutcome.DELIVERED, go.policies[0]
        results = [v.result for v in verdicts.values()]
        stopping = go.policies[0] if go.policies and not go.allowed else None
        if stopping is not None and (not results or stopping.remaining in results):
            return DeliveryOutcome((stopping.remaining or CompartmentResult.WITHHELD).value), stopping
        for result in (CompartmentResult.HELD, CompartmentResult.REJECTED, CompartmentResult.WITHHELD):
            found = [v.policy for v in verdicts.values() if v.result is result and v.policy.row != AS_COMPANY]
            if found:
                return DeliveryOutcome(result.value), found[0]
        return DeliveryOutcome.WITHHELD, self.pack.fallback


def _find_fate(verdicts: Any) -> str:
    """Return what becomes of the compartments that others travel with: sent, held or withheld."""
    results = {v.result for v in verdicts}
    if results & SENT:
        return "sent"
    return "held" if CompartmentResult.HELD in results else "withheld"


def _describe(verdict: _Verdict, deciding: Policy) -> CompartmentDecision:
    policy = verdict.policy
    return CompartmentDecision(
        result=verdict.result,
        row=deciding.row if policy.row == AS_COMPANY else policy.row,
        policy=policy.id,
        reason=policy.reason,
        authority=policy.authority,
    )


def _digest_inputs(facts: DecisionFacts, context: str, cells: Mapping[str, tuple[str, str]]) -> str:
    seen = json.dumps([facts.role, sorted(facts.holds), cells, context], sort_keys=True)
    return hashlib.sha256(seen.encode()).hexdigest()
