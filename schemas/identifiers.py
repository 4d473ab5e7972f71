"""Identifiers and their check characters (DOMAIN section 4, FORMATS CH-1).

Each ``parse_…`` function returns the identifier in its canonical form or raises ``Rejected`` with the field's path, never with its value:
a malformed identifier is refused at the gateway, because the sender can still replace it by the reason why it is absent.
"""

import re

from schemas.errors import Rejected

_NHS_WEIGHTS = range(10, 1, -1)
_NHS_RANGES = ((400_000_000, 499_999_999), (600_000_000, 799_999_999))
"""First nine digits issued in England, Wales and the Isle of Man."""
_NHS_TEST_PREFIX = "999"
_UPN_LETTERS = "ABCDEFGHJKLMNPQRTUVWXYZ"
"""Check letters and temporary endings: the alphabet without I, O and S."""
_UPN_PATTERN = re.compile(r"^[A-HJ-NP-RT-Z]\d{11}[\dA-HJ-NP-RT-Z]$")
_UPN_TEST_AUTHORITIES = frozenset({"995", "996"})
_UPN_AUTHORITIES = frozenset(
    number
    for first, last in (
        # Inner and outer London; the metropolitan counties, north to south; the Isles of Scilly.
        *((201, 213), (301, 320), (330, 336), (340, 344), (350, 359), (370, 373), (380, 384), (390, 394), (420, 420)),
        *(
            (660, 681),
            (701, 709),
        ),  # Wales; service children's schools and the islands, which DfE numbers like authorities
        *((800, 896), (901, 994)),  # unitary authorities and counties, those that were reorganised since included
    )
    for number in range(first, last + 1)
)
"""Local authority numbers by the blocks in which they are given out, former authorities included: a pupil keeps the number. The last block is open at
its end, as reorganisations add numbers every April (940 to 943 did): refusing a new county's children would be the worse error. Own table (DOMAIN,
section 4): the library's ends in 2011."""
_PNC_PATTERN = re.compile(r"^(\d{4}|\d{2})/(\d{1,7})([A-Z])$")
_PNC_LETTERS = "ZABCDEFGHJKLMNPQRTUVWXY"
_PLAIN_PATTERNS: dict[str, tuple[re.Pattern[str], str]] = {
    "urn": (re.compile(r"^\d{6}$"), "an establishment URN has 6 digits"),
    "laestab": (re.compile(r"^\d{7}$"), "LAESTAB has 7 digits"),
    "la_number": (re.compile(r"^\d{3}$"), "an authority's number has 3 digits"),
    "uprn": (re.compile(r"^\d{1,12}$"), "a UPRN has at most 12 digits"),
    "gss": (re.compile(r"^[A-Z]\d{8}$"), "a GSS code is a letter and 8 digits"),
    "ods": (re.compile(r"^[A-Z0-9]{1,9}$"), "an ODS code has 1 to 9 letters or digits"),
    "ofsted_urn": (re.compile(r"^[A-Z]{0,2}\d{5,8}$"), "an Ofsted URN is at most 2 letters and 5 to 8 digits"),
    "la_child_id": (re.compile(r"^[A-Za-z0-9]{1,10}$"), "an authority's child id has at most 10 letters or digits"),
    "police_force_code": (re.compile(r"^\d{2}$"), "a police force code has 2 digits"),
}


def parse_nhs_number(value: str, *, test_mode: bool = False, field: str | None = None) -> str:
    """Return the ten digits of an NHS number, spaces removed (NHS Data Dictionary: modulus 11, weights 10 to 2).

    Args:
        value: with or without spaces or hyphens.
        test_mode: also accept synthetic numbers that begin with 999 (FORMATS CH-1).
        field: path of the field, for the error.

    Raises:
        Rejected: wrong length, wrong check digit, or a range that is not issued.
    """
    digits = re.sub(r"[ -]", "", value.strip())
    if not re.fullmatch(r"[0-9]{10}", digits):
        raise Rejected("an NHS number has 10 digits", field=field)
    check = 11 - sum(int(d) * w for d, w in zip(digits, _NHS_WEIGHTS, strict=False)) % 11
    if check == 10 or check % 11 != int(digits[9]):
        raise Rejected("the NHS number's check digit is wrong", field=field)
    first_nine = int(digits[:9])
    synthetic = digits.startswith(_NHS_TEST_PREFIX)
    if not (test_mode and synthetic) and not any(low <= first_nine <= high for low, high in _NHS_RANGES):
        raise Rejected("the NHS number lies in a range that is not issued", field=field)
    return digits


