"""The mapping engine on formats that no code knows, and on what the samples do not show (FORMATS part 3)."""

import base64
import copy
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.mapping import (
    MappingContext,
    RecordOutcome,
    default_mappings,
    draft_header,
    load_mapping,
    read_records,
    recognise_mapping,
)
from adapters.mapping.addressing import find_by_role, make_clear, make_unresolved
from adapters.mapping.defaults import find_purpose
from adapters.mapping.facts import find_provision
from adapters.mapping.redaction import MARK
from schemas.codes import Compartment, ConsentState
from schemas.errors import Rejected
from schemas.referral import Referral, StatedToken
from tests.support.sample_files import SAMPLES, load_sample_directory

C = Compartment
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
HERON = Path(__file__).parent / "data" / "heron_notice.yaml"
NOTICE: dict[str, Any] = {
    "notice": {
        "id": "H-1",
        "type": "red",
        "mode": "first",
        "force": "99",
        "council": "E10999001",
        "log": "L-77",
        "day": "19 NOV 2026",
        "clock": "18:00",
        "urgent": True,
        "what": "Seen at 5 Hidden Lane by Ms Wren Tell-Tale, who rang us. Formerly known as Oldname.",
        "short": "Child hurt at home.",
    },
    "persons": [
        {
            "key": "a",
            "involvement": ["concern for"],
            "called": "Robin Testchild",
            "birthday": "2016-02-01",
            "numbers": {"health": "999 000 1375", "traced": True, "school": "999101"},
            "background": {"code": "O1", "who": "me"},
            "places": [{"where": "1 Open Street"}, {"where": "5 Hidden Lane", "secret": True}],
            "neverSay": ["Oldname"],
            "words": "I hid.",
        },
        {
            "key": "b",
            "involvement": ["father", "accused"],
            "called": "Jay Testchild",
            "phone": "07700 900001",
            "passport": "Nowhere",
        },
        {"key": "c", "involvement": ["caller"], "called": "Wren Tell-Tale", "phone": "07700 900002"},
    ],
    "views": [{"how": "LADDER", "level": 5, "at": "19/11/2026 19:00", "because": "Injury"}],
    "sharing": {
        "because": "duty",
        "law": "Children Act 1989 s.47",
        "asked": "not asked",
        "whyNot": "Urgent",
        "family": "must not know",
        "familyWhy": "Risk",
        "to": ["front-door", "school"],
        "sergeant": "2209",
    },
}


def read_notice(change: dict[str, Any] | None = None, **context: Any) -> RecordOutcome:
    """Map a HERON notice in which dotted paths are replaced."""
    notice = copy.deepcopy(NOTICE)
    for path, value in (change or {}).items():
        *steps, last = path.split(".")
        target: Any = notice
        for step in steps:
            target = target[int(step)] if isinstance(target, list) else target[step]
        target[int(last) if isinstance(target, list) else last] = value
    surroundings = MappingContext(load_sample_directory(), context.get("sender"), context.get("now", NOW))
    return read_records(json.dumps(notice).encode(), load_mapping(HERON), surroundings)[0]


def map_notice(change: dict[str, Any] | None = None) -> Referral:
    outcome = read_notice(change)
    assert outcome.referral is not None, outcome.error
    return outcome.referral


def find_texts(referral: Referral, text: str) -> set[str]:
    """Return the compartments whose parts hold a text."""
    return {part.compartment.value for part in referral.parts if text in part.model_dump_json()}


