"""From a verified routing header, a directory and registers to the facts of one delivery at one instant (DESIGN, Decisions).

Whatever depends on time is resolved here, and ``valid_until`` is the earliest instant at which any of it changes by itself.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from broker.decisions.agreements import AgreementState, find_agreement
from broker.decisions.consent import find_consent_instants, resolve_consents, view_consent
from broker.decisions.contacts import choose_contact
from broker.decisions.facts import BreakGlassView, ConfidenceView, DecisionFacts, DetrimentView
from broker.decisions.pack import PolicyPack
from broker.decisions.registers import Registers
from schemas.codes import AgeBand, SubjectType
from schemas.directory import Agency, Directory
from schemas.header import DeliveryRequest, DisclosureToken, Embargo, RoutingHeader

_INSTANT = timedelta(microseconds=1)
CHILD_SUBJECT = "child_subject"
MAX_REMEMBERED: Final = 8192
"""Answers that are remembered of each sort: senders choose what is asked, so that it is bounded."""


class DirectoryView:
    """A directory as decisions look things up in it; one for each version, since what is asked is mostly the same."""

    def __init__(self, directory: Directory) -> None:
        """Index the directory."""
        self.directory = directory
        self.zone = ZoneInfo(directory.partnership.timezone)
        self.features = frozenset(
            name for name, on in directory.local_policy.get("feature_flags", {}).items() if on is True
        )
        self.approvers_needed: dict[str, Any] = directory.local_policy.get("approvers_needed", {})
        self._agencies = {agency.id: agency for agency in directory.agencies}
        self._agreements: dict[tuple[str, str, str, str, date], AgreementState] = {}

    def find_agency(self, agency_id: str, now: datetime) -> Agency | None:
        """Return the agency if it is enrolled and not revoked at ``now``, or none."""
        agency = self._agencies.get(agency_id)
        return agency if agency and (agency.revoked_at is None or now < agency.revoked_at) else None

    def find_agreement(self, parties: tuple[str, str], kind: str, purpose: str, now: datetime) -> AgreementState:
        """Return ``agreements.find_agreement``, whose answer depends on the local date alone, remembered."""
        key = (*parties, kind, purpose, now.astimezone(self.zone).date())
        found = self._agreements.get(key)
        if found is None:
            if len(self._agreements) >= MAX_REMEMBERED:
                self._agreements.clear()
            found = self._agreements[key] = find_agreement(self.directory, parties, kind, purpose, now)
        return found


class HeaderFacts:
    """The facts that all deliveries of a header share, resolved once, at one instant."""

    def __init__(
        self,
        header: RoutingHeader,
        *,
        sender: str,
        registers: Registers,
        directory: DirectoryView,
        pack: PolicyPack,
        now: datetime,
    ) -> None:
        """Resolve them. The header's signature has been verified: only a ``VerifiedEnvelope`` has a header to decide on."""
        policy = header.policy
        self._header, self._sender, self._registers, self._directory, self._pack, self._now = (
            header,
            sender,
            registers,
            directory,
            pack,
            now,
        )
        self._kind = pack.matrix.resolve_kind(header.case.kind, header.case.original_kind)
        self._consent = resolve_consents(policy.consent, registers.consents)
        self._tokens = (*policy.tokens, *registers.tokens)
        self._embargo = _find_embargo(policy.embargo, registers, now)
        self._review_due_at = (
            _find_review_due(self._embargo, registers, directory.directory.local_policy) if self._embargo else None
        )
        self._embargo_named = (*self._embargo.named, *registers.embargo_named) if self._embargo else None
        self._conflicts = [(c.agency, c.contact) for c in policy.conflicts]
        self._instants = [
            moment
            for moment in (
                *find_consent_instants(self._consent),
                *(moment for a in registers.approvals for moment in (a.approved_at, a.expires_at)),
                self._review_due_at + _INSTANT if self._review_due_at else None,
                policy.embargo.lifted_at if policy.embargo else None,
                registers.embargo_lifted_at,
            )
            if moment is not None
        ]
        from_agency = directory.find_agency(sender, now)
        if from_agency is not None and from_agency.revoked_at is not None:
            self._instants.append(from_agency.revoked_at)
        self._shared: dict[str, Any] = {
            "kind": self._kind,
            "compartments": tuple([c.value for c in policy.compartments]),
            "decided_at": now,
            "basis": header.lawful_basis.art6.value,
            "sender_public": from_agency is not None and from_agency.public_body,
            "sender_s16la": from_agency is not None and from_agency.s16la_body,
            "grade": header.risk.grade.value,
            "immediate_danger": header.risk.immediate_danger,
            "embargo": self._embargo is not None,
            "embargo_review_overdue": self._review_due_at is not None and self._review_due_at < now,
            "statutory_task": bool((policy.statutory_task or "").strip()),
            "confidence": _view_confidence(header),
            "break_glass": _view_break_glass(header, registers),
            "features": directory.features,
            "holds": _find_conditions(header),
        }

    def resolve(self, delivery: DeliveryRequest) -> DecisionFacts:
        """Return the facts of one of the header's deliveries."""
        header, registers, directory, now = self._header, self._registers, self._directory, self._now
        recipient = directory.find_agency(delivery.agency, now)
        agreement = directory.find_agreement((self._sender, delivery.agency), self._kind, delivery.purpose, now)
        tokens = [t for t in self._tokens if t.recipient == delivery.agency]
        live = any(_is_live(t, registers, now) for t in tokens)
        choice = choose_contact(
            recipient,
            recipient=delivery.agency,
            role=delivery.role,
            requested=delivery.contact,
            conflicts=self._conflicts,
            must_not_know=header.policy.tell_status.parties,
            embargo_named=self._embargo_named,
        )
        return DecisionFacts(
            delivery_id=delivery.delivery_id,
            recipient=delivery.agency,
            role=delivery.role,
            purpose=delivery.purpose,
            deliver_to=choice.deliver_to,
            agreement_id=agreement.id,
            subjects=_tie_subjects(header, delivery.agency),
            valid_until=_find_earliest(
                [
                    *agreement.changes_at,
                    *self._instants,
                    *(t.expires_at for t in tokens),
                    recipient.revoked_at if recipient else None,
                ],
                now,
            ),
            uses_token=live,
            recipient_known=_is_known(recipient, delivery),
            recipient_s16la=recipient is not None and recipient.s16la_body,
            recipient_mappa=recipient.mappa_status if recipient else "none",
            recipient_approved=_count_approvers(registers, delivery, None, now)
            >= self._pack.approvers_needed("default", directory.approvers_needed),
            agreement=agreement.state,
            agreement_review_overdue=agreement.review_overdue,
            conflict=choice.conflict,
            embargo_named=choice.named,
            consent=view_consent(
                self._consent, recipient=delivery.agency, purpose=delivery.purpose, kind=self._kind, now=now
            ),
            detriment=_view_detriment(header, registers, delivery.agency),
            token=live,
            barred=frozenset(
                c.value
                for bar in header.policy.bars
                if not bar.recipients or delivery.agency in bar.recipients
                for c in bar.compartments
            ),
            approved=_find_approved(
                header, delivery, registers=registers, needed=directory.approvers_needed, pack=self._pack, now=now
            ),
            **self._shared,
        )


