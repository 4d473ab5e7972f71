"""Every good sample prints, for each recipient of the expected results, with what the child said and nothing that was withheld."""

import io
import re
from typing import Any

import pytest
from pypdf import PdfReader

from adapters.channels.pdf import render_pdf
from adapters.gateway.incoming.received import ReceivedReferral, ReceivedSection
from adapters.gateway.outgoing.sealing import SectionSet
from schemas.codes import Compartment, Form
from schemas.header import CaseFacts, SubjectFacts
from schemas.referral import Referral
from tests.support.received import make_received
from tests.support.sample_files import SAMPLES, load_expected, map_document, parse_instant

_SENT = {"full", "summary", "pointer"}


def list_cases() -> list[tuple[str, int]]:
    return [(entry["file"], entry["record"]) for entry in load_expected()["referrals"]]


def read_referral(file: str, record: int, received_at: str) -> Referral:
    path = SAMPLES / file
    outcomes = map_document(path.name, path.read_bytes(), parse_instant(received_at))
    referral = next(o.referral for o in outcomes if o.number == record)
    assert referral is not None
    return referral


def deliver(referral: Referral, decision: dict[str, Any]) -> ReceivedReferral:
    """Return what a recipient gets of a referral by an expected decision; a school or practice its own children only."""
    own = [
        s
        for s in referral.subjects
        if decision["role"] not in {"dsl", "gp"} or decision["recipient"] in s.tied_agencies
    ]
    ids = {s.ref: f"subject-{number:014}" for number, s in enumerate(referral.subjects)}
    sections = SectionSet(referral, ids)
    subjects = frozenset(ids[s.ref] for s in own)
    for name, (result, _) in decision["compartments"].items():
        if result in _SENT:
            sections.need(Compartment(name), Form(result), subjects)
    facts = tuple(SubjectFacts(subject_id=ids[s.ref], type=s.type, age_band=s.age_band) for s in own)
    case = CaseFacts(
        kind=referral.kind,
        original_kind=referral.original_kind,
        missing_event=referral.missing_event,
        area=referral.area,
        reported_at=referral.reported_at,
    )
    shared = any(d.compartment is Compartment.C05 and d.form is not Form.POINTER for d in sections.drafts)
    return make_received(
        case=case,
        risk=referral.risk if shared else None,
        sender=referral.sender,
        recipient=decision["recipient"],
        role=decision["role"],
        purpose=decision["purpose"],
        subjects=facts,
        sections=tuple(
            ReceivedSection(
                section_id=draft.section_id,
                compartment=draft.compartment,
                subject=draft.subject,
                form=draft.form,
                media_type=draft.media_type,
                content=draft.content,
                attachments=tuple(dict(a) for a in draft.attachments),
            )
            for draft in sections.drafts
        ),
    )


def squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize(("file", "record"), list_cases())
def test_a_sample_prints_for_each_of_its_recipients(file: str, record: int) -> None:
    expected = next(e for e in load_expected()["referrals"] if (e["file"], e["record"]) == (file, record))
    referral = read_referral(file, record, expected["received_at"])
    for decision in expected["decisions"]:
        received = deliver(referral, decision)
        if not received.sections:
            continue
        pages = PdfReader(io.BytesIO(render_pdf(received))).pages
        text = squeeze(" ".join(page.extract_text() for page in pages))
        for section in received.sections:
            if section.form is Form.SUMMARY:
                assert squeeze(section.content["summary"])[:60] in text
        shown = {subject.subject_id for subject in received.subjects}
        others = [s.ref for n, s in enumerate(referral.subjects) if f"subject-{n:014}" not in shown]
        assert not [ref for ref in others if squeeze(ref) in text]  # a school learns of no sibling
        withheld = {c for c, (result, _) in decision["compartments"].items() if result not in _SENT}
        for compartment, canaries in expected.get("canaries", {}).items():
            if compartment in withheld:
                assert not [c for c in canaries if squeeze(c) in text]


def test_a_part_about_one_child_names_no_other_child() -> None:
    """A parent of two is told of once for each: otherwise a school of one would read of the other (DESIGN, promise 3)."""
    referral = read_referral("police-ppn-json/ppn-0041877-s47-siblings.json", 1, "2026-11-16T22:32:00Z")
    refs = [s.ref for s in referral.subjects]
    assert len(refs) == 2
    for part in referral.parts:
        if part.compartment in {Compartment.C02, Compartment.C03, Compartment.C13, Compartment.C14}:
            text = part.model_dump_json()
            assert not [ref for ref in refs if ref != part.subject_ref and ref in text], (
                part.compartment,
                part.subject_ref,
            )
