"""A chronology as people read it: what each agency was given and when somebody there opened it, what happened in words, and the same as a file. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.audit.chronology import Chronology, ChronologyLine
from broker.audit.exporting import write_csv_row
from broker.audit.wording import name_compartment, tell_event
from schemas.codes import CompartmentResult, name_clock

ACT_WORDS: Final[Mapping[str, str]] = {
    "sent": "Sent a message about the child",
    "released": "Was given what is listed above",
    "held": "Was given nothing: it waits for a person",
    "withheld": "Was given nothing: it was withheld",
    "rejected": "Was given nothing: it was rejected",
    "accepted": "Its system took the message in",
    "opened": "A person there opened it",
    "actioned": "Acted on it",
    "refused": "Refused it",
}
"""What an agency did or learnt; other acts are told in the log's own words."""
_FORMS: Final = (CompartmentResult.FULL, CompartmentResult.SUMMARY, CompartmentResult.POINTER)
_FORM_WORDS: Final = ("In full", "As a summary", "That it exists")
_COLUMNS: Final = (
    "at",
    "agency",
    "act",
    "detail",
    "compartments",
    "referral_id",
    "message_id",
    "delivery_id",
    "log_position",
)


@dataclass(frozen=True, slots=True)
class Giving:
    """One time that an agency was given something: what, in which form, and when a person there first opened it after that."""

    agency: str
    referral_id: str
    given_at: datetime
    opened_at: datetime | None
    compartments: Mapping[str, str]
    position: int

    def tell_forms(self) -> list[tuple[str, str]]:
        """Return each form with the headings that went in it: ``In full``, ``Identity, Education``."""
        told = []
        for form, words in zip(_FORMS, _FORM_WORDS, strict=True):
            names = [name_compartment(code) for code, result in sorted(self.compartments.items()) if result == form]
            if names:
                told.append((words, ", ".join(names)))
        return told


def list_givings(chronology: Chronology) -> list[Giving]:
    """Return every time that an agency was given something, in the order of the log."""
    return [
        Giving(
            agency=line.agency,
            referral_id=line.referral_id,
            given_at=line.at,
            opened_at=_find_opening(line, chronology.lines),
            compartments=line.compartments,
            position=line.position,
        )
        for line in chronology.lines
        if line.compartments
    ]


def tabulate_knowledge(givings: Sequence[Giving]) -> tuple[list[str], list[tuple[str, list[str | None]]]]:
    """Return agencies, and for each compartment the fullest form in which each has it."""
    agencies = sorted({giving.agency for giving in givings})
    codes = sorted({code for giving in givings for code in giving.compartments})
    rows: list[tuple[str, list[str | None]]] = [
        (code, [_find_fullest(code, [g for g in givings if g.agency == agency]) for agency in agencies])
        for code in codes
    ]
    return agencies, rows


def tell_act(line: ChronologyLine) -> str:
    """Return one sentence for a line."""
    words = ACT_WORDS.get(line.act)
    if line.act == "clock":
        changes = [change.rpartition(" ") for change in line.detail.split(", ") if change]
        return "; ".join(f"Clock {state}: {name_clock(clock)}" for clock, _, state in changes)
    if line.act == "released" and not line.compartments:
        return "Was told of the message, and given none of its headings"
    return words or tell_event(line.act, line.detail or None).rstrip(".")


def write_chronology(chronology: Chronology) -> bytes:
    """Return the lines as CSV: instants in UTC, compartments as ``C01:full``, no cell a formula."""
    rows = (
        (
            line.at.isoformat(timespec="seconds"),
            line.agency,
            line.act,
            line.detail,
            " ".join(f"{code}:{form}" for code, form in sorted(line.compartments.items())),
            line.referral_id,
            line.message_id,
            line.delivery_id,
            line.position,
        )
        for line in chronology.lines
    )
    return b"".join([write_csv_row(_COLUMNS), *map(write_csv_row, rows)])


def _find_opening(given: ChronologyLine, lines: Sequence[ChronologyLine]) -> datetime | None:
    """Return when a delivery was first opened after something was given with it."""
    return next(
        (
            line.at
            for line in lines
            if line.act == "opened" and line.delivery_id == given.delivery_id and line.position > given.position
        ),
        None,
    )


def _find_fullest(code: str, givings: Sequence[Giving]) -> str | None:
    forms = {giving.compartments[code] for giving in givings if code in giving.compartments}
    return next((form.value for form in _FORMS if form.value in forms), None)