def test_a_second_force_needs_no_code() -> None:
    referral = map_notice()
    assert (referral.kind, referral.native_ref, referral.sender, referral.area) == (
        "CP_S47",
        "H-1",
        "police.marchshire",
        "E10999001",
    )
    assert [(e.agency, e.role, e.purpose) for e in referral.circulation] == [
        ("csc.marchshire", "csc", "safeguard_child"),
        ("school.oakfield", "dsl", "safeguard_child"),
    ]
    assert [c.value for c in referral.compartments] == [
        "C01",
        "C02",
        "C03",
        "C04",
        "C05",
        "C06",
        "C08",
        "C09",
        "C10",
        "C11",
        "C12",
        "C13",
        "C14",
        "C17",
    ]
    assert referral.risk.grade == "high"
    assert referral.risk.immediate_danger
    assert referral.lawful_basis.provision == "CA 1989 s.47"
    assert referral.subjects[0].ethnicity is not None
    assert referral.subjects[0].ethnicity.nhs.code == "R"
    assert referral.subjects[0].tied_agencies == ("school.oakfield",)
    assert referral.urgent
    assert referral.unmapped == ()


def test_its_documents_are_recognised_beside_the_others() -> None:
    own = load_mapping(HERON)
    assert recognise_mapping("x.json", json.dumps(NOTICE).encode(), (*default_mappings(), own)).id == own.id


def test_what_belongs_apart_is_taken_out_of_the_account_and_kept() -> None:
    referral = map_notice()
    assert find_texts(referral, "Hidden Lane") == {"C12"}
    assert find_texts(referral, "Oldname") == {"C12"}
    assert "C04" not in find_texts(referral, "Tell-Tale")
    account = next(s for p in referral.parts if p.compartment is C.C04 for s in p.statements if s.label == "Account")
    assert isinstance(account.value, str)
    assert account.value.count(MARK) == 3
    kept = [
        s.value
        for p in referral.parts
        if p.compartment is C.C12
        for s in p.statements
        if s.label == "As written: Account"
    ]
    assert kept == [f"Seen at 5 Hidden Lane by Ms {MARK}, who rang us. Formerly known as Oldname."]
    assert find_texts(referral, "Tell-Tale") == {"C10"}


def test_summaries_are_redacted_too() -> None:
    referral = map_notice({"notice.short": "Child hurt at 5 Hidden Lane."})
    assert next(p.summary for p in referral.parts if p.compartment is C.C04) == f"Child hurt at {MARK}."


def test_a_suspected_father_is_family_and_suspect_and_has_no_contact_details_outside_c09() -> None:
    referral = map_notice()
    assert find_texts(referral, "07700 900001") == {"C09"}
    assert find_texts(referral, "Jay Testchild") == {"C03", "C09"}
    assert find_texts(referral, "Nowhere") == {"C11"}


def test_an_informants_surname_that_the_family_shares_is_not_taken_out() -> None:
    referral = map_notice(
        {"persons.2.called": "Wren Testchild", "notice.what": "Robin Testchild was seen by Wren Testchild."}
    )
    account = next(
        s.value for p in referral.parts if p.compartment is C.C04 for s in p.statements if s.label == "Account"
    )
    assert account == f"Robin Testchild was seen by {MARK}."


def test_an_informant_who_is_described_and_not_named_changes_no_text() -> None:
    words = "A neighbour rang; the neighbour heard shouting."
    referral = map_notice({"persons.2.called": "A neighbour", "notice.what": words})
    assert any(s.value == words for p in referral.parts if p.compartment is C.C04 for s in p.statements)


