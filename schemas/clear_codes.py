"""Closed lists for what is in clear: reasons, roles, purposes, tools, flags. A word that is in no list does not fit the routing header.

The words themselves are in sealed compartments. A list grows with a version of the contract; a partnership's own roles and purposes are
``local_01`` to ``local_99``, and its directory says what they mean, so that no name can stand where a code belongs.
"""

from enum import StrEnum


class MissingEvent(StrEnum):
    """What a missing-person message tells (DOMAIN section 1)."""

    OPEN = "open"
    UPDATE = "update"
    FOUND = "found"


class Role(StrEnum):
    """What an agency is to a child, or a person to the partnership (DOMAIN section 2; FORMATS CH-5, CH-7)."""

    CSC = "csc"
    CSC_MACE = "csc_mace"
    CSC_NAMED = "csc_named"
    SOCIAL_WORKER = "social_worker"
    EARLY_HELP = "early_help"
    POLICE = "police"
    POLICE_PREVENT = "police_prevent"
    POLICE_ENFORCEMENT = "police_enforcement"
    DETECTIVE_INSPECTOR = "detective_inspector"
    HEALTH_SAFEGUARDING = "health_safeguarding"
    MENTAL_HEALTH = "mental_health"
    GP = "gp"
    NAMED_NURSE = "named_nurse"
    NAMED_DOCTOR = "named_doctor"
    DSL = "dsl"
    LA_EDUCATION = "la_education"
    IDVA = "idva"
    MAPPA = "mappa"
    PROBATION = "probation"
    CHANNEL = "channel"
    CARER = "carer"
    RETURN_INTERVIEW = "return_interview"
    NRM = "nrm"
    YOUTH_JUSTICE = "youth_justice"
    HOUSING = "housing"
    AMBULANCE = "ambulance"
    FIRE_RESCUE = "fire_rescue"
    APPROVER = "approver"
    PARTNERSHIP_APPROVER = "partnership_approver"
    POLICY_APPROVER = "policy_approver"
    SUPERVISOR = "supervisor"
    CLERK = "clerk"
    AUDITOR = "auditor"
    PARTNERSHIP_AUDITOR = "partnership_auditor"
    INSPECTOR = "inspector"
    INFORMATION_GOVERNANCE = "ig_officer"
    PARTNERSHIP_INFORMATION_GOVERNANCE = "partnership_ig_officer"
    OPERATOR = "operator"
    AUTHORITY_OFFICER = "authority_officer"
    UNKNOWN = "unknown"


class Purpose(StrEnum):
    """What a delivery is for (FORMATS CH-9)."""

    SAFEGUARD_CHILD = "safeguard_child"
    PROMOTE_WELFARE = "promote_welfare"
    SAFEGUARD_VICTIM = "safeguard_victim"
    SCHOOL_SUPPORT = "school_support"
    PUBLIC_PROTECTION = "public_protection"
    HEALTH_CARE = "health_care"
    PREVENT_REFERRAL = "prevent_referral"
    RETURN_INTERVIEW = "return_interview"
    EARLY_HELP_SERVICE = "early_help_service"
    IDVA_SUPPORT = "idva_support"
    CHANNEL_SUPPORT = "channel_support"
    IMMIGRATION_ENFORCEMENT = "immigration_enforcement"
    """Never permitted; it is here so that a refusal can name it (CH-8)."""


class RiskTool(StrEnum):
    """Risk assessment tools in national use, and the sorts of local ones (DOMAIN section 2, C05). The tool's own name is in C05."""

    DASH = "dash"
    DARA = "dara"
    THRIVE = "thrive"
    ARMS = "arms"
    KIRAT = "kirat"
    OASYS = "oasys"
    SARA = "sara"
    PREVENT_VAF = "prevent_vaf"
    DHSC_FGM = "dhsc_fgm"
    GRADED_CARE_PROFILE = "graded_care_profile"
    THRESHOLD_DOCUMENT = "threshold_document"
    LOCAL = "local"
    NOT_STATED = "not_stated"


