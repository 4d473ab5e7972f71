"""What is printed is bounded, whatever an agency sends, and says where the rest is."""

from adapters.channels.pdf import render_pdf
from adapters.channels.pdf.bounds import ELSEWHERE, LONGEST_TEXT, MOST_TEXT, MOST_VALUES, bound_referral
from tests.support.hostile import CASES, Hostile, deliver_hostile, put
from tests.unit.adapters.gateway.incoming.test_opening import open_body


def count(value: object) -> tuple[int, int]:
    """Return characters and values of a content."""
    if isinstance(value, str):
        return len(value), 1
    members = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    counted = [count(member) for member in members]
    return sum(c for c, _ in counted), 1 + sum(v for _, v in counted)


def test_an_ordinary_referral_is_printed_as_it_is() -> None:
    received = open_body(deliver_hostile(1, Hostile(put(content={"text": "word " * 3000}), None)))
    assert bound_referral(received) == received


def test_megabytes_are_cut_and_the_page_says_where_the_rest_is() -> None:
    texts = {f"text{number}": "x" * 1_000_000 for number in range(9)}
    received = open_body(deliver_hostile(1, Hostile(put(content=texts), None)))
    bounded = bound_referral(received)
    characters, _ = count(bounded.sections[0].content)
    assert characters < MOST_TEXT + 9 * 200
    first = bounded.sections[0].content["text0"]
    assert first.startswith("x" * LONGEST_TEXT)
    assert first.endswith(f"({1_000_000 - LONGEST_TEXT} more characters: {ELSEWHERE})")
    assert len(received.sections[0].content["text0"]) == 1_000_000, "what the inbox and the file hold is untouched"


def test_thousands_of_values_are_cut_too() -> None:
    received = open_body(deliver_hostile(1, CASES["fifty thousand short values"]))
    _, values = count(bound_referral(received).sections[0].content)
    assert values < MOST_VALUES + 10
    assert bound_referral(received).sections[0].content["rows"][-1] == ELSEWHERE


def test_an_odd_form_prints_all_the_same() -> None:
    for name, hostile in CASES.items():
        if hostile.code is None and name not in {"ten megabytes", "fifty thousand short values"}:
            assert render_pdf(open_body(deliver_hostile(1, hostile))).startswith(b"%PDF"), name