def build_facts(
    header: RoutingHeader,
    delivery: DeliveryRequest,
    *,
    sender: str,
    registers: Registers,
    directory: Directory,
    pack: PolicyPack,
    now: datetime,
) -> DecisionFacts:
    """Return the facts of one delivery of a verified header."""
    shared = HeaderFacts(
        header, sender=sender, registers=registers, directory=DirectoryView(directory), pack=pack, now=now
    )
    return shared.resolve(delivery)


def _is_known(agency: Agency | None, delivery: DeliveryRequest) -> bool:
    """Return whether the recipient is in the directory, holds the role, and employs the contact that was asked for, in that role."""
    if agency is None or delivery.role not in agency.roles:
        return False
    return delivery.contact is None or any(
        c.id == delivery.contact and delivery.role in c.roles for c in agency.contacts
    )


def _is_live(token: DisclosureToken, registers: Registers, now: datetime) -> bool:
    return (token.expires_at is None or now < token.expires_at) and (
        token.scheme,
        token.ref,
    ) not in registers.used_tokens


def _find_embargo(embargo: Embargo | None, registers: Registers, now: datetime) -> Embargo | None:
    """Return the embargo if it is active: until its owner lifts it, and never by lapse of time."""
    if embargo is None or not embargo.active:
        return None
    lifted = [moment for moment in (embargo.lifted_at, registers.embargo_lifted_at) if moment is not None]
    return None if any(moment <= now for moment in lifted) else embargo


