"""Ethnicity codes and the crosswalk with its match quality (DOMAIN section 3, FORMATS CH-21)."""

import pytest

from schemas.errors import Rejected
from schemas.ethnicity import (
    EthnicityRecord,
    EthnicityScheme,
    MatchQuality,
    find_match,
    name_ns_reason,
    parse_ethnic_code,
)
from schemas.ethnicity_codes import CROSSWALK

P18, P16, NHS, DFE = EthnicityScheme.POLICE_18_1, EthnicityScheme.POLICE_16_1, EthnicityScheme.NHS, EthnicityScheme.DFE


@pytest.mark.parametrize(
    ("scheme", "code", "nhs", "dfe"),
    [
        (P18, "W1", ("A", "exact"), ("WBRI", "exact")),
        (P18, "W3", ("C", "broader"), (None, "ambiguous")),
        (P18, "W9", ("C", "exact"), ("WOTH", "exact")),
        (P18, "A4", ("R", "exact"), ("CHNE", "exact")),
        (P18, "O2", ("S", "broader"), ("OOTH", "broader")),
        (P18, "O9", ("S", "exact"), ("OOTH", "exact")),
        (P18, "NS", (None, "ambiguous"), (None, "ambiguous")),
        (P16, "O1", ("R", "exact"), ("CHNE", "exact")),
        (P16, "O9", ("S", "exact"), ("OOTH", "exact")),
        (P16, "W9", ("C", "exact"), (None, "ambiguous")),
        (NHS, "C", ("C", "exact"), (None, "ambiguous")),
        (NHS, "CL", ("CL", "exact"), ("WIRT", "exact")),
        (NHS, "CM", ("CM", "exact"), (None, "ambiguous")),
        (NHS, "CN", ("CN", "exact"), ("WROM", "broader")),
        (NHS, "Z", ("Z", "exact"), ("REFU", "exact")),
        (NHS, "99", ("99", "exact"), ("NOBT", "exact")),
        (DFE, "WIRT", ("C", "broader"), ("WIRT", "exact")),
        (DFE, "WROM", ("C", "broader"), ("WROM", "exact")),
        (DFE, "REFU", ("Z", "exact"), ("REFU", "exact")),
    ],
)
def test_crosswalk(scheme: EthnicityScheme, code: str, nhs: tuple[str, str], dfe: tuple[str, str]) -> None:
    record = EthnicityRecord(source_value=code, scheme=scheme).with_crosswalk()
    assert (record.nhs.code, record.nhs.match) == nhs
    assert (record.dfe.code, record.dfe.match) == dfe
    assert record.source_value == code


def test_a_local_sub_code_says_more_than_the_code() -> None:
    record = EthnicityRecord(source_value="W9", scheme=P18, sub_code="roma").with_crosswalk()
    assert (record.nhs.code, record.nhs.match) == ("C", "broader")
    assert (record.dfe.code, record.dfe.match) == ("WROM", "broader")


@pytest.mark.parametrize(
    ("reason", "nhs", "dfe"), [("N1", "99", "NOBT"), ("N2", "99", "NOBT"), ("N3", "99", "NOBT"), ("N4", "Z", "REFU")]
)
def test_reasons_for_ns(reason: str, nhs: str, dfe: str) -> None:
    record = EthnicityRecord(source_value="NS", scheme=P18).with_crosswalk(reason)
    assert (record.nhs.code, record.dfe.code) == (nhs, dfe)
    assert record.nhs.match is MatchQuality.EXACT
    assert name_ns_reason(reason) != name_ns_reason(None)


@pytest.mark.parametrize(
    ("scheme", "value"), [(EthnicityScheme.POLICE_IC, "IC3"), (EthnicityScheme.FREE_TEXT, "Ashanti")]
)
def test_perception_and_free_text_are_never_mapped(scheme: EthnicityScheme, value: str) -> None:
    record = EthnicityRecord(source_value=value, scheme=scheme).with_crosswalk()
    assert {record.nhs.match, record.dfe.match} == {MatchQuality.NONE}
    assert record.nhs.code is None


def test_an_ambiguous_match_is_never_populated() -> None:
    for rows in CROSSWALK.values():
        for row in rows.values():
            for code, quality in row:
                assert (code is None) == (quality == "ambiguous")


def test_every_target_code_exists_in_its_scheme() -> None:
    for rows in CROSSWALK.values():
        for row in rows.values():
            assert row.nhs[0] is None or row.nhs[0] in CROSSWALK["nhs-ethnic-category"]
            assert row.dfe[0] is None or row.dfe[0] in CROSSWALK["dfe"]


def test_w4_is_off_unless_the_partnership_switches_it_on() -> None:
    with pytest.raises(Rejected):
        parse_ethnic_code(P18, "W4")
    assert parse_ethnic_code(P18, "w4", local_w4=True) == "W4"


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        (P18, "O1"),
        (P16, "W3"),
        (P16, "A4"),
        (P18, "NS/N1"),
        (P18, "X1"),
        (NHS, "W1"),
        (DFE, "A"),
        (EthnicityScheme.POLICE_IC, "IC8"),
    ],
)
def test_a_code_of_another_scheme_is_rejected(scheme: EthnicityScheme, value: str) -> None:
    with pytest.raises(Rejected) as raised:
        parse_ethnic_code(scheme, value, field="nominals[0].sde")
    assert raised.value.field == "nominals[0].sde"


def test_nothing_recorded_matches_nothing() -> None:
    assert find_match(None, None, NHS).match is MatchQuality.NONE
