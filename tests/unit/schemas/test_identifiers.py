"""Identifiers and their check characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.gb import upn

from schemas.errors import Rejected
from schemas.identifiers import is_temporary_upn, parse_identifier, parse_nhs_number, parse_pnc_id, parse_upn


def make_nhs_number(first_nine: str) -> str | None:
    check = 11 - sum(int(d) * w for d, w in zip(first_nine, range(10, 1, -1), strict=True)) % 11
    return None if check == 10 else first_nine + str(check % 11)


def test_an_nhs_number_is_read_with_spaces_and_hyphens() -> None:
    assert parse_nhs_number(" 401 023 2137 ") == "4010232137"
    assert parse_nhs_number("401-023-2137") == "4010232137"


@pytest.mark.parametrize(
    "value",
    ["4010232138", "401023213", "40102321370", "0000000000", "401023213X", "", "４０１０２３２１３７", "9434765919"],
)
def test_a_wrong_nhs_number_is_rejected_without_its_value(value: str) -> None:
    with pytest.raises(Rejected) as raised:
        parse_nhs_number(value, field="nominals[0].nhsNo")
    assert raised.value.field == "nominals[0].nhsNo"
    assert not value or value not in str(raised.value)


def test_synthetic_numbers_need_test_mode() -> None:
    assert parse_nhs_number("999 000 1375", test_mode=True) == "9990001375"
    with pytest.raises(Rejected):
        parse_nhs_number("9990001375")


@given(st.integers(400_000_000, 499_999_999), st.integers(0, 9), st.integers(1, 9))
def test_every_single_digit_slip_is_found(first_nine: int, place: int, step: int) -> None:
    number = make_nhs_number(str(first_nine))
    if number is None:
        return
    assert parse_nhs_number(number) == number
    slipped = number[:place] + str((int(number[place]) + step) % 10) + number[place + 1 :]
    with pytest.raises(Rejected):
        parse_nhs_number(slipped)


def test_a_upn_is_read_in_any_case() -> None:
    assert parse_upn(" u995400114001 ", test_mode=True) == "U995400114001"


def test_a_temporary_upn_ends_in_a_letter() -> None:
    upn = parse_upn("B99540011703A", test_mode=True)
    assert is_temporary_upn(upn)
    assert not is_temporary_upn("U995400114001")


@pytest.mark.parametrize(
    "value", ["A995400115061", "U99540011400", "I995400114001", "U99540011400S", "U995400114001 X", "９"]
)
def test_a_wrong_upn_is_rejected(value: str) -> None:
    with pytest.raises(Rejected):
        parse_upn(value, test_mode=True)


def test_test_authorities_need_test_mode() -> None:
    with pytest.raises(Rejected):
        parse_upn("U995400114001")


def write_upn(authority: str) -> str:
    letters = "ABCDEFGHJKLMNPQRTUVWXYZ"
    body = f"{authority}400119001"
    return letters[sum(int(c) * weight for weight, c in enumerate(body, 2)) % 23] + body


NEWER = ["838", "839", "940", "941", "942", "943"]
FORMER_OR_WELSH = ["909", "825", "902", "660", "681", "702", "707"]


@pytest.mark.parametrize("authority", [*NEWER, *FORMER_OR_WELSH, *map(str, sorted(upn._la_numbers))])
def test_each_authority_that_was_ever_numbered_is_accepted(authority: str) -> None:
    assert parse_upn(write_upn(authority)) == write_upn(authority)


@pytest.mark.parametrize("authority", ["000", "200", "250", "500", "659", "799", "899", "997"])
def test_an_authority_number_that_was_never_given_out_is_rejected(authority: str) -> None:
    with pytest.raises(Rejected, match="authority"):
        parse_upn(write_upn(authority))


def test_the_published_pnc_id_is_valid() -> None:
    assert parse_pnc_id("2003/0011985X") == "2003/0011985X"
    assert parse_pnc_id("03/11985x") == "03/0011985X"


@pytest.mark.parametrize("value", ["2003/0011985Y", "2003-0011985X", "2003/00119850X", "203/0011985X", "2003/0011985"])
def test_a_wrong_pnc_id_is_rejected(value: str) -> None:
    with pytest.raises(Rejected):
        parse_pnc_id(value)


@pytest.mark.parametrize(
    ("scheme", "good", "bad"),
    [
        ("urn", "999101", "99910"),
        ("uprn", "999900000101", "9999000001011"),
        ("gss", "E10999001", "E1099900"),
        ("ods", "rz9", "RZ9 1"),
        ("ofsted_urn", "SC999301", "SCX1"),
        ("laestab", "9954001", "995/4001"),
        ("la_child_id", "ab12", "ab 12"),
        ("police_force_code", "99", "099"),
        ("nhs", "4010232137", "4010232138"),
        ("upn", "U995400114001", "A995400114001"),
        ("pnc", "2003/0011985X", "2003/0011985A"),
    ],
)
def test_each_scheme_has_its_form(scheme: str, good: str, bad: str) -> None:
    assert parse_identifier(scheme, good, test_mode=True)
    with pytest.raises(Rejected) as raised:
        parse_identifier(scheme, bad, test_mode=True, field="x")
    assert bad not in str(raised.value)


def test_an_unknown_scheme_is_only_trimmed() -> None:
    assert parse_identifier("charity_number", " 9990001 ") == "9990001"


@given(st.text(max_size=20), st.sampled_from(["nhs", "upn", "pnc", "urn", "uprn", "gss", "ods"]))
def test_any_text_gives_an_identifier_or_rejected(text: str, scheme: str) -> None:
    try:
        parsed = parse_identifier(scheme, text, test_mode=True)
    except Rejected:
        return
    assert parse_identifier(scheme, parsed, test_mode=True) == parsed
