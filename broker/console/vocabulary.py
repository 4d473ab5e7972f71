"""Plain words for the codes that pages show (docs/codes.md). A state has a word and a colour; the word alone must suffice."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final, NamedTuple

from broker.console.formats import format_day
from broker.reports.words import KINDS, say

_ISO_DAY: Final = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


class StateWord(NamedTuple):
    """How a state is shown: its word, and the colour of the GOV.UK tag."""

    text: str
    colour: str


COMPARTMENTS: Final[Mapping[str, str]] = {
    "C01": "Identity",
    "C02": "Contact details",
    "C03": "Family and household",
    "C04": "Incident",
    "C05": "Risk assessment",
    "C06": "Voice of the child",
    "C07": "Health",
    "C08": "Education",
    "C09": "Suspects and offenders",
    "C10": "Source in confidence",
    "C11": "Immigration",
    "C12": "Sealed information",
    "C13": "Ethnicity and culture",
    "C14": "Communication and safe contact",
    "C15": "Actions taken",
    "C16": "History",
    "C17": "Decision to share",
}

RESULTS: Final[Mapping[str, StateWord]] = {
    "full": StateWord("Full", "green"),
    "summary": StateWord("Summary", "teal"),
    "pointer": StateWord("Pointer", "blue"),
    "held": StateWord("Held", "yellow"),
    "withheld": StateWord("Withheld", "red"),
    "rejected": StateWord("Rejected", "orange"),
}
"""What a recipient gets of a compartment."""

STATES: Final[Mapping[str, StateWord]] = {
    "open": StateWord("Open", "blue"),
    "sent": StateWord("Sent", "blue"),
    "accepted": StateWord("Accepted", "teal"),
    "opened": StateWord("Opened", "green"),
    "actioned": StateWord("Actioned", "green"),
    "refused": StateWord("Refused", "red"),
    "released": StateWord("Released", "green"),
    "held": StateWord("Held", "yellow"),
    "withheld": StateWord("Withheld", "red"),
    "rejected": StateWord("Rejected", "orange"),
    "undeliverable": StateWord("Undeliverable", "red"),
    "delivered": StateWord("Delivered", "green"),
    "waiting": StateWord("Waits for a second person", "yellow"),
    "ready": StateWord("Ready to read", "green"),
    "read": StateWord("Read", "grey"),
    "running": StateWord("Running", "blue"),
    "paused": StateWord("Paused", "yellow"),
    "met": StateWord("Met", "green"),
    "breached": StateWord("Breached", "red"),
    "given": StateWord("Given", "green"),
    "withdrawn": StateWord("Withdrawn", "red"),
    "invited": StateWord("Invited", "blue"),
    "active": StateWord("Active", "green"),
    "disabled": StateWord("Disabled", "grey"),
    "expired": StateWord("Expired", "grey"),
    "replaying": StateWord("Replaying", "yellow"),
    "replayed": StateWord("Replayed", "green"),
    "superseded": StateWord("Sent again", "grey"),
    "done": StateWord("Done", "green"),
}
"""States of deliveries, holds, clocks, accounts and the quarantine."""

ROLES: Final[Mapping[str, str]] = {
    "auditor": "Auditor",
    "ig_officer": "Information governance officer",
    "operator": "Operator",
    "inspector": "Inspector",
}

METHODS: Final[Mapping[str, str]] = {
    "password_code": "Password and one-time code",
    "passkey": "Passkey",
    "oidc": "Your organisation’s sign-in",
}
"""How a session began."""


CODES: Final[Mapping[str, str]] = {
    # what an agency is to a child
    "csc": "Children’s social care",
    "csc_mace": "Children’s social care, exploitation panel",
    "csc_named": "Children’s social care, named person",
    "early_help": "Early help",
    "police": "Police",
    "police_prevent": "Police, Prevent",
    "police_enforcement": "Police, enforcement",
    "health_safeguarding": "Health safeguarding team",
    "mental_health": "Mental health service",
    "gp": "General practice",
    "dsl": "Designated safeguarding lead of the school",
    "la_education": "Local authority education",
    "idva": "Independent domestic violence adviser",
    "mappa": "MAPPA",
    "channel": "Channel panel",
    "return_interview": "Return interview provider",
    "nrm": "National Referral Mechanism",
    # what a delivery is for
    "safeguard_child": "To safeguard the child",
    "promote_welfare": "To promote the child’s welfare",
    "safeguard_victim": "To safeguard the victim",
    "school_support": "Support at school",
    "public_protection": "Public protection",
    "health_care": "Health care",
    "early_help_service": "Early help service",
    # who consents, and why they may
    "adult_subject": "The adult concerned",
    "parent_pr_holder": "A parent or carer with parental responsibility",
    "child": "The child",
    "suspected_perpetrator": "The suspected perpetrator: it counts for nothing",
    "gillick": "The child is competent to decide (Gillick)",
    "adult": "An adult, who decides for themselves",
    "presumed_16_17": "16 or 17: presumed able to decide",
    "parental_responsibility": "Has parental responsibility",
}
"""Codes of roles, purposes and consents in words; kinds of referrals are told as reports tell them."""


def tell_code(code: str | None) -> str:
    """Return a code in words; one that is in no list without its underscores."""
    if not code:
        return "not said"
    return CODES.get(code) or say(code)


def tell_kind(kind: str) -> str:
    """Return a kind of referral in words; what the contract does not know as it is."""
    return KINDS.get(kind, kind)


def write_dates(text: str) -> str:
    """Return a sentence of ours with its ISO days as GOV.UK writes them."""
    return _ISO_DAY.sub(lambda found: format_day(date.fromisoformat(found[0])), text)


def find_state(code: str) -> StateWord:
    """Return how a state or result is shown; one that is not listed is shown as it is, in grey."""
    found = STATES.get(code) or RESULTS.get(code)
    return found or StateWord(code.replace("_", " ").capitalize(), "grey")