def test_the_minimal_decision_names_nobody() -> None:
    summary = next(p.summary for p in map_notice().parts if p.compartment is C.C17)
    assert summary is not None
    assert "Do not tell the family." in summary
    assert "Urgent" not in summary


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"notice.type": "blue"}, "notice.type"),
        ({"notice.id": None}, "notice.id"),
        ({"notice.day": "31/11/2026"}, "notice.day"),
        ({"notice.clock": "25:00"}, "notice.clock"),
        ({"notice.day": "21/11/2026"}, "notice.day"),
        ({"notice.mode": "fix"}, "notice.about"),
        ({"notice.force": "77"}, "notice.force"),
        ({"notice.council": "E1"}, "notice.council"),
        ({"notice.what": "  "}, "notice.what"),
        ({"persons.0.birthday": "2026-11-20"}, "persons[0].birthday"),
        ({"persons.0.involvement": ["nobody knows"]}, "persons[0].involvement[0]"),
        ({"persons.0.numbers.health": "9990001376"}, "persons[0].numbers.health"),
        ({"persons.0.background.code": "W3"}, "persons[0].background.code"),
        ({"persons.1.key": "a"}, "persons[1].key"),
        ({"persons.0.involvement": ["mother"]}, "persons"),
        ({"views.0.level": 4}, "views[0].level"),
        ({"views.0.level": None}, "views[0].level"),
        ({"sharing.because": "whim"}, "sharing.because"),
        ({"sharing.because": None}, "sharing.because"),
        ({"sharing.whyNot": None}, "sharing.whyNot"),
        ({"sharing.familyWhy": None}, "sharing.familyWhy"),
        ({"sharing.to": []}, "sharing.to"),
    ],
)
def test_every_fault_is_rejected_at_its_field(change: dict[str, Any], field: str) -> None:
    outcome = read_notice(change)
    assert outcome.referral is None
    assert outcome.error is not None
    assert outcome.error.field == field


def test_two_subjects_cannot_have_one_nhs_number() -> None:
    second = {**NOTICE["persons"][0], "key": "z"}
    error = read_notice({"persons.1": second}).error
    assert error is not None
    assert error.field == "persons[1].numbers.health"


def test_a_correction_keeps_the_original_kind() -> None:
    referral = map_notice({"notice.mode": "fix", "notice.about": "H-0"})
    assert (referral.kind, referral.original_kind, referral.relates_to) == ("CORRECTION", "CP_S47", "H-0")
    assert referral.circulation[0].purpose == "safeguard_child"


def test_an_unknown_code_and_an_unknown_school_are_addressed_to_nobody() -> None:
    referral = map_notice({"sharing.to": ["front-door", "space", "school"], "persons.0.numbers.school": "999888"})
    assert [(e.agency, e.role) for e in referral.circulation] == [
        ("csc.marchshire", "csc"),
        ("unresolved:code:space", "unknown"),
        ("unresolved:urn:999888", "dsl"),
    ]


def test_another_agency_may_not_send_it() -> None:
    outcome = read_notice(sender="csc.marchshire")
    assert outcome.error is not None
    assert outcome.error.field == "notice.force"


def test_a_field_that_nobody_reads_is_reported_by_its_path() -> None:
    assert map_notice({"notice.weather": "rain", "persons.0.shoe": 7}).unmapped == ("notice.weather", "persons.shoe")


def test_the_same_bytes_have_the_same_digest_and_others_another() -> None:
    assert map_notice().native_digest == map_notice().native_digest
    assert map_notice().native_digest != map_notice({"notice.short": "Other."}).native_digest


def make_paper(**change: Any) -> dict[str, Any]:
    data = b"%PDF synthetic"
    paper = {
        "label": "a.pdf",
        "kind": "application/pdf",
        "length": len(data),
        "hash": hashlib.sha256(data).hexdigest(),
        "heading": "HEALTH",
        "content": base64.b64encode(data).decode(),
    }
    return {**paper, **change}


def test_a_file_goes_with_its_heading() -> None:
    notice = {**NOTICE, "papers": [make_paper()]}
    context = MappingContext(load_sample_directory(), None, NOW)
    referral = read_records(json.dumps(notice).encode(), load_mapping(HERON), context)[0].referral
    assert referral is not None
    assert [(p.compartment.value, len(p.attachments)) for p in referral.parts if p.attachments] == [("C07", 1)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"length": 3}, "papers[0].length"),
        ({"hash": "0" * 64}, "papers[0].hash"),
        ({"content": "not base64!"}, "papers[0].content"),
        ({"heading": "WEATHER"}, "papers[0].heading"),
        ({"content": None}, "papers[0].content"),
    ],
)
def test_a_file_that_is_not_what_was_declared_is_rejected(change: dict[str, Any], field: str) -> None:
    notice = {**NOTICE, "papers": [make_paper(**change)]}
    context = MappingContext(load_sample_directory(), None, NOW)
    error = read_records(json.dumps(notice).encode(), load_mapping(HERON), context)[0].error
    assert error is not None
    assert error.field == field


