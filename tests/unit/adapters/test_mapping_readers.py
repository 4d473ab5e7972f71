"""Strict reading: JSON, XML, CSV and FHIR give records or Rejected, with the path of the fault and never a value (FORMATS CH-25)."""

import gzip
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mapping import MappingContext, default_mappings, load_mapping, read_records, recognise_mapping
from adapters.mapping.limits import MAX_TEXT_CHARACTERS, check_text
from adapters.mapping.nodes import Node, make_plain
from adapters.mapping.read_csv import check_header, is_formula, parse_csv, read_row
from adapters.mapping.read_fhir import gather_bundle
from adapters.mapping.read_json import parse_json
from adapters.mapping.read_xml import LinkedExtract, parse_xml
from schemas.errors import ConfigInvalid, Rejected, SafelaneError, TooLarge
from tests.support.sample_files import SAMPLES, load_expected, load_sample_directory

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
ENDS = ("@from", "@to", "@as")


def reject_json(text: str) -> Rejected:
    with pytest.raises(Rejected) as raised:
        parse_json(text.encode())
    return raised.value


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"a": {"b": [1, {"c": 1, "c": 2}]}}', "a.b[1].c"),
        ('{"a": [0, NaN]}', "a[1]"),
        ('{"a": -Infinity}', "a"),
        ('{"a": 1', "(document)"),
        ("", "(document)"),
        ("  ", "(document)"),
        ("\ufeff{}", "(document)"),
        ('{"John Smith": 1, "John Smith": 2}', "(document)"),
        ("[" * 65 + "]" * 65, "(document)"),
        ('{"a": 1}{', "(document)"),
        ('{"a": ' + "9" * 100 + "}", "a"),
    ],
)
def test_json_faults_name_their_path(text: str, field: str) -> None:
    assert reject_json(text).field == field


def test_brackets_in_text_are_no_depth() -> None:
    assert parse_json(b'{"a": "' + b"[" * 500 + b'"}') == {"a": "[" * 500}
    assert parse_json(("[" * 64 + "]" * 64).encode())


def test_numbers_become_json_without_floats() -> None:
    assert make_plain(parse_json(b'{"a": 83.40, "b": 7, "c": 12345678901234567890, "d": true, "e": null}')) == {
        "a": "83.40",
        "b": 7,
        "c": "12345678901234567890",
        "d": True,
        "e": None,
    }


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE r [<!ENTITY a "x">]><r>&a;</r>',
        '<!DOCTYPE r SYSTEM "file:///etc/hostname"><r/>',
        "<!DOCTYPE r><r/>",
        "<r><a></r>",
        "<r>",
        "<r/><r/>",
        "<other/>",
        '<?xml version="1.0" encoding="iso-8859-1"?><r/>',
        "<r>" * 65 + "</r>" * 65,
        "\ufeff<r/>",
        "<r>&unknown;</r>",
    ],
)
def test_xml_faults_reject_the_document(text: str) -> None:
    with pytest.raises(Rejected) as raised:
        parse_xml(text.encode(), "r")
    assert raised.value.field == "(document)"


def test_xml_keeps_text_and_attributes_and_drops_layout() -> None:
    root = parse_xml(b'<r a="1">\n  <b c="2">x</b>\n  <b/>\n  <d>\n y \n</d>\n</r>', "r")
    assert root == {"@a": "1", "b": [{"@c": "2", "#text": "x"}, {"#text": ""}], "d": [{"#text": "\n y \n"}]}


def test_an_empty_element_is_an_empty_value() -> None:
    with pytest.raises(Rejected) as raised:
        check_text(Node(parse_xml(b"<r><a>x</a><b></b></r>", "r"), "Event"), frozenset())
    assert raised.value.field == "Event.b"


def make_extract(text: str) -> LinkedExtract:
    return LinkedExtract(parse_xml(text.encode(), "r"), "Event", "@id", "Link", ENDS)