def _find_review_due(embargo: Embargo, registers: Registers, local_policy: dict[str, Any]) -> datetime | None:
    """Return when the embargo's review is due: stated, or so many hours after the last review, or after the setting."""
    if embargo.review_due_at is not None and registers.embargo_reviewed_at is None:
        return embargo.review_due_at
    last = registers.embargo_reviewed_at or embargo.last_review_at or embargo.set_at
    hours = local_policy.get("clocks", {}).get("embargo_review", {}).get("hours")
    return last + timedelta(hours=hours) if last is not None and hours is not None else None


def _tie_subjects(header: RoutingHeader, agency_id: str) -> tuple[tuple[str, bool], ...]:
    tied = {r.subject_id for r in header.routing if agency_id in r.tied_agencies}
    return tuple((s.subject_id, s.subject_id in tied) for s in header.subjects)


def _view_confidence(header: RoutingHeader) -> ConfidenceView:
    told = header.policy.clinical_confidence
    if told is None:
        return ConfidenceView()
    return ConfidenceView(
        claimed=True,
        age=told.age,
        competent=told.competent,
        refused=told.refused,
        sexual_activity=told.sexual_activity,
        harm_indicators=told.harm_indicators,
    )


def _view_break_glass(header: RoutingHeader, registers: Registers) -> BreakGlassView:
    claim = registers.break_glass or header.policy.break_glass
    if claim is None:
        return BreakGlassView()
    return BreakGlassView(claimed=True, named=bool((claim.by or "").strip()), reason_given=claim.reason_given)


def _view_detriment(header: RoutingHeader, registers: Registers, agency_id: str) -> DetrimentView:
    decision = registers.detriment or header.policy.detriment
    if decision is None or agency_id not in decision.recipients:
        return DetrimentView()
    return DetrimentView(
        names_recipient=True,
        decider_named=bool((decision.decided_by or "").strip()),
        reason_given=decision.reason_given,
    )


def _count_approvers(registers: Registers, delivery: DeliveryRequest, compartment: str | None, now: datetime) -> int:
    return len({a.by for a in registers.approvals if a.counts(delivery.agency, delivery.role, compartment, now)})


def _find_approved(
    header: RoutingHeader,
    delivery: DeliveryRequest,
    *,
    registers: Registers,
    needed: Mapping[str, Any],
    pack: PolicyPack,
    now: datetime,
) -> frozenset[str]:
    """Return the compartments that enough different approvers released to this recipient."""
    if not registers.approvals:
        return frozenset()
    return frozenset(
        c.value
        for c in header.policy.compartments
        if _count_approvers(registers, delivery, c.value, now) >= pack.approvers_needed(c.value, needed)
    )


def _find_conditions(header: RoutingHeader) -> frozenset[str]:
    """Return the conditions of matrix rows that hold: that the referral is about a child, born or unborn."""
    children = [s for s in header.subjects if s.type is SubjectType.PERSON and s.age_band not in {None, AgeBand.ADULT}]
    return frozenset({CHILD_SUBJECT} if children else ())


def _find_earliest(instants: Iterable[datetime | None], now: datetime) -> datetime | None:
    return min((moment for moment in instants if moment is not None and moment > now), default=None)
