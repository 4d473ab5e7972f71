"""No content in what a faulty document leaves behind: error texts, diagnostics and tracebacks name the field and the rule, never the value.

Every value of every sample is replaced in turn by a canary of a kind that may not belong there. Whatever is raised is written out as a program
that crashes would write it, with causes and contexts, and searched for the canary in every likely encoding.
"""

import csv
import io
import json
import re
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.local.leak_search import LeakSearch
from schemas.errors import SafelaneError
from tests.support.sample_files import SAMPLES, map_document

CANARY = "Zephyrine Quillfeather 29/02/2016"
RECEIVED_AT = datetime(2026, 12, 30, 12, 0, tzinfo=UTC)
SEARCH = LeakSearch([CANARY, "Zephyrine", "Quillfeather", "29/02/2016", "2016-02-29"])
DOCUMENTS = sorted(
    p.relative_to(SAMPLES).as_posix() for p in SAMPLES.glob("*/*") if p.suffix in {".json", ".csv", ".xml"}
)
GOOD = [name for name in DOCUMENTS if not name.startswith("bad/")]
XML_VALUE = re.compile(r'(?<=")[^"<>?]+(?=")|(?<=>)[^<>]*[^<>\s][^<>]*(?=<)')


def write_out(error: BaseException) -> str:
    diagnostics = json.dumps(error.diagnostics()) if isinstance(error, SafelaneError) else ""
    return "".join([*traceback.format_exception(error), repr(error), str(error), diagnostics])


def map_and_write_out(name: str, data: bytes) -> str:
    """Map a document and return all that its errors say; "" when there are none."""
    try:
        outcomes = map_document(name, data, RECEIVED_AT)
    except SafelaneError as error:
        return write_out(error)
    return "".join(write_out(outcome.error) for outcome in outcomes if outcome.error is not None)


def replace_each(name: str, data: bytes) -> Iterator[bytes]:
    """Yield the document once for each of its values, with the canary in place of that value."""
    text = data.decode("utf-8-sig")
    if name.endswith(".json"):
        document = json.loads(text)
        yield from (json.dumps(changed).encode() for changed in _replace_leaves(document, document))
    elif name.endswith(".csv"):
        rows = list(csv.reader(io.StringIO(text)))
        yield _write_rows([[CANARY, *rows[1][1:]], *rows[1:]])  # no heading: the first child stands in its place
        for number, row in enumerate(rows):
            for column in range(len(row)):
                yield _write_rows([*rows[:number], [*row[:column], CANARY, *row[column + 1 :]], *rows[number + 1 :]])
    else:
        for match in XML_VALUE.finditer(text):
            yield f"{text[: match.start()]}{CANARY}{text[match.end() :]}".encode()


def _replace_leaves(document: Any, node: Any) -> Iterator[Any]:
    members = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
    for number, (key, value) in enumerate(members):
        for other in (CANARY, [[CANARY], {"a": CANARY}][number % 2]):
            node[key] = other
            yield document
        node[key] = value
        if isinstance(value, dict | list):
            yield from _replace_leaves(document, value)


def _write_rows(rows: list[list[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


@pytest.mark.parametrize("name", GOOD)
def test_no_error_repeats_a_value(name: str) -> None:
    faults = 0
    for changed in replace_each(name, (SAMPLES / name).read_bytes()):
        said = map_and_write_out(name, changed)
        faults += bool(said)
        leaks = SEARCH.search_bytes(said.encode(), name).leaks
        assert not leaks, said[: leaks[0].offset]
    assert faults > 10, "hardly anything was refused: this test would prove nothing"


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.startswith("bad/")])
def test_no_error_repeats_a_word_of_a_bad_document(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    said = map_and_write_out(name, data)
    assert said
    text = data.decode("latin-1")
    needles = set(re.findall(r"[\w'’]+-(?:Test|Invented|Brown)\b|\d{2}/\d{2}/\d{4}|\b999 ?\d{3} ?\d{4}\b", text))
    needles |= {value for value in re.findall(r'"([^"\n]{12,})"', text) if " " in value}
    if needles:
        assert not LeakSearch(needles).search_bytes(said.encode(), name).leaks


def test_the_search_notices_a_value_that_is_repeated() -> None:
    assert SEARCH.search_bytes(write_out(ValueError(f"bad value {CANARY!r}")).encode(), "here").leaks
