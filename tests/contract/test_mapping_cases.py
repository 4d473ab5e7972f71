"""Records that no sample shows, mapped and decided as FORMATS and DOMAIN say; and faults that no bad sample shows, rejected at their field."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.mapping import MappingContext, RecordOutcome, draft_header, load_mapping, read_records
from broker.decisions import DecisionEngine
from schemas.codes import Compartment
from schemas.decision import Decision
from schemas.errors import Rejected
from schemas.header import RoutingHeader
from schemas.referral import Referral, Subject
from tests.contract.test_decision_cases import make_directory
from tests.support.decisions import default_pack
from tests.support.documents import write_document

HERE = Path(__file__).parent
MAPPINGS = {
    "corvid": "police-corvid-ppn",
    "magpie": "police-magpie-pole",
    "wayfarer": "police-wayfarer-missing",
    "encompass": "police-encompass",
    "fhir": "health-fhir-safeguarding",
    "beacon": "education-beacon-concern",
}
RECEIVED_AT = "2026-11-23T10:00:00Z"


class PlainDates(yaml.SafeLoader):
    """YAML in which a date is the text that was written: there is no 30 February in Python."""


PlainDates.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_cases(name: str) -> list[Any]:
    data = yaml.load((HERE / name).read_text(encoding="utf-8"), PlainDates)  # noqa: S506 a safe loader
    return [pytest.param(form, case, id=case["id"]) for form, cases in data.items() for case in cases]


@pytest.fixture(scope="module")
def engine() -> DecisionEngine:
    return DecisionEngine(default_pack(), make_directory())


def map_case(form: str, case: dict[str, Any], engine: DecisionEngine) -> list[RecordOutcome]:
    context = MappingContext(engine.directory, None, datetime.fromisoformat(case.get("at", RECEIVED_AT)))
    return read_records(write_document(form, case), load_mapping(MAPPINGS[form]), context)


@pytest.mark.parametrize(("form", "case"), load_cases("mapping-cases.yaml"))
def test_a_record_that_no_sample_shows(form: str, case: dict[str, Any], engine: DecisionEngine) -> None:
    outcomes = map_case(form, case, engine)
    assert [str(outcome.error) for outcome in outcomes if outcome.error is not None] == []
    referral = outcomes[0].referral
    assert referral is not None
    found = Found(referral, engine)
    wanted = case["expect"]
    shown = {name: found.show(name, value) for name, value in wanted.items() if name not in {"records", "distinct"}}
    if "records" in wanted:
        shown["records"] = len(outcomes)
    if "distinct" in wanted:
        digests = [outcome.referral.native_digest for outcome in outcomes if outcome.referral is not None]
        shown["distinct"] = len(set(digests)) == len(outcomes)
    assert shown == wanted, case["title"]


class Found:
    """A mapped and decided record, shown in the terms of the table."""

    def __init__(self, referral: Referral, engine: DecisionEngine) -> None:
        self.referral = referral
        self.ids = {subject.ref: f"subject-{number:014}" for number, subject in enumerate(referral.subjects)}
        self.header: RoutingHeader = draft_header(referral, engine.directory, self.ids, b"pepper")
        self.decisions: list[Decision] = engine.decide_all(
            self.header, sender=referral.sender, now=referral.received_at
        )
        self.clocks = engine.start_clocks(self.header, self.decisions, referral.received_at)

    def show(self, name: str, wanted: Any) -> Any:
        """Return what was found in the form in which ``wanted`` says it."""
        show = getattr(self, f"_show_{name}", None)
        return show(wanted) if show is not None else getattr(self.referral, name)

    def _show_has(self, wanted: list[str]) -> list[str]:
        return [code for code in wanted if Compartment(code) in self.referral.compartments]

    def _show_lacks(self, wanted: list[str]) -> list[str]:
        return [code for code in wanted if Compartment(code) not in self.referral.compartments]

    def _show_only(self, _: Any) -> list[str]:
        return [code.value for code in self.referral.compartments]

    def _show_flag(self, wanted: list[str]) -> list[str]:
        return [flag for flag in wanted if flag in self.referral.quality_flags]

    def _show_no_flag(self, wanted: list[str]) -> list[str]:
        return [flag for flag in wanted if flag not in self.referral.quality_flags]

    def _show_flags(self, _: Any) -> list[str]:
        return sorted(self.referral.quality_flags)

    def _show_born(self, _: Any) -> list[str | None]:
        return [subject.born.isoformat() if subject.born else None for subject in self.referral.subjects]

    def _show_due(self, _: Any) -> list[str | None]:
        return [s.expected_delivery.isoformat() if s.expected_delivery else None for s in self.referral.subjects]

    def _show_bands(self, _: Any) -> list[str | None]:
        return [subject.age_band.value if subject.age_band else None for subject in self.referral.subjects]

    def _show_nhs(self, _: Any) -> list[str | None]:
        return [subject.nhs_number.value if subject.nhs_number else None for subject in self.referral.subjects]

    def _show_review(self, _: Any) -> str:
        return str(self.referral.tell_status.facts.review_on)

    def _show_subjects(self, _: Any) -> int:
        return len(self.referral.subjects)

    def _show_risk(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {name: getattr(self.referral.risk, name) for name in wanted}

    def _show_danger(self, _: Any) -> bool:
        return self.referral.risk.immediate_danger

    def _show_basis(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {name: getattr(self.referral.lawful_basis, name) for name in wanted}

    def _show_art10(self, _: Any) -> bool:
        return self.referral.lawful_basis.art10

    def _show_consent(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {name: getattr(self.referral.consent.facts, name) for name in wanted}

    def _show_ethnicity(self, _: Any) -> list[Any]:
        return describe_ethnicity(self.referral.subjects[0])

    def _show_conflicts(self, _: Any) -> list[str]:
        return [conflict.agency for conflict in self.referral.conflicts]

    def _show_addressees(self, _: Any) -> list[str]:
        return [entry.agency for entry in self.referral.circulation]

    def _show_roles(self, _: Any) -> list[str]:
        return [entry.role for entry in self.referral.circulation]

    def _show_outcomes(self, _: Any) -> list[str]:
        return [f"{d.outcome.value} {d.row}" for d in self.decisions]

    def _show_to(self, _: Any) -> list[str]:
        return [
            f"{d.recipient} {d.role} {d.purpose} {d.outcome.value} {d.row}"
            + (f" > {d.deliver_to}" if d.deliver_to else "")
            for d in self.decisions
        ]

    def _show_parts(self, wanted: dict[str, str]) -> dict[str, str]:
        found = {c.value: f"{d.result.value} {d.row}" for c, d in self.decisions[0].compartments.items()}
        return {code: found.get(code, "") for code in wanted}

    def _show_emits(self, _: Any) -> list[str]:
        return sorted({event for d in self.decisions for event in d.emits})

    def _show_own(self, _: Any) -> dict[str, list[str]]:
        refs = {opaque: ref for ref, opaque in self.ids.items()}
        return {d.recipient: [refs[subject] for subject in d.subjects] for d in self.decisions}

    def _show_clocks(self, wanted: dict[str, Any]) -> dict[str, list[str]]:
        return {c.clock: [write(c.starts_at), write(c.due_at)] for c in self.clocks if c.clock in wanted}

    def _show_some_clocks(self, _: Any) -> bool:
        return True

    def _show_no_clocks(self, _: Any) -> bool:
        return self.clocks == []

    def _show_canary(self, wanted: dict[str, str]) -> dict[str, str]:
        assert not [text for text in wanted if text in self.header.model_dump_json()]
        return {
            text: " ".join(sorted({p.compartment.value for p in self.referral.parts if text in p.model_dump_json()}))
            for text in wanted
        }

    def _show_has_text(self, wanted: str) -> str | None:
        return wanted if any(s.value == wanted for p in self.referral.parts for s in p.statements) else None

    def _show_lacks_text(self, wanted: str) -> str | None:
        return None if any(wanted in part.model_dump_json() for part in self.referral.parts) else wanted


def write(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def describe_ethnicity(subject: Subject) -> list[Any]:
    record = subject.ethnicity
    assert record is not None
    found = [record.source_value, record.scheme, record.defined_by, record.reason_absent]
    return [*found, record.nhs.code, record.nhs.match, record.dfe.code, record.dfe.match]


@pytest.mark.parametrize(("form", "case"), load_cases("mapping-faults.yaml"))
def test_a_fault_that_no_bad_sample_shows(form: str, case: dict[str, Any], engine: DecisionEngine) -> None:
    if case.get("document"):
        with pytest.raises(Rejected) as raised:
            map_case(form, case, engine)
        error: Rejected | None = raised.value
    else:
        outcomes = map_case(form, case, engine)
        assert [one.number for one in outcomes if one.referral is not None] == case.get("good", []), case["title"]
        error = outcomes[case.get("record", 1) - 1].error
    assert error is not None
    assert (error.field or "").endswith(case["field"]), (case["title"], error.field)
    said = str(error.diagnostics()).replace(str(error.field), "")
    assert not [text for text in list_values(case) if text in said]


def list_values(value: Any) -> list[str]:
    """Return the values that a case writes: none of them may stand in an error."""
    if isinstance(value, dict):
        return [text for name in ("set", "rows", "answers", "patients") for text in list_texts(value.get(name))]
    return []


def list_texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in list_texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in list_texts(item)]
    return [value] if isinstance(value, str) and len(value) > 4 and value != "(gone)" else []
