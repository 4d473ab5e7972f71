"""Consent as it stands at an instant: state resolved against time and register, scope against the delivery (FORMATS CH-18).

Whether a state, a giver or a scope is good enough is for the policies; here is only what is the case.
"""

from collections.abc import Sequence
from datetime import datetime

from broker.decisions.facts import UNKNOWN_AGE, ConsentView
from schemas.codes import Compartment, ConsentGiver, ConsentState
from schemas.header import ConsentFacts

_STANDING = {ConsentState.GIVEN, ConsentState.WITHDRAWN, ConsentState.EXPIRED}
_ANSWERED = _STANDING | {ConsentState.REFUSED}


def view_consent(
    consent: ConsentFacts,
    *,
    recipient: str,
    purpose: str,
    kind: str,
    now: datetime,
    observed_at: datetime | None = None,
) -> ConsentView:
    """Return ``consent`` as policies see it for one delivery at ``now``; a withdrawal is looked for up to ``observed_at``."""
    seen_until = observed_at or now
    withdrawn_at = consent.withdrawn_at
    withdrawal_seen = consent.state is ConsentState.WITHDRAWN or (
        withdrawn_at is not None and withdrawn_at <= seen_until
    )
    scope = consent.scope
    return ConsentView(
        state=_resolve_state(consent, now),
        giver=consent.giver.value if consent.giver else "none",
        giver_age=UNKNOWN_AGE if consent.giver_age is None else consent.giver_age,
        competent=consent.gillick_competent is True,
        assessor_named=consent.assessor_named,
        giver_suspected=consent.giver_suspected,
        child_refused=consent.child_competent_refusal,
        covers_delivery=(
            (scope.recipients is None or recipient in scope.recipients)
            and (scope.purposes is None or purpose in scope.purposes)
            and (scope.kinds is None or kind in scope.kinds)
        ),
        covers_every_compartment=scope.compartments is None,
        compartments=frozenset(c.value for c in scope.compartments or ()),
        withdrawal_seen=withdrawal_seen,
    )


def _resolve_state(consent: ConsentFacts, now: datetime) -> str:
    """Return the state at ``now``: withdrawal first, then expiry (the instant itself counts as over), then a date in the future."""
    if consent.state not in _STANDING:
        return consent.state.value
    if consent.state is ConsentState.WITHDRAWN or (consent.withdrawn_at is not None and consent.withdrawn_at <= now):
        return ConsentState.WITHDRAWN.value
    if consent.state is ConsentState.EXPIRED or (consent.expires_at is not None and consent.expires_at <= now):
        return ConsentState.EXPIRED.value
    if consent.given_at is not None and consent.given_at > now:
        return "not_yet_given"
    return ConsentState.GIVEN.value


def find_consent_instants(consent: ConsentFacts) -> tuple[datetime, ...]:
    """Return every instant at which the consent's state changes by itself."""
    return tuple(
        moment for moment in (consent.given_at, consent.expires_at, consent.withdrawn_at) if moment is not None
    )


def resolve_consents(header: ConsentFacts, registered: Sequence[ConsentFacts]) -> ConsentFacts:
    """Return the consent that counts: the header's, then what the register recorded later, oldest first.

    The written rule: a later record by the same giver supersedes; a competent child's own refusal or withdrawal beats a parent's yes; a
    child's later yes lifts the child's own refusal and nothing else; a child who is not shown to be competent decides nothing beside an adult
    who has answered.
    """
    current = header
    for record in registered:
        own_child = record.giver is ConsentGiver.CHILD and (
            record.gillick_competent is True or (record.giver_age or 0) >= 16
        )
        by_adult = current.giver not in {None, ConsentGiver.CHILD} and current.state in _ANSWERED
        if record.giver is ConsentGiver.CHILD and not own_child and by_adult:
            continue
        if (
            own_child
            and record.state in {ConsentState.REFUSED, ConsentState.WITHDRAWN}
            and current.giver is not ConsentGiver.CHILD
        ):
            current = current.model_copy(update={"child_competent_refusal": True})
        elif current.giver is not ConsentGiver.CHILD or record.giver is ConsentGiver.CHILD:
            refusal = current.child_competent_refusal and not own_child
            current = record.model_copy(update={"child_competent_refusal": record.child_competent_refusal or refusal})
    return current


def list_compartments(values: Sequence[str] | None) -> tuple[Compartment, ...] | None:
    """Return a scope's headings, or none for all."""
    return None if values is None else tuple(Compartment(v) for v in values)