def change_sample(name: str, change: Any, received_at: str = "2026-11-25T09:00:00+00:00") -> RecordOutcome:
    """Map a JSON sample after ``change`` has altered it."""
    document = json.loads((SAMPLES / name).read_text(encoding="utf-8"))
    change(document)
    data = json.dumps(document).encode()
    context = MappingContext(load_sample_directory(), None, datetime.fromisoformat(received_at))
    return read_records(data, recognise_mapping(name, data, default_mappings()), context)[0]


WELSH = "police-ppn-json/ppn-0041902-s17-welsh-carer.json"
EMBARGO = "police-ppn-json/ppn-0042040-online-embargo.json"
SIBLINGS = "police-ppn-json/ppn-0041877-s47-siblings.json"
MARAC = "police-ppn-json/ppn-0042015-marac-unborn.json"


def read_consent_state(change: Any, received_at: str = "2026-11-25T09:00:00+00:00") -> ConsentState:
    outcome = change_sample(WELSH, change, received_at)
    assert outcome.referral is not None, outcome.error
    return outcome.referral.consent.facts.state


def test_consent_expires_at_the_instant_itself() -> None:
    assert read_consent_state(lambda d: None, "2027-05-16T22:59:59+00:00") is ConsentState.GIVEN
    assert read_consent_state(lambda d: None, "2027-05-16T23:00:00+00:00") is ConsentState.EXPIRED


def test_a_suspects_consent_is_invalid_even_if_a_parents() -> None:
    outcome = change_sample(WELSH, lambda d: d["nominals"][1].update(alsoSusp="Y"))
    assert outcome.referral is not None
    assert outcome.referral.consent.facts.state is ConsentState.INVALID
    assert "consent_giver_suspected" in outcome.referral.quality_flags
    assert C.C09 in outcome.referral.compartments


def test_consent_scope_names_agencies_and_headings() -> None:
    outcome = change_sample(WELSH, lambda d: d["notif"]["dissem"]["consent"].update(cats=["IDENT", "RISK", "voice"]))
    assert outcome.referral is not None
    scope = outcome.referral.consent.facts.scope
    assert scope.recipients == ("earlyhelp.marchshire",)
    assert scope.compartments == (C.C01, C.C05, C.C06)


def test_an_embargo_is_over_when_lifted_and_counts_from_its_last_review() -> None:
    def change(document: dict[str, Any]) -> None:
        hold = document["notif"]["dissem"]["hold"]
        hold.update(
            lastRvwDtm="2026-11-20T12:00:00Z", liftedDtm="2026-11-24T12:00:00Z", mayKnow=["STRAT-LEAD", "HEALTH-SG"]
        )

    referral = change_sample(EMBARGO, change).referral
    assert referral is not None
    assert referral.embargo is not None
    facts = referral.embargo.facts
    assert not facts.active
    assert facts.named == ("csc.marchshire#strategy-lead", "health.marchshire-ft#named-doctor")
    assert facts.review_due_at == datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_whom_an_embargo_lets_know_is_addressed_by_name() -> None:
    referral = change_sample(
        EMBARGO, lambda d: d["notif"]["dissem"]["hold"].update(mayKnow=["STRAT-LEAD", "HEALTH-SG"])
    ).referral
    assert referral is not None
    assert [e.contact for e in referral.circulation] == ["strategy-lead", "named-doctor", None]


def test_children_of_two_schools_go_to_each_school() -> None:
    referral = change_sample(SIBLINGS, lambda d: d["nominals"][1].update(schUrn="999102")).referral
    assert referral is not None
    assert [e.agency for e in referral.circulation if e.role == "dsl"] == ["school.oakfield", "school.st-hilda"]
    assert [s.tied_agencies for s in referral.subjects] == [
        ("school.oakfield", "gp.millbrook"),
        ("school.st-hilda", "gp.millbrook"),
    ]