def test_links_gather_things_once_with_all_their_roles() -> None:
    extract = make_extract(
        '<r><Link from="P1" to="E1" as="parent"/><Event id="E1"/><Party id="P1"/><Link from="P1" to="E1" as="suspect"/></r>'
    )
    linked = Node(extract.gather(extract.records()[0]), "Event").select("~linked")
    assert [[role.text() for role in one.select("~as")] for one in linked] == [["parent", "suspect"]]
    assert linked[0].path == "Party"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('<r><Event id="E1"/><Party id="E1"/></r>', "Party@id"),
        ('<r><Event id="E1"/><Party/></r>', "Party@id"),
        ('<r><Event id="E1"/><Party id="P1"/><Link from="P1" to="E9" as="subject"/></r>', "Link@to"),
    ],
)
def test_an_extract_that_does_not_hang_together_is_rejected(text: str, field: str) -> None:
    with pytest.raises(Rejected) as raised:
        make_extract(text)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
        (b"\xef\xbb\xbfa,b\n1,", [["a", "b"], ["1", ""]]),
        (b'a,b\n"x ""y""\nz",\n\n3,4', [["a", "b"], ['x "y"\nz', ""], ["3", "4"]]),
    ],
)
def test_csv_as_rfc_4180_says(data: bytes, rows: list[list[str]]) -> None:
    header, body = parse_csv(data)
    assert [header, *body] == rows


@pytest.mark.parametrize("data", [b'a,b\n"1,2', b'a,b\n1"2,3', b'a,b\n"1"2,3', "a,é".encode("cp1252"), b""])
def test_csv_faults_reject_the_document(data: bytes) -> None:
    with pytest.raises(Rejected) as raised:
        parse_csv(data)
    assert raised.value.field in {"(document)", "(header)"}


@pytest.mark.parametrize("header", [["a"], ["a", "b", "c"], ["a", "a", "b"], ["a", "c"]])
def test_the_columns_must_be_the_formats(header: list[str]) -> None:
    with pytest.raises(Rejected) as raised:
        check_header(header, ["a", "b"])
    assert raised.value.field == "(header)"
    check_header(["b", "a"], ["a", "b"])


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "\tx", "\rx", "+cmd|' /C calc'!A0", "-2+3+cmd", "+", "-x"])
def test_what_a_spreadsheet_would_run(cell: str) -> None:
    assert is_formula(cell)
    with pytest.raises(Rejected) as raised:
        read_row(["a", "b"], ["1", cell])
    assert raised.value.field == "b"


@pytest.mark.parametrize("cell", ["+44 7700 900401", "-5", "-5.25", "+44 (0)1632 960110", "x=1", "", "a@example.org"])
def test_what_is_no_formula(cell: str) -> None:
    assert not is_formula(cell)


@pytest.mark.parametrize("below", ["", "\r\n\r\n", ",,\r\n,,\r\n", ", ,\r\n", '"","",""', "\x1a"])
def test_what_a_spreadsheet_leaves_below_the_last_row_is_no_record(below: str) -> None:
    assert parse_csv(f"a,b,c\r\n1,,3\r\n{below}".encode())[1] == [["1", "", "3"]]


def test_a_row_of_another_width_is_rejected() -> None:
    with pytest.raises(Rejected) as raised:
        read_row(["a", "b"], ["1"])
    assert raised.value.field == "(row)"
    assert read_row(["a", "b"], ["1", " "]) == {"a": "1"}


def make_bundle(*types: str) -> dict[str, object]:
    return {
        "resourceType": "Bundle",
        "type": "message",
        "entry": [{"fullUrl": f"u:{t}", "resource": {"resourceType": t}} for t in types],
    }


@pytest.mark.parametrize(
    ("types", "field"),
    [
        (("ServiceRequest", "MessageHeader", "QuestionnaireResponse"), "MessageHeader"),
        (("MessageHeader", "QuestionnaireResponse"), "ServiceRequest"),
        (("MessageHeader", "ServiceRequest"), "QuestionnaireResponse"),
        (("MessageHeader", "ServiceRequest", "ServiceRequest", "QuestionnaireResponse"), "ServiceRequest"),
        ((), "MessageHeader"),
    ],
)
def test_a_bundle_has_its_single_resources(types: tuple[str, ...], field: str) -> None:
    with pytest.raises(Rejected) as raised:
        gather_bundle(make_bundle(*types))
    assert raised.value.field == field


@pytest.mark.parametrize("text", ["", " \t", "a\x00b", "\ud800"])
def test_texts_that_cannot_be_kept(text: str) -> None:
    with pytest.raises(Rejected) as raised:
        check_text(Node({"a": [{"b": text}]}), frozenset())
    assert raised.value.field == "a[0].b"


