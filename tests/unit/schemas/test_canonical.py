import base64
import json
import time
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.canonical import (
    canonical_bytes,
    decode_base64url,
    encode_base64url,
    parse_json,
    parse_object,
)
from schemas.errors import MalformedMessage, TooLarge

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def reference(value: Any) -> str:
    """RFC 8785, written the long way."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{reference(key)}:{reference(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(reference(member) for member in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@given(VALUES)
def test_canonical_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert canonical_bytes(value) == reference(value).encode()


@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert parse_json(canonical_bytes(value), max_bytes=10**6) == value


@given(VALUES)
def test_other_spacing_reads_the_same(value: Any) -> None:
    assert parse_json(json.dumps(value, indent=1).encode(), max_bytes=10**6) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_typed_error(data: bytes) -> None:
    try:
        parse_json(data, max_bytes=150)
    except (MalformedMessage, TooLarge):
        return
    json.loads(data)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"c":2,"b":3}}',
        '{"a":1,"\\u0061":2}',
        "[1.0]",
        "[1e3]",
        "[1E3]",
        "[-0.0]",
        '["1e5",1e5]',
        "[NaN]",
        "[Infinity]",
        "[-Infinity]",
        "[9007199254740992]",
        "[123456789012345678901234567890]",
        '["\\ud800"]',
        "[1,]",
        "{'a':1}",
        "",
        "[1] []",
        '["\t"]',
        "\ufeff[]",
    ],
)
def test_loose_json_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_json(text.encode("utf-8", "surrogatepass"), max_bytes=1000)


def test_a_string_that_looks_like_a_fraction_is_no_fraction() -> None:
    assert parse_json(b'["1e5","2.5"]', max_bytes=100) == ["1e5", "2.5"]
    assert canonical_bytes(["1e5"]) == b'["1e5"]'


def test_depth_counts_brackets_outside_strings_only() -> None:
    assert parse_json(json.dumps(["[" * 100]).encode(), max_bytes=1000) == ["[" * 100]
    assert parse_json(b"[" * 64 + b"]" * 64, max_bytes=1000)
    with pytest.raises(TooLarge):
        parse_json(b"[" * 65 + b"]" * 65, max_bytes=1000)
    with pytest.raises(TooLarge):
        parse_json(b"[" * 100_000, max_bytes=10**6)
    assert parse_json(json.dumps([[]] * 100).encode(), max_bytes=1000)


def test_size_is_checked_before_anything_is_read() -> None:
    with pytest.raises(TooLarge):
        parse_json(b"\xff" * 11, max_bytes=10)


def test_invalid_utf8_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        parse_json(b'["\xff"]', max_bytes=100)


def test_only_objects_are_objects() -> None:
    with pytest.raises(MalformedMessage):
        parse_object(b"[]", max_bytes=10)


@pytest.mark.parametrize("value", [1.5, float("nan"), {"a": [0.1]}, 2**53, {1: 2}, {"a": {1, 2}}, "\ud800"])
def test_values_outside_the_subset_cannot_be_written(value: Any) -> None:
    with pytest.raises(MalformedMessage):
        canonical_bytes(value)


@given(st.binary(max_size=100))
def test_base64url_goes_there_and_back(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


@given(st.text(alphabet="ABCDEFab01-_+/= \n", max_size=12))
def test_each_base64url_value_has_one_spelling(text: str) -> None:
    try:
        data = decode_base64url(text)
    except MalformedMessage:
        return
    assert encode_base64url(data) == text


@pytest.mark.parametrize("text", ["A", "AB", "QQ==", "A+BC", "A/BC", "AAA=", "é", "QUJD\n", " QUJD"])
def test_odd_spellings_of_base64url_are_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode_base64url(text)


@pytest.mark.parametrize("end", [b"", b"\\"])
def test_quotes_that_close_nothing_cost_linear_time(end: bytes) -> None:
    """One such message would hold a worker for hours if each quote were tried to the end."""
    data = b"[" * 65 + b'\\"' * 150_000 + end
    started = time.monotonic()
    with pytest.raises(TooLarge):
        parse_json(data, max_bytes=1_000_000)
    assert time.monotonic() - started < 5


@given(st.binary(max_size=600))
def test_base64url_is_read_as_the_standard_library_reads_it(data: bytes) -> None:
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert (encode_base64url(data), decode_base64url(text)) == (text, data)


@given(st.binary(min_size=1, max_size=600), st.data())
def test_a_foreign_character_is_refused_wherever_it_stands(data: bytes, choice: st.DataObject) -> None:
    """The library reads long texts many characters at a time, by other instructions on each machine."""
    text = encode_base64url(data)
    at = choice.draw(st.integers(0, len(text) - 1))
    foreign = choice.draw(st.sampled_from("+/= \n\0.~\u00e9\u2028") | st.characters(exclude_categories=["L", "N"]))
    assume(foreign not in "-_")
    for wrong in (text[:at] + foreign + text[at + 1 :], text[:at] + foreign + text[at:], text + foreign):
        with pytest.raises(MalformedMessage):
            decode_base64url(wrong)


@pytest.mark.parametrize("value", [None, 7, b"QUJD", ["Q"], ("QUJD",), {}])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(MalformedMessage):
        decode_base64url(value)


@pytest.mark.parametrize("deep", [[1.5], {"a": [{"b": [*range(20), 0.5]}]}, ["x"] * 30 + [[1.0]]])
def test_a_fraction_is_found_however_long_the_list(deep: Any) -> None:
    with pytest.raises(MalformedMessage):
        canonical_bytes(deep)
    with pytest.raises(MalformedMessage):
        parse_json(json.dumps(deep, separators=(",", ":")).encode(), max_bytes=10**6)
