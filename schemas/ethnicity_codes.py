"""Ethnicity code sets and their crosswalks as data (DOMAIN section 3, FORMATS CH-21).

Each row gives ``(code, match)`` in the NHS ethnic category and in the DfE main codes. A row may say ``(None, "ambiguous")``: the target
cannot be told, so nothing is populated. The police 18+1 set is the 2011 census set with NS; 16+1 is the 2001 set with NS.
"""

from typing import NamedTuple


class CrosswalkRow(NamedTuple):
    """Targets of one source code, each ``(code or none, match quality)``."""

    nhs: tuple[str | None, str]
    dfe: tuple[str | None, str]


def _exact(nhs: str, dfe: str) -> CrosswalkRow:
    return CrosswalkRow((nhs, "exact"), (dfe, "exact"))


_AMBIGUOUS: tuple[None, str] = (None, "ambiguous")

_SHARED_POLICE: dict[str, CrosswalkRow] = {
    "W1": _exact("A", "WBRI"),
    "W2": _exact("B", "WIRI"),
    "M1": _exact("D", "MWBC"),
    "M2": _exact("E", "MWBA"),
    "M3": _exact("F", "MWAS"),
    "M9": _exact("G", "MOTH"),
    "A1": _exact("H", "AIND"),
    "A2": _exact("J", "APKN"),
    "A3": _exact("K", "ABAN"),
    "A9": _exact("L", "AOTH"),
    "B1": _exact("M", "BCRB"),
    "B2": _exact("N", "BAFR"),
    "B9": _exact("P", "BOTH"),
    "O9": _exact("S", "OOTH"),
    "NS": CrosswalkRow(_AMBIGUOUS, _AMBIGUOUS),
    "NS/N1": _exact("99", "NOBT"),
    "NS/N2": _exact("99", "NOBT"),
    "NS/N3": _exact("99", "NOBT"),
    "NS/N4": _exact("Z", "REFU"),
}

CROSSWALK: dict[str, dict[str, CrosswalkRow]] = {
    "police-18+1": {
        **_SHARED_POLICE,
        "W3": CrosswalkRow(("C", "broader"), _AMBIGUOUS),
        "W4": CrosswalkRow(("C", "broader"), ("WROM", "broader")),
        "W9": _exact("C", "WOTH"),
        "A4": _exact("R", "CHNE"),
        "O2": CrosswalkRow(("S", "broader"), ("OOTH", "broader")),
    },
    "police-16+1": {
        **_SHARED_POLICE,
        "W9": CrosswalkRow(("C", "exact"), _AMBIGUOUS),
        "O1": _exact("R", "CHNE"),
    },
    "nhs-ethnic-category": {
        "A": _exact("A", "WBRI"),
        "B": _exact("B", "WIRI"),
        "C": CrosswalkRow(("C", "exact"), _AMBIGUOUS),
        "CL": _exact("CL", "WIRT"),
        "CM": CrosswalkRow(("CM", "exact"), _AMBIGUOUS),
        "CN": CrosswalkRow(("CN", "exact"), ("WROM", "broader")),
        "D": _exact("D", "MWBC"),
        "E": _exact("E", "MWBA"),
        "F": _exact("F", "MWAS"),
        "G": _exact("G", "MOTH"),
        "H": _exact("H", "AIND"),
        "J": _exact("J", "APKN"),
        "K": _exact("K", "ABAN"),
        "L": _exact("L", "AOTH"),
        "M": _exact("M", "BCRB"),
        "N": _exact("N", "BAFR"),
        "P": _exact("P", "BOTH"),
        "R": _exact("R", "CHNE"),
        "S": _exact("S", "OOTH"),
        "Z": _exact("Z", "REFU"),
        "99": _exact("99", "NOBT"),
    },
    "dfe": {
        "WBRI": _exact("A", "WBRI"),
        "WIRI": _exact("B", "WIRI"),
        "WIRT": CrosswalkRow(("C", "broader"), ("WIRT", "exact")),
        "WROM": CrosswalkRow(("C", "broader"), ("WROM", "exact")),
        "WOTH": _exact("C", "WOTH"),
        "MWBC": _exact("D", "MWBC"),
        "MWBA": _exact("E", "MWBA"),
        "MWAS": _exact("F", "MWAS"),
        "MOTH": _exact("G", "MOTH"),
        "AIND": _exact("H", "AIND"),
        "APKN": _exact("J", "APKN"),
        "ABAN": _exact("K", "ABAN"),
        "AOTH": _exact("L", "AOTH"),
        "BCRB": _exact("M", "BCRB"),
        "BAFR": _exact("N", "BAFR"),
        "BOTH": _exact("P", "BOTH"),
        "CHNE": _exact("R", "CHNE"),
        "OOTH": _exact("S", "OOTH"),
        "REFU": _exact("Z", "REFU"),
        "NOBT": _exact("99", "NOBT"),
    },
}

_ROMA = CrosswalkRow(("C", "broader"), ("WROM", "broader"))
SUBCODE_CROSSWALK: dict[tuple[str, str, str], CrosswalkRow] = {
    ("police-18+1", "W9", "ROMA"): _ROMA,
    ("police-16+1", "W9", "ROMA"): _ROMA,
}
"""Local detail beside a code says more than the code: the 2021 census group Roma has no code of its own in either police set."""

POLICE_IC: frozenset[str] = frozenset({"IC0", "IC1", "IC2", "IC3", "IC4", "IC5", "IC6", "IC7", "IC9"})
"""Officer-perceived appearance codes: an observation for identification, never self-definition."""

POLICE_NS_REASONS: dict[str, str] = {
    "N1": "officer_called_away",
    "N2": "disorder",
    "N3": "not_understood",
    "N4": "declined",
}
"""Police reasons for NS (DOMAIN section 3, from memory: confirm with the force)."""

AVOIDABLE_NS_REASONS: frozenset[str] = frozenset({"N1", "N2", "N3"})

ABSENT_CODE_REASONS: dict[tuple[str, str], str] = {
    ("nhs-ethnic-category", "Z"): "declined",
    ("nhs-ethnic-category", "99"): "not_asked_or_unknown",
    ("dfe", "REFU"): "declined",
    ("dfe", "NOBT"): "not_asked_or_unknown",
}
"""Codes that say why there is no ethnicity, rather than which it is."""
