"""A chronology in words: what was given when, when it was opened after that, and a file that no spreadsheet runs."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from broker.audit.chronology import Chronology, ChronologyLine
from broker.audit.chronology_telling import list_givings, tabulate_knowledge, tell_act, write_chronology

START = datetime(2026, 11, 26, 12, tzinfo=UTC)


def line(position: int, act: str, agency: str = "csc.x", delivery: str | None = "d1", **rest: Any) -> ChronologyLine:
    base: dict[str, Any] = {
        "detail": "",
        "compartments": {},
        "referral_id": "ref-1",
        "proof": "",
        "event": b"",
        "salt": None,
    }
    return ChronologyLine(
        agency=agency,
        act=act,
        at=START + timedelta(minutes=position),
        position=position,
        message_id=UUID(int=position),
        delivery_id=delivery,
        **(base | rest),
    )


def chronology(*lines: ChronologyLine) -> Chronology:
    return Chronology("digest", "ann", ("ann", "bob"), "note", lines)


STORY = chronology(
    line(0, "sent", "police.x", None),
    line(1, "released", compartments={"C01": "full", "C08": "pointer"}),
    line(2, "opened"),
    line(3, "released", "gp.x", "d2", compartments={"C01": "summary"}),
    line(4, "released", compartments={"C08": "full", "C10": "full"}),
    line(5, "clock", detail="la_acknowledgement met, partnerships_own breached"),
)


def test_what_was_given_late_was_not_opened_by_the_opening_before() -> None:
    first, other, late = list_givings(STORY)
    assert (first.agency, first.opened_at) == ("csc.x", START + timedelta(minutes=2))
    assert other.opened_at is None
    assert late.opened_at is None
    assert first.tell_forms() == [("In full", "Identity"), ("That it exists", "Education")]


def test_the_fullest_form_counts_for_each_agency() -> None:
    agencies, rows = tabulate_knowledge(list_givings(STORY))
    assert agencies == ["csc.x", "gp.x"]
    assert rows == [("C01", ["full", "summary"]), ("C08", ["full", None]), ("C10", ["full", None])]


def test_every_line_is_told_in_words() -> None:
    assert tell_act(STORY.lines[0]) == "Sent a message about the child"
    assert tell_act(STORY.lines[5]) == (
        "Clock met: The local authority acknowledges the referral and decides what happens next;"
        " Clock breached: The partnership’s own clock partnerships_own"
    )
    assert tell_act(line(6, "released")) == "Was told of the message, and given none of its headings"
    assert tell_act(line(7, "told", detail="CONSENT_WITHDRAWN")) == "An agency was told: consent withdrawn"


def test_the_file_holds_every_line_and_no_formula() -> None:
    found = chronology(*STORY.lines, line(7, "told", detail="=cmd"))
    rows = list(csv.DictReader(io.StringIO(write_chronology(found).decode())))
    assert [row["act"] for row in rows] == [one.act for one in found.lines]
    assert rows[1]["compartments"] == "C01:full C08:pointer"
    assert rows[-1]["detail"] == "'=cmd"