def test_thrive_counts_only_alone() -> None:
    referral = change_sample(SIBLINGS, lambda d: d["notif"].update(ras=[])).referral
    assert referral is not None
    assert (referral.risk.tool, referral.risk.grade) == ("THRIVE", "high")
    assert "risk_assessment_absent" not in referral.quality_flags


def test_conflicts_and_tokens_are_found_in_the_directory() -> None:
    def change(document: dict[str, Any]) -> None:
        document["notif"]["dissem"]["coi"] = [
            {"org": {"urn": "999101"}, "post": "dsl"},
            {"org": {"ods": "Z99001"}},
            {"org": {"gss": "E10999002"}, "post": "Nobody's post"},
        ]
        document["notif"]["dissem"]["tokens"] = [
            {
                "scheme": "MAPPA",
                "ref": "M/1",
                "urn": "999101",
                "expDtm": "2026-12-01T00:00:00Z",
                "authBy": "Leopold Ashgrove-Test",
            },
            {"scheme": "DVDS", "ref": "D/1", "for": "IDVA", "authBy": "7001"},
        ]

    referral = change_sample(SIBLINGS, change).referral
    assert referral is not None
    assert [(c.agency, c.contact) for c in referral.conflicts] == [
        ("school.oakfield", "dsl"),
        ("gp.millbrook", None),
        ("csc.northmarch", None),
    ]
    assert [(t.scheme, t.recipient, t.authorised_by) for t in referral.tokens] == [
        ("MAPPA", "school.oakfield", "Leopold Ashgrove-Test"),
        ("DVDS", "idva.safehaven", "7001"),
    ]


def test_whom_not_to_tell_is_said_to_everybody_without_a_name() -> None:
    referral = change_sample(MARAC, lambda d: None).referral
    assert referral is not None
    said = [s for p in referral.parts if p.compartment is C.C14 for s in p.statements if s.label == "Do not tell"]
    assert [s.value for s in said] == [[{"Reference": "N99/198800", "Relation": "husband"}]]
    assert find_texts(referral, "Sandringsby") == {"C09"}


def test_a_wall_time_in_doubt_raises_a_flag() -> None:
    def change(document: dict[str, Any]) -> None:
        document["occ"]["rptdDtm"] = document["occ"]["fromDtm"] = "25/10/2026 01:30"

    referral = change_sample(WELSH, change).referral
    assert referral is not None
    assert "time_ambiguous" in referral.quality_flags
    assert referral.reported_at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_a_time_that_is_only_content_must_be_a_time_too() -> None:
    outcome = change_sample(SIBLINGS, lambda d: d["notif"]["actions"][1].update(dtm="25/10/2026 01:30"))
    assert outcome.referral is not None
    assert "time_ambiguous" in outcome.referral.quality_flags
    error = change_sample(SIBLINGS, lambda d: d["notif"]["actions"][1].update(dtm="yesterday")).error
    assert error is not None
    assert error.field == "notif.actions[1].dtm"


def test_ns_recorded_by_an_officer_is_flagged_as_not_self_defined() -> None:
    referral = change_sample(EMBARGO, lambda d: d["nominals"][0].update(sdeBy="OFFR")).referral
    assert referral is not None
    assert {"ethnicity_not_self_defined", "ethnicity_ns_avoidable"} <= set(referral.quality_flags)


def test_restricted_words_of_an_extract_are_separate_phrases() -> None:
    name = "police-pole-xml/pole-20261109-02.xml"
    text = (SAMPLES / name).read_text(encoding="utf-8")
    text = text.replace(
        "<Condition>", '<Restricted words="since the summer; PC Oake">Order of the court</Restricted><Condition>', 1
    )
    context = MappingContext(load_sample_directory(), None, datetime(2026, 11, 9, 6, 4, tzinfo=UTC))
    referral = read_records(text.encode(), load_mapping("police-magpie-pole"), context)[0].referral
    assert referral is not None
    assert find_texts(referral, "since the summer") == {"C12"}
    assert find_texts(referral, "PC Oake") == {"C12"}
    assert find_texts(referral, "Order of the court") == {"C12"}


