"""The PDF: most urgent first, every received word in it, and nothing that hints at what was not received."""

import io
import re

import pytest
from pypdf import PdfReader

from adapters.channels.pdf import render_pdf
from schemas.codes import COMPARTMENT_TITLES, Compartment, RiskGrade
from schemas.header import RiskFacts
from tests.support.received import FIRST_CHILD, make_received, make_section


def read_text(pdf: bytes) -> str:
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages))


def test_the_first_page_says_how_fast_to_move_and_who_it_is_about() -> None:
    reader = PdfReader(io.BytesIO(render_pdf(make_received())))
    first = re.sub(r"\s+", " ", reader.pages[0].extract_text())
    order = [
        "Child protection (section 47)",
        "Immediate danger. High risk.",
        "Sampleford",
        "A plate was thrown",
        "big smash",
        "What to do now",
    ]
    positions = [first.index(text) for text in order]
    assert positions == sorted(positions)
    assert "17 November 2026, 5pm" in first


def test_the_document_names_its_title_and_language() -> None:
    reader = PdfReader(io.BytesIO(render_pdf(make_received())))
    assert reader.metadata is not None
    assert reader.metadata.title == "Child protection (section 47)"
    assert reader.root_object["/Lang"] == "en-GB"
    assert reader.root_object["/ViewerPreferences"]["/DisplayDocTitle"]


def test_every_received_word_is_printed() -> None:
    text = read_text(render_pdf(make_received()))
    for expected in ("Siân", "Żółć-Sample", "Ring the aunt", "the sender's summary", "The sender holds a record"):
        assert expected in text
    assert text.count("A plate was thrown.") >= 60


def test_compartments_that_were_not_received_are_not_named() -> None:
    received = make_received()
    text = read_text(render_pdf(received))
    absent = set(Compartment) - {s.compartment for s in received.sections}
    assert [COMPARTMENT_TITLES[c] for c in absent if COMPARTMENT_TITLES[c] in text] == []


def test_the_page_is_the_same_whatever_else_the_sender_sealed() -> None:
    """Only received sections are input: a second recipient or sealed part cannot change a word."""
    text = read_text(render_pdf(make_received(sections=make_received().sections[:1])))
    assert "withheld" not in text.lower()
    assert "sealed" not in text.lower()


@pytest.mark.parametrize("grade", ["medium", "low", "not_assessed"])
def test_every_grade_is_said_in_words(grade: str) -> None:
    risk = RiskFacts(grade=RiskGrade(grade))
    text = read_text(render_pdf(make_received(risk=risk)))
    assert "Immediate danger" not in text
    assert "isk" in text.split("From")[0]


def test_a_risk_that_is_not_shared_is_not_said_to_be_none() -> None:
    sections = tuple(s for s in make_received().sections if s.compartment is not Compartment.C05)
    text = read_text(render_pdf(make_received(risk=None, sections=sections)))
    assert "A risk grade is not shared with you" in text
    assert [word for word in ("not graded", "not assessed", "High risk", "MARCH-CHILD") if word in text] == []


def test_whom_not_to_tell_comes_before_everything_else_on_contact() -> None:
    statements = [{"label": f"Language {n}", "value": "English"} for n in range(12)]
    statements.append({"label": "Do not tell", "value": "the father"})
    section = make_section("C14", FIRST_CHILD, "full", {"statements": statements})
    first = PdfReader(io.BytesIO(render_pdf(make_received(sections=(section,))))).pages[0].extract_text()
    assert first.index("Before you contact anyone") < first.index("the father") < first.index("Language 0")


def test_markup_in_content_is_printed_not_obeyed() -> None:
    hostile = make_section("C04", "incident", "full", {"account": "<b>x</b> & <img src='file:///etc/passwd'/>"})
    assert "<img src='file:///etc/passwd'/>" in read_text(render_pdf(make_received(sections=(hostile,))))


def test_an_account_at_the_text_limit_prints_whole() -> None:
    long = make_section(
        "C04", "incident", "full", {"account": "palavra " * 20_000, "table": [{"text": "w " * 440}] * 40}
    )
    pages = PdfReader(io.BytesIO(render_pdf(make_received(sections=(long,))))).pages
    assert len(pages) > 20


def test_unbroken_and_right_to_left_text_of_many_pages_fits() -> None:
    arabic = "قالت الطفلة إنها لا تريد العودة إلى المنزل " * 900
    odd = make_section("C06", FIRST_CHILD, "full", {"said": arabic, "code": "x" * 5000, "note": arabic[:800]})
    assert len(PdfReader(io.BytesIO(render_pdf(make_received(sections=(odd,))))).pages) > 5


@pytest.mark.parametrize(
    "content",
    [
        {"statements": [{"label": "L" * 20_000, "value": "y", "basis": "fact"}]},
        {"statements": [{"label": "\u0627 ab " * 3000, "value": "y", "basis": "fact"}]},
        {"statements": [{"label": "x", "value": "y", "basis": "note words " * 3000}]},
        {"statements": [1, None, [], {"label": 5, "value": 5}], "summary": 5},
        {"statements": 5, "summary": "y"},
        {"statements": [{"value": {"Reference": "A", "Surname": " "}}, {"value": "<img src='/etc/passwd'/>y&x;"}]},
    ],
)
def test_content_of_any_shape_that_a_sender_sealed_is_printed(content: object) -> None:
    section = make_received().sections[0].model_copy(update={"content": content})
    assert "y" in read_text(render_pdf(make_received(sections=(section,))))
