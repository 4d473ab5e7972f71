"""Who may do what: roles are words for people, capabilities are what routes ask for. Nothing but this table joins the two.

A capability in ``CONFIRMED`` asks for a fresh second factor as well (OWASP ASVS 5.0, 7.5.3 and 8.2.4).
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a person is in the partnership."""

    AUDITOR = "auditor"
    IG_OFFICER = "ig_officer"
    OPERATOR = "operator"
    INSPECTOR = "inspector"


class Capability(StrEnum):
    """What a route asks for. ``own.account`` is everyone's who is signed in."""

    OWN_ACCOUNT = "own.account"
    READ_OVERVIEW = "overview.read"
    SEARCH_LOG = "log.search"
    EXPORT_LOG = "log.export"
    VERIFY_LOG = "log.verify"
    READ_REFERRAL = "referral.read"
    EXPORT_EVIDENCE = "evidence.export"
    SEE_CHRONOLOGIES = "chronology.see"
    ASK_CHRONOLOGY = "chronology.ask"
    READ_REVIEWS = "reviews.read"
    DECIDE_REVIEWS = "reviews.decide"
    READ_CONSENTS = "consents.read"
    READ_AGREEMENTS = "agreements.read"
    READ_AGENCIES = "agencies.read"
    MANAGE_AGENCIES = "agencies.manage"
    READ_QUARANTINE = "quarantine.read"
    DECIDE_QUARANTINE = "quarantine.decide"
    READ_POLICIES = "policies.read"
    SIMULATE_POLICIES = "policies.simulate"
    CHANGE_POLICIES = "policies.change"
    READ_REPORTS = "reports.read"
    DRAW_SAMPLES = "samples.draw"
    GRADE_SAMPLES = "samples.grade"
    READ_ACCESS_LOG = "access.read"
    READ_USERS = "users.read"
    MANAGE_USERS = "users.manage"


_READING: Final = frozenset(
    {
        Capability.READ_OVERVIEW,
        Capability.SEARCH_LOG,
        Capability.VERIFY_LOG,
        Capability.READ_REFERRAL,
        Capability.READ_REVIEWS,
        Capability.READ_CONSENTS,
        Capability.READ_AGREEMENTS,
        Capability.READ_AGENCIES,
        Capability.READ_POLICIES,
        Capability.READ_REPORTS,
    }
)

GRANTED: Final[Mapping[Role, frozenset[Capability]]] = {
    Role.AUDITOR: _READING
    | {
        Capability.EXPORT_LOG,
        Capability.EXPORT_EVIDENCE,
        Capability.SEE_CHRONOLOGIES,
        Capability.ASK_CHRONOLOGY,
        Capability.READ_QUARANTINE,
        Capability.DRAW_SAMPLES,
        Capability.GRADE_SAMPLES,
        Capability.READ_ACCESS_LOG,
        Capability.READ_USERS,
    },
    Role.IG_OFFICER: _READING
    | {
        Capability.EXPORT_EVIDENCE,
        Capability.SEE_CHRONOLOGIES,
        Capability.ASK_CHRONOLOGY,
        Capability.DECIDE_REVIEWS,
        Capability.SIMULATE_POLICIES,
        Capability.CHANGE_POLICIES,
        Capability.DRAW_SAMPLES,
        Capability.GRADE_SAMPLES,
    },
    Role.OPERATOR: frozenset(
        {
            Capability.READ_OVERVIEW,
            Capability.VERIFY_LOG,
            Capability.READ_AGENCIES,
            Capability.MANAGE_AGENCIES,
            Capability.READ_QUARANTINE,
            Capability.DECIDE_QUARANTINE,
            Capability.READ_USERS,
            Capability.MANAGE_USERS,
        }
    ),
    Role.INSPECTOR: frozenset({Capability.READ_REPORTS, Capability.DRAW_SAMPLES, Capability.GRADE_SAMPLES}),
}
"""What each role may do. Reading what is held is not deciding it; managing users is not reading referrals."""

CONFIRMED: Final = frozenset(
    {
        Capability.ASK_CHRONOLOGY,
        Capability.DECIDE_REVIEWS,
        Capability.CHANGE_POLICIES,
        Capability.MANAGE_USERS,
    }
)
"""Capabilities that need a fresh second factor."""

PARTNERSHIP_ONLY: Final = frozenset({Role.OPERATOR, Role.INSPECTOR})
"""Roles that a person of a single agency cannot have: what they see is everybody's."""


def list_capabilities(roles: Iterable[Role]) -> frozenset[Capability]:
    """Return what a signed-in person with these roles may do."""
    granted = {Capability.OWN_ACCOUNT}
    for role in roles:
        granted |= GRANTED[role]
    return frozenset(granted)
