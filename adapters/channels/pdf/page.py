"""What one printed referral says of its people and sections, from this delivery alone."""

from dataclasses import dataclass
from typing import Self

from adapters.channels.pdf.rows import Row, index_names, list_rows, read_summary
from adapters.channels.pdf.words import Words
from adapters.gateway.incoming.received import INCIDENT, ReceivedReferral, ReceivedSection
from schemas.codes import Compartment, Form

SHORT_TEXT = 420  # characters of an account on the first page; the whole of it follows in its section


@dataclass(frozen=True, slots=True)
class Page:
    """What is printed and with which words. ``names``: references of people to their names, from this delivery alone."""

    referral: ReceivedReferral
    words: Words
    names: dict[str, str]
    subject_names: dict[str, str]

    @classmethod
    def from_referral(cls, referral: ReceivedReferral, words: Words) -> Self:
        """Gather the names that the delivery's own sections say."""
        return cls(referral, words, index_names(s.content for s in referral.sections), _name_subjects(referral))

    def list_rows(self, section: ReceivedSection) -> list[Row]:
        """Return all rows of a section."""
        return list_rows(section.content, self.words, names=self.names)

    def list_short_rows(self, section: ReceivedSection) -> list[Row]:
        """Return the sender's short version if there is one, else the rows that have text."""
        summary = read_summary(section.content)
        if summary:
            return [Row("", summary)]
        return [row for row in self.list_rows(section) if row.text and row.depth == 0]

    def list_open(self, compartment: Compartment) -> list[ReceivedSection]:
        """Return the sections of a compartment that hold content, not pointers."""
        return [s for s in self.referral.sections if s.compartment is compartment and s.form is not Form.POINTER]

    def name_subject(self, subject_id: str, number: int) -> str:
        """Return "Child 1, aged 10 to 12"."""
        subject = next((s for s in self.referral.subjects if s.subject_id == subject_id), None)
        if subject is None:
            return f"Subject {number}"
        kind = self.words.name_code(self.words.subject_types, subject.type)
        if subject.type == "person":
            kind = "Adult" if subject.age_band == "adult" else "Child"
        which = f" {number}" if len(self.referral.subjects) > 1 else ""
        age = ""
        if subject.age_band and kind == "Child":
            age = f", {self.words.name_code(self.words.age_bands, subject.age_band)}"
        name = f": {self.subject_names[subject_id]}" if subject_id in self.subject_names else ""
        return f"{kind}{which}{age}{name}"

    def label_row(self, section: ReceivedSection, row: Row) -> Row:
        """Return the row as the first page shows it: shortened, and with the child's name where there are several."""
        label = row.label
        if len(self.referral.subjects) > 1 and section.subject in self.subject_names:
            first_name = self.subject_names[section.subject].split()[0]
            label = f"{first_name}: {label[:1].lower()}{label[1:]}".rstrip(": ")
        return Row(label, shorten_text(row.text), row.note)


def _name_subjects(referral: ReceivedReferral) -> dict[str, str]:
    """Return subject id to name, as far as this delivery says it."""
    found: dict[str, str] = {}
    for section in referral.sections:
        if section.compartment is Compartment.C01 and section.subject != INCIDENT:
            names = list(index_names(iter([section.content])).values())
            if len(names) == 1:
                found[section.subject] = names[0]
    return found


def shorten_text(text: str) -> str:
    """Return ``text`` as the first page shows it: the beginning of a long one, and that the whole of it follows."""
    if len(text) <= SHORT_TEXT:
        return text
    cut = text.rfind(" ", 0, SHORT_TEXT)
    return f"{text[: cut if cut > 0 else SHORT_TEXT]} … (the whole of it is below)"
