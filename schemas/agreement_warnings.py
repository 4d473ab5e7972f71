"""Which data-sharing agreements a person should look at: ending within 60 or 30 days, ended, not begun, or with a review that is overdue. Pure.

An agreement that is over stops deliveries on its first day (FORMATS CH-17); its owner must hear of that before, not by a referral that is rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from schemas.directory import Agreement

FIRST_WARNING = timedelta(days=60)
SECOND_WARNING = timedelta(days=30)
NEWS_FOR = timedelta(days=7)
"""An end or an overdue review is news for so long: a hub that starts does not announce what has been so for years."""


@dataclass(frozen=True, slots=True)
class AgreementWarning:
    """Something that an agreement's owner must hear once. ``code``: ends_in_60_days, ends_in_30_days, ended or review_overdue, as of ``due_on``."""

    agreement: str
    code: str
    due_on: date
    owner: str | None


def list_due_warnings(agreements: Sequence[Agreement], today: date) -> list[AgreementWarning]:
    """Return what is news about agreements on ``today`` (the partnership's local date): the nearer of two warnings, an end, an overdue review."""
    found = []
    for agreement in agreements:
        left, code = agreement.ends_on - today, ""
        if timedelta(0) <= left <= SECOND_WARNING:
            code = "ends_in_30_days"
        elif SECOND_WARNING < left <= FIRST_WARNING:
            code = "ends_in_60_days"
        elif -NEWS_FOR <= left < timedelta(0):
            code = "ended"
        if code:
            found.append(AgreementWarning(agreement.id, code, agreement.ends_on, agreement.owner))
        review_on = agreement.review_on
        if review_on is not None and timedelta(0) < today - review_on <= NEWS_FOR and left >= timedelta(0):
            found.append(AgreementWarning(agreement.id, "review_overdue", review_on, agreement.owner))
    return found


def list_agreement_warnings(agreements: Sequence[Agreement], today: date) -> list[str]:
    """Return one sentence for each agreement that needs its owner, the most urgent first; ``today`` is the partnership's local date."""
    found = []
    for agreement in agreements:
        left = agreement.ends_on - today
        who = f"Agreement {agreement.id} (owner {agreement.owner or 'nobody'})"
        if left < timedelta(0):
            found.append((left, f"{who} ended on {agreement.ends_on}: what it covers is rejected."))
        elif left <= SECOND_WARNING:
            found.append((left, f"{who} ends in {left.days} days, on {agreement.ends_on}. Renew it now."))
        elif left <= FIRST_WARNING:
            found.append((left, f"{who} ends in {left.days} days, on {agreement.ends_on}."))
        elif agreement.starts_on > today:
            found.append((agreement.starts_on - today, f"{who} is not in force before {agreement.starts_on}."))
        if agreement.review_on is not None and agreement.review_on < today <= agreement.ends_on:
            found.append((agreement.review_on - today, f"{who} was due for review on {agreement.review_on}."))
    return [text for _, text in sorted(found)]