RISK_TOOL_TITLES: dict[str, str] = {
    RiskTool.DASH: "DASH",
    RiskTool.DARA: "DARA",
    RiskTool.THRIVE: "THRIVE",
    RiskTool.ARMS: "ARMS",
    RiskTool.KIRAT: "KIRAT",
    RiskTool.OASYS: "OASys",
    RiskTool.SARA: "SARA",
    RiskTool.PREVENT_VAF: "Prevent VAF",
    RiskTool.DHSC_FGM: "DHSC FGM risk assessment",
    RiskTool.GRADED_CARE_PROFILE: "Graded Care Profile",
    RiskTool.THRESHOLD_DOCUMENT: "threshold document",
    RiskTool.LOCAL: "local tool",
    RiskTool.NOT_STATED: "tool not stated",
}


class TokenScheme(StrEnum):
    """From what a subject's pseudonym is made (``schemas.header.SubjectToken``)."""

    NHS = "nhs"
    NHS_UNVERIFIED = "nhs_unverified"
    UPN = "upn"
    NAME_BORN = "name_born"


class DisclosureScheme(StrEnum):
    """Under what an offender's details may be disclosed outside MAPPA (DOMAIN section 2, MAPPA trap; section 5, D8)."""

    MAPPA = "MAPPA"
    CSODS = "CSODS"
    DVDS = "DVDS"
    OTHER = "OTHER"


class ConsentMethod(StrEnum):
    """How consent was asked (DOMAIN section 5, consent record)."""

    IN_PERSON = "in_person"
    TELEPHONE = "telephone"
    VIDEO = "video"
    TABLET = "tablet"
    PAPER = "paper"
    LETTER = "letter"
    OTHER = "other"


class ResponsibilityEvidence(StrEnum):
    """What shows that somebody holds parental responsibility (Children Act 1989 ss.2 to 4A)."""

    BIRTH_CERTIFICATE = "birth_certificate"
    AGREEMENT = "agreement"
    COURT_ORDER = "court_order"
    GUARDIANSHIP = "guardianship"
    STATED = "stated"


class CourtBar(StrEnum):
    """What bars a disclosure where no section of an Act does (D1)."""

    COURT_ORDER = "court_order"
    REPORTING_RESTRICTION = "reporting_restriction"
    ADOPTION = "adoption"


class QualityFlag(StrEnum):
    """What is wanting in a record; a flag never blocks (FORMATS CH-23)."""

    ETHNICITY_NS_WITHOUT_REASON = "ethnicity_ns_without_reason"
    ETHNICITY_NS_AVOIDABLE = "ethnicity_ns_avoidable"
    ETHNICITY_OFFICER_PERCEIVED_ONLY = "ethnicity_officer_perceived_only"
    ETHNICITY_FREE_TEXT_ONLY = "ethnicity_free_text_only"
    ETHNICITY_NOT_RECORDED = "ethnicity_not_recorded"
    ETHNICITY_NOT_SELF_DEFINED = "ethnicity_not_self_defined"
    ETHNICITY_CROSSWALK_AMBIGUOUS = "ethnicity_crosswalk_ambiguous"
    NHS_NUMBER_ABSENT = "nhs_number_absent"
    NHS_NUMBER_ABSENT_NO_REASON = "nhs_number_absent_no_reason"
    NHS_NUMBER_UNVERIFIED = "nhs_number_unverified"
    VOICE_ABSENT = "voice_absent"
    INTERPRETER_NEEDED_NOT_USED = "interpreter_needed_not_used"
    INTERPRETER_WAS_RELATIVE = "interpreter_was_relative"
    RISK_ASSESSMENT_STALE = "risk_assessment_stale"
    RISK_ASSESSMENT_ABSENT = "risk_assessment_absent"
    RISK_RATIONALE_MISSING = "risk_rationale_missing"
    RISK_DOWNGRADED = "risk_downgraded"
    MISSING_LOW_RISK_UNDER_18 = "missing_low_risk_under_18"
    SUPERVISOR_CHECK_ABSENT = "supervisor_check_absent"
    CONSENT_GIVER_SUSPECTED = "consent_giver_suspected"
    TELL_STATUS_AGAINST_PRESET = "tell_status_against_preset"
    SCHOOL_UNMATCHED = "school_unmatched"
    TIME_AMBIGUOUS = "time_ambiguous"
    PREVENTION_INTERVIEW_DECLINED = "prevention_interview_declined"


