"""Words for codes, as reports say them. A code without words is shown as it is."""

from collections.abc import Mapping
from typing import Final

KINDS: Final[Mapping[str, str]] = {
    "CP_S47": "Child protection (section 47)",
    "CIN_S17": "Child in need (section 17)",
    "PPN": "Public protection notice",
    "MARF": "Multi-agency referral",
    "POLICE_PROTECTION": "Police protection",
    "MISSING": "Missing child",
    "ENCOMPASS": "Operation Encompass",
    "DA_MARAC": "Domestic abuse (MARAC)",
    "ONLINE_CSA": "Online sexual abuse",
    "RSO_MAPPA": "Registered offender (MAPPA)",
    "FGM": "Female genital mutilation",
    "CSA_MANDATORY": "Sexual abuse (mandatory report)",
    "PREVENT": "Prevent",
    "EXPLOITATION": "Exploitation",
    "S136": "Mental health (section 136)",
    "UPDATE": "Update",
    "CORRECTION": "Correction",
    "OUTCOME": "Outcome",
    "REQUEST": "Request for information",
}
CLOCKS: Final[Mapping[str, str]] = {
    "la_acknowledgement": "Local authority acknowledgement",
    "strategy_discussion": "Strategy discussion",
    "assessment_s17": "Section 17 assessment",
    "mash_triage": "MASH triage",
    "referrer_chase": "Word back to the referrer",
    "police_protection": "Police protection (72 hours)",
    "risk_review": "Missing: risk review",
    "return_interview": "Missing: return interview (72 hours)",
    "encompass_delivery": "Encompass before school",
    "idva_contact": "IDVA contact",
    "rso_notification": "Registered offender notification",
    "fgm_report": "FGM report",
    "prevent_screening": "Prevent screening",
    "mace_screening": "Exploitation screening",
    "s136_detention": "Section 136 detention (24 hours)",
    "request_answer": "Answer to a request",
    "embargo_review": "Embargo review",
}
STAGES: Final[Mapping[str, str]] = {
    "incident_to_hub": "Incident to referral",
    "released_to_taken": "Released to received",
    "released_to_opened": "Released to opened",
    "opened_to_actioned": "Opened to acted on",
    "hub_to_outcome": "Referral to outcome message",
}
FLAGS: Final[Mapping[str, str]] = {
    "ethnicity_ns_without_reason": "Not stated, no reason given",
    "ethnicity_ns_avoidable": "Not stated, avoidably",
    "ethnicity_officer_perceived_only": "Officer's perception only",
    "ethnicity_free_text_only": "Free text only",
    "ethnicity_not_recorded": "Not recorded",
    "ethnicity_not_self_defined": "Stated by a practitioner",
    "ethnicity_crosswalk_ambiguous": "No exact match in the recipient's scheme",
    "interpreter_needed_not_used": "Interpreter needed and not used",
    "interpreter_was_relative": "A relative interpreted",
    "voice_absent": "No words of the child",
    "risk_assessment_absent": "No risk assessment",
    "risk_assessment_stale": "Risk review overdue when sent",
    "risk_rationale_missing": "Level set without a rationale",
    "risk_downgraded": "Level lowered",
    "missing_low_risk_under_18": "Low or no risk, under 18",
    "supervisor_check_absent": "No supervisor's check",
    "prevention_interview_declined": "Prevention interview declined",
}
BASES: Final[Mapping[str, str]] = {
    "a": "Consent (a)",
    "c": "Legal obligation (c)",
    "d": "Vital interests (d)",
    "e": "Public task (e)",
    "ea": "Recognised legitimate interest (ea)",
    "f": "Legitimate interests (f)",
}
COMPARTMENTS: Final[Mapping[str, str]] = {
    "C01": "Identity",
    "C02": "Contact details",
    "C03": "Family",
    "C04": "Incident",
    "C05": "Risk",
    "C06": "Voice of the child",
    "C07": "Health",
    "C08": "Education",
    "C09": "Suspects and offenders",
    "C10": "Source in confidence",
    "C11": "Immigration",
    "C12": "Sealed",
    "C13": "Ethnicity and culture",
    "C14": "Communication",
    "C15": "Actions taken",
    "C16": "History",
    "C17": "Decision to share",
}
ROWS: Final[Mapping[str, str]] = {
    "D0": "D0 signature, agreement, basis or matrix",
    "D1": "D1 sealed, statutory or court bar",
    "D2": "D2 embargo, conflict, do-not-tell",
    "D3": "D3 statutory duty",
    "D4": "D4 significant harm or danger",
    "D5": "D5 welfare concern",
    "D6": "D6 outside section 16LA",
    "D7": "D7 depends on consent",
    "D8": "D8 offender information",
    "D9": "D9 clinical confidence",
    "D10": "D10 immigration",
    "D11": "D11 request's statutory task",
    "D12": "D12 source, or nothing permits",
}
OTHERS: Final[Mapping[str, str]] = {
    "not_sought": "Not sought",
    "not_recorded": "Not recorded",
    "not_assessed": "Not assessed",
    "no_apparent_risk": "No apparent risk",
    "do_not_tell": "Not to be told",
    "tell": "To be told",
    "told": "Told",
    "no_school": "Local authority: at no school",
    "school": "The child's school",
    "unmatched": "Local authority: school not matched",
    "nobody": "Nobody could be found",
    "within_3": "Within 3 months",
    "within_6": "3 to 6 months",
    "within_12": "6 to 12 months",
    "later": "More than 12 months",
    "first": "No earlier referral",
    "no_token": "Cannot be linked",
    "threshold_not_met": "Below the threshold",
    "not_our_area": "Not our area",
    "not_our_child": "Not our child",
    "insufficient_information": "Not enough information",
    "wrong_service": "Wrong service",
    "by_correction": "Got the correction",
    "by_notice": "Told that there is one",
    "not_told": "Not told",
    "no_child": "No child linked",
    "shared": "Child linked, sent to social care",
    "not_shared": "Child linked, not sent to social care",
    "not_ahead": "Not ahead",
    "within_5_seconds": "Ahead by up to 5 seconds",
    "within_1_minute": "Ahead by up to 1 minute",
    "within_5_minutes": "Ahead by up to 5 minutes",
    "over_5_minutes": "Ahead by over 5 minutes",
    "csc": "Social care",
    "csc_named": "Social care, named lead",
    "csc_mace": "Social care, exploitation panel",
    "dsl": "School's designated lead",
    "gp": "General practice",
    "none": "None",
    "": "No reason given",
}
_EVERY: Final[Mapping[str, str]] = {**OTHERS, **COMPARTMENTS, **ROWS, **FLAGS, **STAGES, **CLOCKS, **KINDS}


def say(code: str) -> str:
    """Return the words for a code of any list but the lawful bases (whose codes are single letters)."""
    if code in _EVERY:
        return _EVERY[code]
    return code.replace("_", " ").capitalize() if code.islower() else code


def say_kind_order(code: str) -> tuple[int, str]:
    """Return where a kind stands in lists: in the order of the contract, unknown ones last."""
    order = list(KINDS)
    return (order.index(code) if code in order else len(order), code)