def test_a_sealed_home_is_in_c12_alone() -> None:
    name = "police-pole-xml/pole-20261109-02.xml"
    text = (
        (SAMPLES / name)
        .read_text(encoding="utf-8")
        .replace('<Place id="L111" sealed="no">', '<Place id="L111" sealed="yes">')
    )
    context = MappingContext(load_sample_directory(), None, datetime(2026, 11, 9, 6, 4, tzinfo=UTC))
    referral = read_records(text.encode(), load_mapping("police-magpie-pole"), context)[1].referral
    assert referral is not None
    assert C.C02 not in referral.compartments
    assert find_texts(referral, "Plot 6, Sandpit Lane site") == {"C12"}


@pytest.mark.parametrize(
    ("words", "provision"),
    [
        ("Children Act 1989 s.47; Children Act 2004 s.16LA", "CA 1989 s.47"),
        ("children act 2004 s.16LA", "CA 2004 s.16LA"),
        ("Children Act 1989 section 46", "CA 1989 s.46"),
        ("Public task, see Children Act 1989", None),
        ("s.47", None),
        (None, None),
    ],
)
def test_provisions_are_abbreviated(words: str | None, provision: str | None) -> None:
    assert find_provision(words) == provision


@pytest.mark.parametrize(
    ("kind", "role", "code", "purpose"),
    [
        ("PREVENT", "channel", "CHANNEL", "prevent_referral"),
        ("PREVENT", "channel", "CHANNEL-SUPPORT", "channel_support"),
        ("PREVENT", "police_prevent", "PREV-GW", "safeguard_child"),
        ("CIN_S17", "early_help", "EH", "early_help_service"),
        ("MISSING", "return_interview", "RHI", "return_interview"),
        ("PPN", "idva", "IDVA", "idva_support"),
        ("DA_MARAC", "idva", "IDVA", "safeguard_victim"),
        ("DA_MARAC", "csc", "MASH", "safeguard_child"),
        ("S136", "csc", "MASH", "promote_welfare"),
        ("S136", "gp", "GP", "safeguard_child"),
        ("MARF", "csc", "childrens-front-door", "promote_welfare"),
        ("CIN_S17", "dsl", "SCHOOL", "safeguard_child"),
        ("REQUEST", "police", "police_force_code", "promote_welfare"),
        ("SOMETHING_NEW", "csc", "MASH", "safeguard_child"),
    ],
)
def test_purposes(kind: str, role: str, code: str, purpose: str) -> None:
    assert find_purpose(kind, role, code) == purpose


def test_an_address_that_is_no_identifier_goes_into_the_header_as_a_digest() -> None:
    assert make_clear("csc.marchshire") == "csc.marchshire"
    assert make_clear("unresolved:ods:Z99777") == "unresolved:ods:Z99777"
    for said in ("A/B\n1", "Jane Doe", "JANEDOE", "HOUSING", ""):
        for sort in ("ods", "code", "urn", "jane"):
            address = make_clear(make_unresolved(sort, said))
            assert re.fullmatch(r"unresolved:(ods|code|urn):[0-9a-f]{16}", address), address
    assert make_clear(make_unresolved("code", "A")) != make_clear(make_unresolved("code", "B"))