class Reason(StrEnum):
    """Why: for receipts, approvals, consents, recalls, requests, break-glass and keys. The words stay with the agency, or go in C17 or an OUTCOME."""

    REASON_GIVEN = "reason_given"
    # a recipient refuses
    CANNOT_OPEN = "cannot_open"
    CONFLICT_OF_INTEREST = "conflict_of_interest"
    DUPLICATE = "duplicate"
    INSUFFICIENT_INFORMATION = "insufficient_information"
    NOT_OUR_AREA = "not_our_area"
    NOT_OUR_CHILD = "not_our_child"
    THRESHOLD_NOT_MET = "threshold_not_met"
    WRONG_SERVICE = "wrong_service"
    # a recipient has acted
    ASSESSMENT_STARTED = "assessment_started"
    STRATEGY_DISCUSSION_HELD = "strategy_discussion_held"
    SUPPORT_OFFERED = "support_offered"
    PASSED_TO_PRACTITIONER = "passed_to_practitioner"
    NO_FURTHER_ACTION = "no_further_action"
    # an approver or reviewer decides
    NEED_TO_KNOW = "need_to_know"
    NOT_NECESSARY = "not_necessary"
    NOT_AGREED = "not_agreed"
    PANEL_DECIDED = "panel_decided"
    BOARD_AGREED = "board_agreed"
    MORE_DETRIMENTAL = "more_detrimental"
    SUBJECT_REQUEST = "subject_request"
    SERIOUS_CASE_REVIEW = "serious_case_review"
    RETENTION_ENDED = "retention_ended"
    ENDED = "ended"
    SOURCE_AT_RISK = "source_at_risk"
    STILL_NEEDED = "still_needed"
    WARRANT_EXECUTED = "warrant_executed"
    JUSTIFIED = "justified"
    NOT_JUSTIFIED = "not_justified"
    # immediate danger
    DANGER_NOW = "danger_now"
    RISK_TO_LIFE = "risk_to_life"
    # consent, and telling the family
    CHANGED_MIND = "changed_mind"
    DOES_NOT_WANT = "does_not_want"
    NOT_NEEDED_STATUTORY_DUTY = "not_needed_statutory_duty"
    CANNOT_BE_REACHED = "cannot_be_reached"
    LACKS_CAPACITY = "lacks_capacity"
    WOULD_DELAY_PROTECTION = "would_delay_protection"
    WOULD_INCREASE_RISK = "would_increase_risk"
    WOULD_PREJUDICE_INVESTIGATION = "would_prejudice_investigation"
    # a recall, a correction
    WRONG_CHILD = "wrong_child"
    WRONG_PERSON = "wrong_person"
    WRONG_RECIPIENT = "wrong_recipient"
    SENT_IN_ERROR = "sent_in_error"
    INACCURATE = "inaccurate"
    # an answer to a request
    NO_RECORD = "no_record"
    NO_STATUTORY_TASK = "no_statutory_task"
    # why something is kept after a recall
    LEGAL_HOLD = "legal_hold"
    COURT_ORDER = "court_order"
    STATUTORY_RETENTION = "statutory_retention"
    FILES_HANDED_ON = "files_handed_on"
    # keys and enrolment
    KEY_COMPROMISED = "key_compromised"
    KEY_LOST = "key_lost"
    KEY_REPLACED = "key_replaced"
    FINGERPRINT_DIFFERS = "fingerprint_differs"


ACTS: tuple[str, ...] = (
    "ACA 2002",
    "CA 1989",
    "CA 2004",
    "CA 2014",
    "CDA 1998",
    "CJA 2003",
    "CPA 2026",
    "CSWA 2017",
    "CTSA 2015",
    "CWSA 2026",
    "CYPA 1933",
    "DAA 2021",
    "DPA 2018",
    "EA 2002",
    "FGMA 2003",
    "FLA 1996",
    "GRA 2004",
    "MCA 2005",
    "MHA 1983",
    "MSA 2015",
    "PACE 1984",
    "SOA 2003",
    "SOAA 1992",
    "YJCEA 1999",
)
"""Acts as practitioners abbreviate them: a provision is one of these and a section."""
