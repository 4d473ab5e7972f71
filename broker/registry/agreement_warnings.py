"""Which data-sharing agreements a person should look at: ending within 60 or 30 days, ended, not begun, or with a review that is overdue. Pure.

An agreement that is over stops deliveries on its first day (FORMATS CH-17); its owner must hear of that before, not by a referral that is rejected.
"""

from collections.abc import Sequence
from datetime import date, timedelta

from schemas.directory import Agreement

FIRST_WARNING = timedelta(days=60)
SECOND_WARNING = timedelta(days=30)


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
