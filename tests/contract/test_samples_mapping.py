"""Every sample maps to what the expected results say, and every bad one is rejected at its field (FORMATS 2.1)."""

import filecmp
import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from adapters.mapping import MappingContext, default_mappings, draft_header, read_records, recognise_mapping
from deploy.local.generated_samples import LONG_NARRATIVE, make_long_narrative
from schemas.codes import Compartment, SubjectType
from schemas.errors import Rejected
from schemas.header import RoutingHeader
from schemas.plain_yaml import read_yaml
from schemas.referral import Referral
from tests.support.sample_files import (
    SAMPLES,
    load_expected,
    load_sample_directory,
    make_directory,
    map_document,
    parse_instant,
)
from tests.support.transform_samples import transform_tree

SHARED = SAMPLES.parents[3] / "shared" / "samples"
EXPECTED = load_expected()
REFERRALS = {(entry["file"], entry["record"]): entry for entry in EXPECTED["referrals"]}
RECEIVED = {entry["file"]: entry["received_at"] for entry in EXPECTED["files"]}
BAD = EXPECTED["bad"]


@cache
def map_sample(file: str, record: int) -> Referral:
    outcomes = map_document(file, (SAMPLES / file).read_bytes(), parse_instant(RECEIVED[file]))
    outcome = outcomes[record - 1]
    assert outcome.error is None, f"{outcome.error}"
    assert outcome.referral is not None
    return outcome.referral


@pytest.fixture(params=list(REFERRALS), ids=lambda key: f"{key[0].split('/')[1]}-{key[1]}")
def case(request: pytest.FixtureRequest) -> tuple[Referral, dict[str, Any]]:
    return map_sample(*request.param), REFERRALS[request.param]


def same_instant(value: datetime | None, text: str | None) -> bool:
    return value == (parse_instant(text) if text is not None else None)