def test_the_limit_of_a_text() -> None:
    check_text(Node({"a": "x" * MAX_TEXT_CHARACTERS}), frozenset())
    check_text(Node({"b64": "x" * (MAX_TEXT_CHARACTERS + 1)}), frozenset({"b64"}))
    with pytest.raises(TooLarge):
        check_text(Node({"a": "x" * (MAX_TEXT_CHARACTERS + 1)}), frozenset())


def read_anything(data: bytes) -> None:
    """Read bytes with every mapping: Rejected is the only error that may come of it."""
    context = MappingContext(load_sample_directory(), None, NOW)
    for mapping in default_mappings():
        try:
            outcomes = read_records(data, mapping, context)
        except Rejected:
            continue
        assert all((outcome.referral is None) != (outcome.error is None) for outcome in outcomes)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_rejected_and_nothing_else(data: bytes) -> None:
    read_anything(data)


GOOD = [entry["file"] for entry in load_expected()["files"]][::4]


@given(st.sampled_from(GOOD), st.data())
@settings(max_examples=80, deadline=None)
def test_damaged_samples_give_outcomes_or_rejected(name: str, data: st.DataObject) -> None:
    original = (SAMPLES / name).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    length = data.draw(st.integers(0, 40))
    damage = data.draw(
        st.binary(max_size=12) | st.sampled_from([b"null", b"{}", b"[]", b'""', b"1e9", b"-1", b"true", b'"x"'])
    )
    read_anything(original[:at] + damage + original[at + length :])


@given(st.binary(max_size=300), st.text(max_size=20))
@settings(max_examples=40, deadline=None)
def test_any_bytes_are_recognised_or_rejected(data: bytes, name: str) -> None:
    try:
        recognise_mapping(name, data, default_mappings())
    except Rejected:
        return


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        ('{"msgHdr": 1}'.encode("utf-16"), "not UTF-8"),
        (gzip.compress(b"{}", mtime=0), "not UTF-8"),
        (b'{"another": "format"}', "no format"),
    ],
)
def test_what_bears_no_marks_is_told_what_is_wrong_with_it(data: bytes, detail: str) -> None:
    with pytest.raises(Rejected, match=detail) as caught:
        recognise_mapping("export.json", data, default_mappings())
    assert caught.value.field == "(document)"


def test_every_sample_is_recognised_by_what_it_holds() -> None:
    for file in SAMPLES.glob("*-*/*"):
        found = recognise_mapping("export.bin", file.read_bytes(), default_mappings())
        assert found.reader.format == {".xml": "xml", ".csv": "csv"}.get(file.suffix, found.reader.format)


def test_mappings_are_found_by_id_and_faulty_files_are_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert load_mapping("police-corvid-ppn").reader.format == "json"
    with pytest.raises(ConfigInvalid):
        load_mapping("no such mapping")
    file = tmp_path / "own.yaml"
    file.write_text("id: own\ntitle: x\nsurprise: 1\n")
    with pytest.raises(SafelaneError) as raised:
        load_mapping(file)
    assert raised.value.field == "own.yaml"


@pytest.mark.parametrize("end", ["", "\\"])
def test_json_with_quotes_that_close_nothing_is_refused_at_once(end: str) -> None:
    started = time.monotonic()
    assert reject_json('\\"' * 150_000 + end).field == "(document)"
    assert time.monotonic() - started < 5


def test_a_row_of_nothing_but_commas_and_a_file_of_nothing_but_rows_are_refused_early() -> None:
    started = time.monotonic()
    for text in ("a,b\n" + "," * 4_000_000, "a,b\n" + ",\n" * 2_000_000):
        with pytest.raises(TooLarge):
            parse_csv(text.encode())
    assert time.monotonic() - started < 2


def test_many_records_with_many_links_cost_no_more_than_their_sum() -> None:
    things = "".join(f'<E id="e{n}"/>' for n in range(8_000))
    links = "".join(f'<L from="p" to="e{n}" as="x"/>' for n in range(8_000)) * 4
    extract = LinkedExtract(parse_xml(f'<r>{things}<P id="p"/>{links}</r>'.encode(), "r"), "E", "@id", "L", ENDS)
    started = time.monotonic()
    assert all(extract.gather(record)["~linked"] for record in extract.records())
    assert time.monotonic() - started < 3


def test_an_attribute_and_an_element_of_one_name_are_both_kept() -> None:
    root = parse_xml(b'<r Name="a"><Name>b</Name></r>', "r")
    assert make_plain(root) == {"@Name": "a", "Name": ["b"]}
