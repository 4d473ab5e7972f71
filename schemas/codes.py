"""The code lists of the contract (DOMAIN sections 1, 2 and 5; FORMATS CH-2, CH-4 to CH-10).

Lists that a partnership can extend (kinds, roles, purposes) are plain strings on the wire and enumerations here: an unknown value parses,
so that policy can hold it, and is never permitted.
"""

from enum import StrEnum


class Kind(StrEnum):
    """Referral kinds (DOMAIN section 1)."""

    CP_S47 = "CP_S47"
    CIN_S17 = "CIN_S17"
    PPN = "PPN"
    MARF = "MARF"
    POLICE_PROTECTION = "POLICE_PROTECTION"
    MISSING = "MISSING"
    ENCOMPASS = "ENCOMPASS"
    DA_MARAC = "DA_MARAC"
    ONLINE_CSA = "ONLINE_CSA"
    RSO_MAPPA = "RSO_MAPPA"
    FGM = "FGM"
    CSA_MANDATORY = "CSA_MANDATORY"
    PREVENT = "PREVENT"
    EXPLOITATION = "EXPLOITATION"
    S136 = "S136"
    UPDATE = "UPDATE"
    CORRECTION = "CORRECTION"
    OUTCOME = "OUTCOME"
    REQUEST = "REQUEST"


class Compartment(StrEnum):
    """The seventeen compartments of a referral (DOMAIN section 2)."""

    C01 = "C01"  # IDENT
    C02 = "C02"  # CONTACT
    C03 = "C03"  # FAMILY
    C04 = "C04"  # INCIDENT
    C05 = "C05"  # RISK
    C06 = "C06"  # VOICE
    C07 = "C07"  # HEALTH
    C08 = "C08"  # EDU
    C09 = "C09"  # OFFENDER
    C10 = "C10"  # SOURCE
    C11 = "C11"  # IMMIG
    C12 = "C12"  # SEALED
    C13 = "C13"  # CULTURE
    C14 = "C14"  # ACCESS
    C15 = "C15"  # ACTIONS
    C16 = "C16"  # HISTORY
    C17 = "C17"  # DECISION


COMPARTMENT_TITLES: dict[Compartment, str] = {
    Compartment.C01: "Identity",
    Compartment.C02: "Contact details",
    Compartment.C03: "Family and household",
    Compartment.C04: "Incident",
    Compartment.C05: "Risk assessment",
    Compartment.C06: "Voice of the child",
    Compartment.C07: "Health",
    Compartment.C08: "Education",
    Compartment.C09: "Suspects and offenders",
    Compartment.C10: "Source in confidence",
    Compartment.C11: "Immigration",
    Compartment.C12: "Sealed information",
    Compartment.C13: "Ethnicity and culture",
    Compartment.C14: "Communication and safe contact",
    Compartment.C15: "Actions taken",
    Compartment.C16: "History",
    Compartment.C17: "Decision to share",
}


class Form(StrEnum):
    """How much of a compartment a section holds."""

    FULL = "full"
    SUMMARY = "summary"
    POINTER = "pointer"


class CompartmentResult(StrEnum):
    """What a decision says of one compartment: a form that goes, or why nothing goes."""

    FULL = "full"
    SUMMARY = "summary"
    POINTER = "pointer"
    HELD = "held"
    WITHHELD = "withheld"
    REJECTED = "rejected"


class DeliveryOutcome(StrEnum):
    """What a decision says of one delivery (FORMATS 2.1)."""

    DELIVERED = "delivered"
    HELD = "held"
    WITHHELD = "withheld"
    REJECTED = "rejected"


class RiskGrade(StrEnum):
    """Risk grades, lowest first (FORMATS CH-10)."""

    NOT_ASSESSED = "not_assessed"
    NO_APPARENT_RISK = "no_apparent_risk"
    LOW = "low"
    STANDARD = "standard"
    MEDIUM = "medium"
    HIGH = "high"


RISK_ORDER: tuple[RiskGrade, ...] = tuple(RiskGrade)


class AgeBand(StrEnum):
    """Age on the local date of receipt (FORMATS CH-2)."""

    UNBORN = "unborn"
    UNDER_5 = "0-4"
    FIVE_TO_9 = "5-9"
    TEN_TO_12 = "10-12"
    THIRTEEN_TO_15 = "13-15"
    SIXTEEN_TO_17 = "16-17"
    ADULT = "adult"


class SubjectType(StrEnum):
    """What a referral can be about (DOMAIN: subjects may be places and peer groups)."""

    PERSON = "person"
    PLACE = "place"
    GROUP = "group"


class ConsentState(StrEnum):
    """States of consent (FORMATS CH-18); ``not_recorded`` means that nobody wrote down whether it was asked."""

    GIVEN = "given"
    REFUSED = "refused"
    NOT_SOUGHT = "not_sought"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    INVALID = "invalid"
    NOT_RECORDED = "not_recorded"


class ConsentGiver(StrEnum):
    """Who answered (FORMATS CH-18)."""

    ADULT_SUBJECT = "adult_subject"
    PARENT_PR_HOLDER = "parent_pr_holder"
    CHILD = "child"
    SUSPECTED_PERPETRATOR = "suspected_perpetrator"


class TellValue(StrEnum):
    """Whether the family is told (DOMAIN section 5)."""

    TELL = "tell"
    TOLD = "told"
    DO_NOT_TELL = "do_not_tell"


class Art6(StrEnum):
    """UK GDPR Article 6(1) bases (FORMATS CH-26)."""

    CONSENT = "a"
    LEGAL_OBLIGATION = "c"
    VITAL_INTERESTS = "d"
    PUBLIC_TASK = "e"
    RECOGNISED_LEGITIMATE_INTEREST = "ea"
    LEGITIMATE_INTERESTS = "f"


class ReceiptState(StrEnum):
    """The chain of a delivery's receipts (DESIGN step 6)."""

    ACCEPTED = "accepted"
    OPENED = "opened"
    ACTIONED = "actioned"
    REFUSED = "refused"


CLOCK_TITLES: dict[str, str] = {
    "la_acknowledgement": "The local authority acknowledges the referral and decides what happens next",
    "strategy_discussion": "Social care, police and health hold a strategy discussion",
    "assessment_s17": "Social care completes its assessment of the child in need (section 17)",
    "mash_triage": "The multi-agency safeguarding hub (MASH) looks at the referral and passes it on",
    "referrer_chase": "The agency that referred hears that somebody has the referral",
    "police_protection": "Police protection ends (section 46)",
    "risk_review": "The risk to the missing child is reviewed",
    "return_interview": "The child who was found has a return interview",
    "encompass_delivery": "The school knows of the incident before the child’s next school day",
    "idva_contact": "An independent domestic violence adviser (IDVA) contacts the victim",
    "rso_notification": "The registered offender’s change of circumstances is notified and answered",
    "fgm_report": "The report of female genital mutilation is answered (section 5B)",
    "prevent_screening": "Prevent or Channel screens the referral",
    "mace_screening": "The exploitation panel (MACE) screens the referral",
    "s136_detention": "Detention in a place of safety ends (section 136)",
    "request_answer": "The agency that was asked answers the request",
    "embargo_review": "The embargo is reviewed: lifted or kept",
}
"""What must have happened before each clock of the national pack runs out (``clocks.yaml`` says who is bound, and by when)."""


def name_clock(code: str) -> str:
    """Return what a clock waits for, in a sentence; of a partnership's own clock, which has none here, its code."""
    return CLOCK_TITLES.get(code, f"The partnership’s own clock {code}")