def test_words_of_tools_tokens_and_forms_stay_out_of_the_header() -> None:
    """The record system's own words for a tool, a version, a token's reference and who authorised it: codes and digests in the header."""
    name = "police-ppn-json/ppn-0042088-exploitation.json"
    context = MappingContext(load_sample_directory(), None, datetime(2026, 12, 30, tzinfo=UTC))
    [outcome] = read_records((SAMPLES / name).read_bytes(), load_mapping("police-corvid-ppn"), context)
    assert outcome.referral is not None
    token = StatedToken(scheme="Jane", ref="Jane Doe", recipient="unresolved:code:Jane Doe", authorised_by="Sgt Doe")
    risk = outcome.referral.risk.model_copy(update={"tool": "Jane's own tool", "tool_version": "as Jane Doe said"})
    referral = outcome.referral.model_copy(update={"tokens": (token,), "risk": risk})
    ids = {s.ref: f"subject-{n:014}" for n, s in enumerate(referral.subjects)}
    header = draft_header(referral, load_sample_directory(), ids, b"pepper of the test, 32 bytes long")
    assert (header.risk.tool, header.risk.tool_version) == ("local", None)
    assert (header.policy.tokens[0].scheme, header.policy.tokens[0].authorised_by) == ("OTHER", None)
    assert "jane" not in header.model_dump_json().lower()
    assert "doe" not in header.model_dump_json().lower()
    again = referral.model_copy(update={"tokens": (token.model_copy(update={"recipient": "csc.marchshire"}),)})
    same = draft_header(again, load_sample_directory(), ids, b"pepper of the test, 32 bytes long")
    assert same.policy.tokens[0].ref == header.policy.tokens[0].ref, "a token serves one matter once"


def test_a_role_is_found_near_or_else_where_it_is_the_only_one() -> None:
    directory = load_sample_directory()
    near = find_by_role(directory, "csc", "E10999002")
    assert near is not None
    assert near.id == "csc.northmarch"
    assert find_by_role(directory, "idva", "E10999002") is None
    assert find_by_role(directory, "idva", "E10999002", elsewhere=True) is not None
    assert find_by_role(directory, "csc", "E10999003", elsewhere=True) is None


def test_a_record_that_nobody_can_map_stops_no_other() -> None:
    name = "police-encompass-csv/encompass-20261122.csv"
    data = (SAMPLES / name).read_bytes().replace(b"12/04/2016", b"12/14/2016")
    context = MappingContext(load_sample_directory(), None, datetime(2026, 11, 22, 5, 30, tzinfo=UTC))
    outcomes = read_records(data, load_mapping("police-encompass"), context)
    assert [outcome.referral is not None for outcome in outcomes] == [False, True, True, True, True]
    assert isinstance(outcomes[0].error, Rejected)
    assert outcomes[0].native_ref == "ENC-26-1101"


KESTREL = Path(__file__).parent / "data" / "kestrel_missing.yaml"
KESTREL_ROWS = (
    "Send to;Ref;Step;When;Name;Born;Council;School;Grade;Graded;Basis;Why not asked;Parents;Story;Heard from\n"
    'council,school;K-1;gone;19/11/2026 18:00;Robin Testchild;1 FEB 2012;E10999001;999101;red;;duty;Missing;told;"Left; '
    'Wren Tell-Tale saw him";Wren Tell-Tale\n'
    "council;K-2;back;19/11/2026 19:00;Jay Testchild;31/02/2012;E10999001;;green;;duty;Missing;told;Home;\n"
)


def test_a_second_list_with_semicolons_needs_no_code() -> None:
    own = load_mapping(KESTREL)
    data = KESTREL_ROWS.encode()
    assert recognise_mapping("list.csv", data, (*default_mappings(), own)).id == own.id
    good, bad = read_records(data, own, MappingContext(load_sample_directory(), None, NOW))
    assert good.referral is not None, good.error
    assert (good.native_ref, good.referral.missing_event, good.referral.risk.grade) == ("K-1/gone", "open", "high")
    assert [e.agency for e in good.referral.circulation] == ["csc.marchshire", "school.oakfield"]
    assert find_texts(good.referral, "Tell-Tale") == {"C10"}
    assert good.referral.unmapped == ()
    assert bad.error is not None
    assert bad.error.field == "Born"