def parse_upn(value: str, *, test_mode: bool = False, field: str | None = None) -> str:
    """Return a unique pupil number in capitals (DfE UPN guide: weights 2 to 13, modulus 23; a temporary one ends in a letter).

    Raises:
        Rejected: wrong form, wrong check letter, or an authority number that is not in use.
    """
    upn = value.strip().upper()
    if not _UPN_PATTERN.fullmatch(upn) or not upn.isascii():
        raise Rejected("a UPN is a letter, 11 digits and a digit or letter", field=field)
    total = sum(weight * _upn_value(c) for weight, c in enumerate(upn[1:], 2))
    if upn[0] != _UPN_LETTERS[total % 23]:
        raise Rejected("the UPN's check letter is wrong", field=field)
    authority = upn[1:4]
    if authority in _UPN_TEST_AUTHORITIES:
        if not test_mode:
            raise Rejected("the UPN's authority number is for tests alone", field=field)
    elif int(authority) not in _UPN_AUTHORITIES:
        raise Rejected("the UPN's authority number is not in use", field=field)
    return upn


def is_temporary_upn(upn: str) -> bool:
    """Return whether a parsed UPN is temporary (it ends in a letter)."""
    return upn[-1].isalpha()


def parse_pnc_id(value: str, *, field: str | None = None) -> str:
    """Return a Police National Computer id as ``YYYY/NNNNNNNL`` or ``YY/NNNNNNNL``, the serial padded to 7 digits.

    The letter is number 23-modulus of the two-digit year followed by the serial (DOMAIN section 4).

    Raises:
        Rejected: wrong form or wrong check letter.
    """
    match = _PNC_PATTERN.fullmatch(value.strip().upper())
    if match is None or not value.isascii():
        raise Rejected("a PNC ID is a year, a slash, up to 7 digits and a letter", field=field)
    year, serial, letter = match[1], match[2].zfill(7), match[3]
    if letter != _PNC_LETTERS[int(year[-2:] + serial) % 23]:
        raise Rejected("the PNC ID's check letter is wrong", field=field)
    return f"{year}/{serial}{letter}"


def parse_identifier(scheme: str, value: str, *, test_mode: bool = False, field: str | None = None) -> str:
    """Return an identifier of a named scheme in its canonical form.

    Args:
        scheme: ``nhs``, ``upn``, ``pnc``, ``urn``, ``laestab``, ``la_number``, ``uprn``, ``gss``, ``ods``, ``ofsted_urn``, ``la_child_id`` or
            ``police_force_code``; any other is only trimmed.
        value: as written.
        test_mode: accept the synthetic ranges of FORMATS CH-1.
        field: path of the field, for the error.

    Raises:
        Rejected: the value is not of that scheme.
    """
    if scheme == "nhs":
        return parse_nhs_number(value, test_mode=test_mode, field=field)
    if scheme == "upn":
        return parse_upn(value, test_mode=test_mode, field=field)
    if scheme == "pnc":
        return parse_pnc_id(value, field=field)
    text = value.strip()
    if scheme in _PLAIN_PATTERNS:
        pattern, rule = _PLAIN_PATTERNS[scheme]
        text = text if scheme == "la_child_id" else text.upper()
        if not pattern.fullmatch(text) or not text.isascii():
            raise Rejected(rule, field=field)
    return text


def _upn_value(character: str) -> int:
    return int(character) if character.isdigit() else _UPN_LETTERS.index(character)
