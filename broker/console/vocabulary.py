"""Plain words for the codes that pages show (docs/codes.md). A state has a word and a colour; the word alone must suffice."""

from collections.abc import Mapping
from typing import Final, NamedTuple


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
    "invited": StateWord("Invited", "blue"),
    "active": StateWord("Active", "green"),
    "disabled": StateWord("Disabled", "grey"),
    "expired": StateWord("Expired", "grey"),
    "replaying": StateWord("Replaying", "yellow"),
    "replayed": StateWord("Replayed", "green"),
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


def find_state(code: str) -> StateWord:
    """Return how a state or result is shown; one that is not listed is shown as it is, in grey."""
    found = STATES.get(code) or RESULTS.get(code)
    return found or StateWord(code.replace("_", " ").capitalize(), "grey")
