# ruff: noqa: PLR0911, C901, SIM905 - a procedure in the order of the text, which is the point of it
"""An independent need-to-know oracle in plain Python, for tests only.

Written from DOMAIN sections 2 and 5 and FORMATS CH-7 to CH-19 as a procedure, without Cedar and without the policy pack: its own matrix, its own
order of tests. Agreement between the two over many generated headers is evidence that both read the choices the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from broker.decisions.registers import Approval, Registers
from schemas.codes import AgeBand, ConsentState, SubjectType
from schemas.directory import Agency, Agreement, Directory
from schemas.header import ConsentFacts, DeliveryRequest, RoutingHeader

COLUMNS = "C01 C02 C03 C04 C05 C06 C07 C08 C09 C10 C11 C12 C13 C15 C16".split()
PRINTED = """
CP_S47 csc                  F F F F F F F F S A S A F F F
CP_S47 health_safeguarding  F F S S S S F - - - - - F F S
CP_S47 gp                   F F S S P - S - - - - - F S P
CP_S47 dsl                  F P S S S S - F - - - - F F P
CIN_S17 csc                 F F F S F F S S A - A A F F S
CIN_S17 early_help          F F S S S S - S - - - - F S P
MISSING csc                 F F F F F F F F S - S A F F F
MISSING carer               F P - S P - S - - - - - - F P
MISSING dsl                 F - - P - - - F - - - - - S -
ENCOMPASS dsl               F P - S - S - F - - - - - S -
ENCOMPASS la_education      F F - S - S - F - - - - - S -
ONLINE_CSA csc_named        F F F S F S - P A - - A F F S
ONLINE_CSA dsl              F - - P - S - - A - - - - S -
ONLINE_CSA health_safeguarding F - - P - S - - A - - - - S -
RSO_MAPPA csc               F F S S F - - - F - - A - F S
RSO_MAPPA dsl               A - - - - - - - A - - - - A -
FGM csc                     F F F F F F S P S A S A F F S
PREVENT channel             F P S S F S S S A - A - S S S
EXPLOITATION csc            F F S S F S S S S - S A F F S
EXPLOITATION csc_mace       F F S S F S S S S - S A F F S
S136 mental_health          F F S F F F F - P - - - F F S
DA_MARAC idva               F F S S F S - - S - - A F F P
"""
RETURN_INTERVIEW = "F S P P S S - - - - - - S S P"
REQUEST = "F - - - - - - - - - - - - F -"
OUTCOME = "P - - - - - - - - - - - - S -"
ALIASES = {  # CH-7
    ("PPN", "csc"): ("CIN_S17", "csc"),
    ("MARF", "csc"): ("CIN_S17", "csc"),
    ("S136", "csc"): ("CIN_S17", "csc"),
    ("PPN", "early_help"): ("CIN_S17", "early_help"),
    ("MARF", "early_help"): ("CIN_S17", "early_help"),
    ("PPN", "idva"): ("DA_MARAC", "idva"),
    ("POLICE_PROTECTION", "csc"): ("CP_S47", "csc"),
    ("CSA_MANDATORY", "csc"): ("CP_S47", "csc"),
    ("DA_MARAC", "csc"): ("CP_S47", "csc"),
    ("POLICE_PROTECTION", "health_safeguarding"): ("CP_S47", "health_safeguarding"),
    ("DA_MARAC", "health_safeguarding"): ("CP_S47", "health_safeguarding"),
    ("FGM", "police"): ("FGM", "csc"),
    ("CSA_MANDATORY", "police"): ("FGM", "csc"),
    ("PREVENT", "police_prevent"): ("PREVENT", "channel"),
    ("RSO_MAPPA", "mappa"): ("RSO_MAPPA", "csc"),
}
KINDS = (
    "CP_S47 CIN_S17 PPN MARF POLICE_PROTECTION MISSING ENCOMPASS DA_MARAC ONLINE_CSA RSO_MAPPA FGM CSA_MANDATORY PREVENT"
    " EXPLOITATION S136 OUTCOME REQUEST"
).split()
PURPOSES = (
    "safeguard_child promote_welfare safeguard_victim school_support public_protection health_care prevent_referral return_interview"
    " early_help_service idva_support channel_support immigration_enforcement"
).split()
BY_CHOICE = {"early_help_service", "idva_support", "channel_support"}
SOCIAL_CARE = {"csc", "csc_mace", "csc_named", "nrm"}
NO_ROLE = {"police_enforcement"}
FORM = {"F": "full", "S": "summary", "P": "pointer", "A": "full"}
COMPANIONS = {"C14": "full", "C17": "summary"}


@dataclass
class Expected:
    """What the oracle says of one delivery."""

    outcome: str = ""
    row: str = ""
    compartments: dict[str, tuple[str, str]] = field(default_factory=dict)
    queue: bool = False
    deliver_to: str | None = None
    agreement: str | None = None
    alerts: list[str] = field(default_factory=list)
    emits: list[str] = field(default_factory=list)
    review: bool = False
    subjects: tuple[str, ...] = ()


def cells_for(kind: str, role: str, *, about_a_child: bool) -> dict[str, str] | None:
    if role in NO_ROLE:
        return None
    if kind == "REQUEST":
        text = REQUEST
    elif kind == "OUTCOME":
        text = OUTCOME
    elif role == "return_interview":
        text = RETURN_INTERVIEW
    else:
        if (kind, role) == ("S136", "csc") and not about_a_child:
            return None
        wanted = ALIASES.get((kind, role), (kind, role))
        lines = [line.split() for line in PRINTED.strip().splitlines()]
        found = [line[2:] for line in lines if (line[0], line[1]) == wanted]
        if not found:
            return None
        text = " ".join(found[0])
    return dict(zip(COLUMNS, text.split(), strict=True))


class Oracle:
    """Decides one delivery, step by step."""

    def __init__(
        self,
        header: RoutingHeader,
        delivery: DeliveryRequest,
        *,
        sender: str,
        registers: Registers,
        directory: Directory,
        now: datetime,
    ) -> None:
        self.header, self.delivery, self.now = header, delivery, now
        self.policy, self.registers, self.directory = header.policy, registers, directory
        kind = header.case.kind
        self.kind = header.case.original_kind or kind if kind in {"UPDATE", "CORRECTION"} else kind
        self.sender = self.find(sender)
        self.sender_id = sender
        self.to = self.find(delivery.agency)
        self.serious = header.risk.immediate_danger or header.risk.grade.value == "high"
        claim = registers.break_glass or header.policy.break_glass
        self.claim = claim
        self.glass = bool(claim and (claim.by or "").strip() and claim.reason_given and self.serious)
        self.by_choice = delivery.purpose in BY_CHOICE
        tokens = [*header.policy.tokens, *registers.tokens]
        self.token = any(
            t.recipient == delivery.agency
            and (t.expires_at is None or t.expires_at > now)
            and (t.scheme, t.ref) not in registers.used_tokens
            for t in tokens
        )
        self.said = Expected()

    def find(self, agency_id: str) -> Agency | None:
        for agency in self.directory.agencies:
            if agency.id == agency_id and (agency.revoked_at is None or agency.revoked_at > self.now):
                return agency
        return None

    def decide(self) -> Expected:
        self.conflict, self.named, deliver_to = self.look_at_contacts()
        best = self.look_for_agreement()
        self.said.agreement = best[1]
        self.note()
        if stop := self.first_failing_gate(best[0]):
            self.everything(*stop)
        else:
            self.row_and_compartments()
        said = self.said
        said.deliver_to = deliver_to if said.outcome == "delivered" else None
        tied = {r.subject_id for r in self.header.routing if self.delivery.agency in r.tied_agencies}
        own_only = self.delivery.role in {"dsl", "gp"}
        said.subjects = tuple(s.subject_id for s in self.header.subjects if not own_only or s.subject_id in tied)
        said.queue = any(
            result == "held" or (result == "withheld" and row in {"D2", "D12"})
            for result, row in said.compartments.values()
        ) or (said.outcome == "withheld" and said.row in {"D2", "D12"})
        return said

    def look_at_contacts(self) -> tuple[bool, bool, str | None]:
        agency, role = self.delivery.agency, self.delivery.role
        mine = [c.contact for c in self.policy.conflicts if c.agency == agency]
        holders = [c.id for c in self.to.contacts if role in c.roles] if self.to else []
        if self.delivery.contact in holders:
            holders.remove(self.delivery.contact)
            holders.insert(0, self.delivery.contact)
        free = [h for h in holders if h not in mine]
        somebody_is_conflicted = len(free) < len(holders) or (not holders and any(m for m in mine))
        conflict = None in mine or agency in self.policy.tell_status.parties or (somebody_is_conflicted and not free)
        goes_to = self.delivery.contact if self.delivery.contact in free else None
        if somebody_is_conflicted and free:
            goes_to = free[0]
        named = False
        if self.embargo_is_on():
            assert self.policy.embargo is not None
            names = (*self.policy.embargo.named, *self.registers.embargo_named)
            known = [h for h in free if f"{agency}#{h}" in names]
            named = bool(known)
            goes_to = known[0] if known else None
        return conflict, named, f"{agency}#{goes_to}" if goes_to else None

    def embargo_is_on(self) -> bool:
        embargo = self.policy.embargo
        if embargo is None or not embargo.active:
            return False
        return not any(m is not None and m <= self.now for m in (embargo.lifted_at, self.registers.embargo_lifted_at))

    def look_for_agreement(self) -> tuple[str, str | None, bool]:
        today = self.now.astimezone(ZoneInfo(self.directory.partnership.timezone)).date()
        both = {self.sender_id, self.delivery.agency}
        mine = [
            a
            for a in self.directory.agreements
            if self.kind in a.kinds and self.delivery.purpose in a.purposes and both <= set(a.parties)
        ]

        def overdue(a: Agreement) -> bool:
            return a.review_on is not None and a.review_on < today

        running = [a for a in mine if a.starts_on <= today <= a.ends_on]
        running.sort(key=overdue)
        self.agreement_overdue = bool(running) and overdue(running[0])
        if running:
            return "in_force", running[0].id, overdue(running[0])
        for state, group in (
            ("expired", [a for a in mine if a.ends_on < today]),
            ("not_started", [a for a in mine if a.starts_on > today]),
        ):
            if group:
                return state, sorted(group, key=overdue)[0].id, False
        return "none", None, False

    def note(self) -> None:
        if self.glass:
            self.said.alerts.append("break_glass_used")
            self.said.review = True
        elif self.claim:
            self.said.alerts.append("break_glass_invalid")
        if self.embargo_is_on() and self.embargo_review_is_overdue():
            self.said.alerts.append("embargo_review_overdue")
        if self.agreement_overdue:
            self.said.alerts.append("agreement_review_overdue")
        detriment = self.registers.detriment or self.policy.detriment
        self.detriment = False
        if detriment and self.delivery.agency in detriment.recipients:
            if (detriment.decided_by or "").strip() and detriment.reason_given:
                self.detriment = True
            else:
                self.said.alerts.append("detriment_decision_invalid")
        consent = self.policy.consent
        gone = consent.state is ConsentState.WITHDRAWN or (
            consent.withdrawn_at is not None and consent.withdrawn_at <= self.now
        )
        if self.by_choice and gone:
            self.said.emits.append("CONSENT_WITHDRAWN")

    def embargo_review_is_overdue(self) -> bool:
        embargo = self.policy.embargo
        assert embargo is not None
        reviewed = self.registers.embargo_reviewed_at
        due = embargo.review_due_at
        if due is None or reviewed is not None:
            last = reviewed or embargo.last_review_at or embargo.set_at
            due = last + timedelta(hours=24) if last else None
        return due is not None and due < self.now

    def first_failing_gate(self, agreement: str) -> tuple[str, str] | None:
        basis = self.header.lawful_basis.art6.value
        public = self.sender is not None and self.sender.public_body
        if (basis in {"ea", "f"} and public) or (basis == "e" and not public):
            self.said.alerts.append("basis_not_available")
            return "rejected", "D0"
        if self.delivery.purpose == "immigration_enforcement":
            self.said.alerts.append("purpose_not_permitted")
            return "rejected", "D0"
        if self.kind == "REQUEST" and not (self.policy.statutory_task or "").strip():
            return "rejected", "D11"
        if self.kind not in KINDS or not self.recipient_is_known():
            return "withheld", "D12"
        if self.conflict and not self.glass:
            return "withheld", "D2"
        if agreement != "in_force" and not self.glass:
            self.said.alerts.append(f"agreement_{agreement}")
            return "rejected", "D0"
        self.lifted = self.glass and (self.conflict or agreement != "in_force")
        if self.delivery.purpose not in PURPOSES:
            return "withheld", "D12"
        if self.embargo_is_on() and not self.named:
            return "withheld", "D2"
        return None

    def recipient_is_known(self) -> bool:
        if self.to is None or self.delivery.role not in self.to.roles:
            return False
        wanted = self.delivery.contact
        return wanted is None or any(c.id == wanted and self.delivery.role in c.roles for c in self.to.contacts)

    def everything(self, result: str, row: str) -> None:
        self.said.outcome, self.said.row = result, row
        self.said.compartments = {c.value: (result, row) for c in self.policy.compartments}

    def row_and_compartments(self) -> None:
        child = any(
            s.type is SubjectType.PERSON and s.age_band is not None and s.age_band is not AgeBand.ADULT
            for s in self.header.subjects
        )
        cells = cells_for(self.kind, self.delivery.role, about_a_child=child)
        if cells is None:
            self.everything("withheld", "D12")
            for code, row in (("C11", "D10"), ("C12", "D1")):
                if code in self.said.compartments:
                    self.said.compartments[code] = ("withheld", row)
            if set(self.said.compartments) <= {"C11", "C12"} and self.said.compartments:
                self.said.row = "D12"
            return
        outcome, row = self.deciding_row()
        if outcome == "withheld":
            self.everything(outcome, row)
            return
        if self.lifted:
            row = "D4"
        self.compartments(cells, outcome, row)

    def deciding_row(self) -> tuple[str, str]:
        assert self.to is not None
        if self.by_choice:
            return ("delivered", "D7") if self.consent_is_valid() else ("withheld", "D7")
        if self.kind == "REQUEST":
            return "delivered", "D11"
        duty = self.kind in {"CP_S47", "POLICE_PROTECTION", "ENCOMPASS", "FGM"}
        flags = self.directory.local_policy.get("feature_flags", {})
        if duty or (self.kind == "CSA_MANDATORY" and flags.get("csa_mandatory_duty")):
            return "delivered", "D3"
        if self.serious:
            return "delivered", "D4"
        told = self.policy.clinical_confidence
        if told and not told.harm_indicators:
            if told.age < 13 and told.sexual_activity:
                return "delivered", "D9"
            if told.age >= 13 and told.competent and told.refused:
                return "withheld", "D9"
        if self.to.s16la_body:
            return ("withheld", "D5") if self.detriment else ("delivered", "D5")
        released = self.token or self.approvers(None) >= 1
        return ("delivered" if released else "held"), "D6"

    def consent_is_valid(self) -> bool:
        consent: ConsentFacts = self.policy.consent
        now, giver = self.now, consent.giver
        if consent.state is not ConsentState.GIVEN or giver is None:
            return False
        if consent.given_at and consent.given_at > now:
            return False
        if any(m is not None and m <= now for m in (consent.expires_at, consent.withdrawn_at)):
            return False
        if consent.giver_suspected or giver.value == "suspected_perpetrator":
            return False
        scope = consent.scope
        if scope.recipients is not None and self.delivery.agency not in scope.recipients:
            return False
        if scope.purposes is not None and self.delivery.purpose not in scope.purposes:
            return False
        if scope.kinds is not None and self.kind not in scope.kinds:
            return False
        if giver.value == "parent_pr_holder":
            return not consent.child_competent_refusal
        if giver.value == "child" and (consent.giver_age is None or consent.giver_age < 16):
            return consent.gillick_competent is True and consent.assessor_named
        return True

    def approvers(self, compartment: str | None) -> int:
        good: set[str] = set()
        for a in self.registers.approvals:
            if self.approval_counts(a, compartment):
                good.add(a.by)
        return len(good)

    def approval_counts(self, a: Approval, compartment: str | None) -> bool:
        if a.compartment != compartment or not a.by.strip() or not a.reason_given or a.by == a.requested_by:
            return False
        if a.recipient is not None and a.recipient != self.delivery.agency:
            return False
        if a.role is not None and a.role != self.delivery.role:
            return False
        if a.approved_at is not None and a.approved_at > self.now:
            return False
        return a.expires_at is None or a.expires_at > self.now

    def compartments(self, cells: dict[str, str], outcome: str, row: str) -> None:
        barred = {
            c.value
            for bar in self.policy.bars
            if not bar.recipients or self.delivery.agency in bar.recipients
            for c in bar.compartments
        }
        present = [c.value for c in self.policy.compartments]
        found: dict[str, tuple[str, str]] = {}
        for code in present:
            if code not in COMPANIONS:
                found[code] = self.one_compartment(code, cells[code], code in barred, outcome, row)
        results: Sequence[tuple[str, str]] = list(found.values())
        sent = any(result in FORM.values() for result, _ in results)
        held = [pair for pair in results if pair[0] == "held"]
        if sent:
            self.said.outcome, self.said.row = "delivered", row
        elif held:
            self.said.outcome = "held"
            self.said.row = row if outcome == "held" else held[0][1]
        else:
            self.said.outcome = "withheld"
            self.said.row = results[0][1] if results else "D12"
        for code in present:
            if code not in COMPANIONS:
                continue
            if code in barred and self.approvers(code) < 1 and (sent or held):
                found[code] = ("held", "D1")
            elif sent:
                found[code] = (COMPANIONS[code], "D1" if code in barred else row)
            else:
                found[code] = (self.said.outcome, self.said.row)
        self.said.compartments = {code: found[code] for code in present}

    def one_compartment(self, code: str, cell: str, is_barred: bool, outcome: str, row: str) -> tuple[str, str]:
        assert self.to is not None
        approved = self.approvers(code) >= 1
        names = {"C10": "D12", "C11": "D10", "C12": "D1"}
        if code == "C11" and self.delivery.role not in SOCIAL_CARE:
            return "withheld", "D10"
        if cell == "-":
            return "withheld", names.get(code, "D0")
        scope = self.policy.consent.scope.compartments
        if self.by_choice and scope is not None and code not in {c.value for c in scope}:
            return "withheld", "D7"
        if is_barred and not approved:
            return "held", "D1"
        if code in {"C10", "C12"} and not approved:
            return "held", names[code]
        if code == "C11" and cell == "A" and not approved:
            return "held", "D10"
        third_party = self.to.mappa_status not in {
            "responsible_authority",
            "duty_to_cooperate",
            "associate",
            "associate_agency",
        }
        if code == "C09" and third_party and not self.token:
            return "held", "D8"
        if cell == "A" and code not in names and not approved and not self.token:
            return "held", "D8"
        if outcome == "held":
            return "held", row
        if is_barred:
            return FORM[cell], "D1"
        if code in names:
            return FORM[cell], names[code]
        if (code == "C09" and third_party) or cell == "A":
            return FORM[cell], "D8"
        return FORM[cell], row
