"""Content of any shape becomes rows, and none of it is lost."""

from datetime import UTC, datetime

import pytest

from adapters.channels.pdf.bidi import lay_out_lines, order_line
from adapters.channels.pdf.dates import write_if_date, write_instant
from adapters.channels.pdf.fonts import REGULAR, has_glyph, measure_text, register_fonts, replace_missing
from adapters.channels.pdf.rows import Row, index_names, list_rows
from adapters.channels.pdf.words import load_words

WORDS = load_words()


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        ((2026, 11, 17, 21, 15), "17 November 2026, 9:15pm"),
        ((2026, 7, 1, 11, 0), "1 July 2026, midday"),  # summer time: one hour ahead
        ((2026, 6, 30, 23, 0), "1 July 2026, midnight"),
        ((2026, 12, 1, 9, 0), "1 December 2026, 9am"),
        ((2026, 12, 1, 0, 5), "1 December 2026, 12:05am"),
    ],
)
def test_instants_are_written_in_local_time(moment: tuple[int, int, int, int, int], written: str) -> None:
    assert write_instant(datetime(*moment, tzinfo=UTC)) == written


@pytest.mark.parametrize("text", ["2026-13-40", "2026-11-17T09:00", "31/13/2026", "rang at 2026-11-17"])
def test_text_that_names_no_instant_is_left_alone(text: str) -> None:
    assert write_if_date(text) == text


def test_a_statement_prints_its_metadata_as_a_note() -> None:
    content = [
        {"label": "said", "text": "It was loud.", "basis": "hearsay", "person_category": "witness", "handling": "C"}
    ]
    assert list_rows(content, WORDS) == [Row("Said", "It was loud.", "told by someone else · witness · handling C")]


def test_unknown_shapes_lose_nothing() -> None:
    content = {
        "a": {"b": [{"c": 1}, {"d": [True, None, {"text": "x", "deep": {"e": "2026-11-17"}}]}]},
        "nhsNumber": ["p", "q"],
    }
    shown = " ".join(f"{r.label} {r.text} {r.note}" for r in list_rows(content, WORDS))
    for expected in ("1", "Yes", "x", "17 November 2026", "p; q", "NHS number"):
        assert expected in shown


def test_a_missing_value_with_its_reason_is_one_row() -> None:
    assert list_rows({"nhs_number": {"reason_absent": "not found"}}, WORDS) == [
        Row("NHS number", "not recorded because: not found")
    ]


def test_british_dates_are_day_first_and_local() -> None:
    assert write_if_date("03/09/1981") == "3 September 1981"
    assert write_if_date("14MAR2015") == write_if_date("14 mar 2015") == write_if_date("14-Mar-2015") == "14 March 2015"
    assert write_if_date("2026-07-16 09:10") == "16 July 2026, 9:10am"
    assert write_if_date("12 ABC 2015") == "12 ABC 2015"
    assert write_if_date("16/07/2026 19:40") == "16 July 2026, 7:40pm"


def test_a_part_prints_its_short_version_once_and_names_people() -> None:
    part = {
        "heading": "Incident",
        "summary": "A plate was thrown.",
        "statements": [
            {"label": "Short account", "value": "A plate was thrown.", "basis": "fact"},
            {"label": "Injury", "value": {"Of": "N1", "Site": "arm"}, "basis": "fact", "person_ref": "N1"},
            {"label": "Circulation", "value": "A"},
            {"label": "Circulation", "value": "B"},
            {"label": "Grading", "value": "x", "basis": "intelligence", "handling": {"grading": "B", "code": "C"}},
        ],
    }
    assert list_rows(part, WORDS, names={"N1": "Siân Ŵyn"}) == [
        Row("In short", "A plate was thrown."),
        Row("Injury", "Of: Siân Ŵyn (N1); Site: arm"),
        Row("Circulation", "A; B"),
        Row("Grading", "x", "intelligence · handling grading B · handling code C"),
    ]


def test_names_come_from_these_contents_alone() -> None:
    statements = [
        {"label": "Surname", "value": "Sampleford", "person_ref": "N1"},
        {"label": "Forenames", "value": "Siân", "person_ref": "N1"},
        {"label": "Parent", "value": {"Reference": "N2", "Surname": "Sampleford", "Forenames": "Ann"}},
        {"label": "Other", "value": {"Reference": "N3"}},
    ]
    assert index_names(iter([{"statements": statements}, "text", {}])) == {
        "N1": "Siân Sampleford",
        "N2": "Ann Sampleford",
    }


@pytest.mark.parametrize("name", ["Siân Ŵyn Llŷr", "Łukasz Żółć", "Zoë Çelik İğdır", "محمد", "Ольга", "שרה"])
def test_the_font_has_every_letter(name: str) -> None:
    register_fonts()
    assert all(has_glyph(letter) for letter in name if letter != " ")
    assert replace_missing(name) == name


def test_a_letter_the_font_lacks_is_marked_not_dropped() -> None:
    register_fonts()
    shown = replace_missing("a\U00012000b\x00c")
    assert len(shown) == 4  # the cuneiform sign leaves a mark, the control character nothing
    assert shown[0] == "a"
    assert shown[2:] == "bc"


def test_right_to_left_lines_are_broken_before_they_are_ordered() -> None:
    register_fonts()
    text = "قالت الطفلة إنها لا تريد العودة إلى المنزل هذه الليلة لأنها خائفة من الصراخ"
    width = 120.0
    lines = lay_out_lines(text, REGULAR, 10, width)
    assert len(lines) > 1
    assert all(measure_text(line, REGULAR, 10) <= width for line in lines)
    first_word_joined = lay_out_lines("قالت", REGULAR, 10, width)[0]
    assert lines[0].endswith(first_word_joined)  # read from the right


def test_brackets_are_mirrored_in_right_to_left_text() -> None:
    line = order_line("أيام (three) حتى", right_to_left=True)
    assert line.index("(") < line.index("three") < line.index(")")


def test_names_that_hold_others_references_do_not_swell_the_text() -> None:
    """Seven names of ten letters would otherwise make ten million characters of one."""
    names = {chr(65 + n): chr(66 + n) * 10 for n in range(7)}
    (row,) = list_rows([{"label": "said", "text": "A"}], WORDS, names=names)
    assert row.text == "BBBBBBBBBB (A)"


def test_a_longer_reference_is_not_taken_for_the_shorter_one_in_it() -> None:
    (row,) = list_rows([{"label": "said", "text": "P12 rang P1"}], WORDS, names={"P1": "Ann", "P12": "Bob"})
    assert row.text == "Bob (P12) rang Ann (P1)"