def test_origin(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    found = (referral.native_ref, referral.sender, referral.kind, referral.area)
    assert found == (wanted["native_ref"], wanted["sender"], wanted["kind"], wanted["area"])
    assert referral.original_kind == wanted.get("original_kind")
    assert referral.relates_to == wanted.get("relates_to_message")
    assert referral.missing_event == wanted.get("missing_event")


def test_subjects(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    found = []
    for subject in referral.subjects:
        entry: dict[str, Any] = {"ref": subject.ref, "type": subject.type.value}
        if subject.age_band is not None:
            entry["age_band"] = subject.age_band.value
        if subject.born is not None:
            entry["born"] = subject.born.isoformat()
        if subject.expected_delivery is not None:
            entry["expected_delivery"] = subject.expected_delivery.isoformat()
        if subject.nhs_number is not None:
            entry["nhs_number"] = subject.nhs_number.value
        found.append(entry)
    assert found == wanted["subjects"]
    assert len(found) == wanted["subject_count"]


def test_risk(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    risk, expected = referral.risk, wanted["risk"]
    assert (risk.grade, risk.immediate_danger) == (expected["grade"], expected["immediate_danger"])
    assert (risk.tool, risk.tool_version) == (expected.get("tool"), expected.get("tool_version"))
    assert same_instant(risk.assessed_at, expected.get("assessed_at"))
    assert same_instant(risk.next_review_due_at, expected.get("next_review_due"))


def test_lawful_basis(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    assert referral.lawful_basis.model_dump(mode="json") == wanted["lawful_basis"]


def test_consent(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    facts, expected = referral.consent.facts, dict(wanted["consent"])
    assert facts.state == expected["state"]
    assert referral.consent.reason == expected.get("reason")
    assert facts.giver == expected.get("giver")
    assert facts.gillick_competent == expected.get("gillick_competent")
    assert same_instant(facts.given_at, expected.get("given_at"))
    assert same_instant(facts.expires_at, expected.get("expires_at"))
    assert same_instant(facts.withdrawn_at, expected.get("withdrawn_at"))


def test_tell_status_and_embargo(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    tell, expected = referral.tell_status, wanted["tell_status"]
    assert (tell.facts.value, tell.reason) == (expected["value"], expected.get("reason"))
    assert (tell.facts.review_on.isoformat() if tell.facts.review_on else None) == expected.get("review_on")
    hold, embargo = referral.embargo, wanted.get("embargo")
    assert (hold is None) == (embargo is None)
    if hold is not None and embargo is not None:
        assert (hold.facts.active, hold.until) == (embargo["active"], embargo["until"])
        assert list(hold.facts.named) == embargo["named"]
        assert same_instant(hold.facts.review_due_at, embargo["review_due"])


def test_compartments(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    assert [compartment.value for compartment in referral.compartments] == wanted["compartments_present"]


def test_circulation(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    found = [(entry.agency, entry.role, entry.purpose) for entry in referral.circulation]
    assert found == [(d["recipient"], d["role"], d["purpose"]) for d in wanted["decisions"]]


def test_ethnicity(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    found = [
        {
            "subject": subject.ref,
            "source_value": subject.ethnicity.source_value,
            "scheme": subject.ethnicity.scheme,
            "defined_by": subject.ethnicity.defined_by,
            "reason_absent": subject.ethnicity.reason_absent,
            "nhs": subject.ethnicity.nhs.model_dump(mode="json"),
            "dfe": subject.ethnicity.dfe.model_dump(mode="json"),
        }
        for subject in referral.subjects
        if subject.type is SubjectType.PERSON and subject.ethnicity is not None
    ]
    assert found == wanted["ethnicity"]


def test_quality_flags(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    assert list(referral.quality_flags) == wanted["quality_flags"]


def test_canaries_stay_in_their_compartment(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, wanted = case
    for compartment, texts in wanted.get("canaries", {}).items():
        for text in texts:
            holders = {p.compartment.value for p in referral.parts if text in p.model_dump_json()}
            assert holders == {compartment}
            assert text not in "".join(part.summary or "" for part in referral.parts)
            assert text not in make_header(referral).model_dump_json()


def test_header_holds_no_words(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, _ = case
    header = make_header(referral)
    text = header.model_dump_json()
    names = [
        s.value
        for p in referral.parts
        if p.compartment is Compartment.C01
        for s in p.statements
        if "name" in s.label.lower()
    ]
    assert names
    assert not [name for name in names if isinstance(name, str) and name in text]
    assert RoutingHeader.from_entries(header.to_entries()) == header
    assert all(s.born is None or s.born.isoformat() not in text for s in referral.subjects)


def test_every_value_of_the_record_is_read(case: tuple[Referral, dict[str, Any]]) -> None:
    referral, _ = case
    assert referral.unmapped == ()


def test_renamed_agencies_and_shifted_dates_change_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    transform_tree(SAMPLES, folder)
    directory = make_directory(folder / "partnership.yaml")
    expected = read_yaml((folder / "expected.yaml").read_text(encoding="utf-8"))
    received = {entry["file"]: parse_instant(entry["received_at"]) for entry in expected["files"]}
    for wanted in expected["referrals"]:
        name = wanted["file"]
        outcome = map_document(name, (folder / name).read_bytes(), received[name], directory)[wanted["record"] - 1]
        assert outcome.referral is not None, outcome.error
        assert outcome.referral.sender not in {agency.id for agency in load_sample_directory().agencies}
        for check in CHECKS:
            check((outcome.referral, wanted))


def make_header(referral: Referral) -> RoutingHeader:
    ids = {subject.ref: f"subject-{number:014}" for number, subject in enumerate(referral.subjects)}
    return draft_header(referral, load_sample_directory(), ids, b"pepper of the test, 32 bytes long")


CHECKS = (
    test_origin,
    test_subjects,
    test_risk,
    test_lawful_basis,
    test_consent,
    test_tell_status_and_embargo,
    test_compartments,
    test_circulation,
    test_ethnicity,
    test_quality_flags,
    test_every_value_of_the_record_is_read,
)


@pytest.mark.parametrize("entry", EXPECTED["files"], ids=lambda entry: entry["file"].split("/")[1])
def test_record_count(entry: dict[str, Any]) -> None:
    outcomes = map_document(entry["file"], (SAMPLES / entry["file"]).read_bytes(), parse_instant(entry["received_at"]))
    assert [outcome.number for outcome in outcomes] == list(range(1, entry["records"] + 1))


@pytest.mark.parametrize("entry", EXPECTED["files"], ids=lambda entry: entry["file"].split("/")[1])
def test_the_authenticated_sender_is_taken_and_another_is_refused(entry: dict[str, Any]) -> None:
    data, at = (SAMPLES / entry["file"]).read_bytes(), parse_instant(entry["received_at"])
    sender = REFERRALS[entry["file"], 1]["sender"]
    assert all(outcome.referral is not None for outcome in map_document(entry["file"], data, at, sender=sender))
    mapping = recognise_mapping(entry["file"], data, default_mappings())
    if mapping.record.sender:
        outcomes = map_document(entry["file"], data, at, sender="idva.safehaven")
        assert all(outcome.referral is None and outcome.error is not None for outcome in outcomes)


@pytest.mark.parametrize("entry", BAD, ids=lambda entry: entry["file"].split("/")[1])
def test_bad(entry: dict[str, Any]) -> None:
    file = SAMPLES / entry["file"]
    data = make_long_narrative(SAMPLES) if entry["file"] == LONG_NARRATIVE else file.read_bytes()
    mapping = recognise_mapping(file.name, data, default_mappings())
    context = MappingContext(load_sample_directory(), None, parse_instant(entry["received_at"]))
    if entry["record"] is None:
        with pytest.raises(Rejected) as raised:
            read_records(data, mapping, context)
        error: Rejected | None = raised.value
    else:
        outcomes = read_records(data, mapping, context)
        accepted = [outcome.number for outcome in outcomes if outcome.referral is not None]
        assert accepted == entry.get("accepted_records", [])
        error = outcomes[entry["record"] - 1].error
    assert error is not None
    assert (error.field or "").endswith(entry["field"])
    assert "Badsample" not in str(error)


def test_the_bundled_samples_are_the_shared_ones() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared samples are not here")
    shared = {str(file.relative_to(SHARED)) for file in SHARED.rglob("*") if file.is_file()}
    bundled = {str(file.relative_to(SAMPLES)) for file in SAMPLES.rglob("*") if file.is_file()}
    assert shared - {LONG_NARRATIVE} == bundled
    _, differing, unreadable = filecmp.cmpfiles(SHARED, SAMPLES, sorted(bundled), shallow=False)
    assert (differing, unreadable) == ([], [])
    assert (SHARED / LONG_NARRATIVE).read_bytes() == make_long_narrative(SAMPLES)


def test_nothing_of_the_samples_is_in_product_code_or_mapping_data() -> None:
    directory = load_sample_directory()
    words = {agency.id for agency in directory.agencies}
    words |= {
        v
        for a in directory.agencies
        for k, v in a.identifiers.items()
        if k in {"urn", "ods", "gss", "ofsted_urn", "charity_number"}
    }
    root = Path(__file__).parents[2]
    files = [
        f for folder in ("adapters", "schemas") for f in (root / folder).rglob("*") if f.suffix in {".py", ".yaml"}
    ]
    assert len(files) > 10
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not [word for word in words if word in text], file.name


def test_error_texts_hold_no_value() -> None:
    for entry in BAD:
        if entry["file"] == LONG_NARRATIVE or not entry["file"].endswith(".json"):
            continue
        data = (SAMPLES / entry["file"]).read_bytes()
        try:
            error = map_document(entry["file"], data, parse_instant(entry["received_at"]))[0].error
        except Rejected as raised:
            error = raised
        assert error is not None
        values = [
            v for v in _leaf_texts(data) if len(v) > 4 and v != "message"
        ]  # the bundle's type is a word of ours too
        assert not [value for value in values if value in json.dumps(error.diagnostics())]


def _leaf_texts(data: bytes) -> list[str]:
    try:
        pending, found = [json.loads(data)], []
    except ValueError:
        return []
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str):
            found.append(value)
    return found
