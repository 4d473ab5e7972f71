"""Make another sample set out of ours: agencies renamed, schools renumbered, every date twenty-eight years later.

The calendar repeats after twenty-eight years, weekdays, leap days and clock changes included, so every expected result holds, moved by as much.
Whatever in the product knows an agency, a school or a date of the samples by heart fails on the transformed set.

Run it by hand with ``python -m tests.support.transform_samples FROM TO``, then ``make demo SAMPLES=TO CHECK=1``.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

YEARS = 28
MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
DATE_FORMS = (
    re.compile(r"(?<![\d-])()(\d{4})(-\d{2}-\d{2})(?!\d)"),
    re.compile(r"(?<![\d/])(\d{1,2}/\d{1,2}/)(\d{4})()(?!\d)"),
    re.compile(rf"(?<!\d)(\d{{1,2}}[ -]?(?:{MONTHS})[ -]?)(\d{{4}})()(?!\d)", re.IGNORECASE),
    re.compile(r"(?<![\d-])()((?:19|20)\d{2})((?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?!\d)"),
)
BASE64_LINE = re.compile(r'"[A-Za-z0-9+/=]{120,}"')
AGENCY_ID = re.compile(r"^  - id: ([a-z][a-z0-9.-]+)$", re.MULTILINE)
SCHOOL_URN = re.compile(r'identifiers: \{urn: "(\d{6})"')


def transform_tree(source: Path, target: Path) -> None:
    """Write the transformed copy of the sample folder ``source`` to ``target``, which must not exist yet."""
    partnership = (source / "partnership.yaml").read_text(encoding="utf-8")
    agencies = {name: _rename(name) for name in _agency_ids(partnership)}
    schools = {urn: str(int(urn) + 640) for urn in SCHOOL_URN.findall(partnership)}
    target.mkdir(parents=True)
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(transform_bytes(path.read_bytes(), agencies, schools))


def transform_bytes(data: bytes, agencies: dict[str, str], schools: dict[str, str]) -> bytes:
    """Transform one file; attachments (long base64 text) stay as they are, so that their digests hold. Any encoding passes through."""
    text = data.decode("latin-1")
    pieces, last = [], 0
    for match in BASE64_LINE.finditer(text):
        pieces += [_transform_text(text[last : match.start()], agencies, schools), match.group()]
        last = match.end()
    pieces.append(_transform_text(text[last:], agencies, schools))
    return "".join(pieces).encode("latin-1")


def _transform_text(text: str, agencies: dict[str, str], schools: dict[str, str]) -> str:
    for form in DATE_FORMS:
        text = form.sub(lambda m: f"{m[1]}{int(m[2]) + YEARS}{m[3]}", text)
    for old, new in agencies.items():
        text = re.sub(rf"(?<![\w.@-]){re.escape(old)}(?![\w-])(?!\.\w)", new, text)
    for old, new in schools.items():
        text = re.sub(rf"(?<!\d){old}(?!\d)", new, text)
    return text


def _agency_ids(partnership: str) -> Iterator[str]:
    agencies = partnership.partition("\nagencies:")[2].partition("\ncalendars:")[0]
    yield from sorted(AGENCY_ID.findall(agencies), key=len, reverse=True)


def _rename(agency: str) -> str:
    kind, _, name = agency.partition(".")
    return f"{kind}.x{name[::-1].strip('-')}"


if __name__ == "__main__":
    transform_tree(Path(sys.argv[1]), Path(sys.argv[2]))
