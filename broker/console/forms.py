"""What somebody typed into a form, field by field, and what is wrong with it, for the error summary and beside each field."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time

from starlette.datastructures import FormData

from schemas.errors import MalformedMessage, SafelaneError
from schemas.local_time import LONDON

MAX_TEXT = 2000


@dataclass
class Form:
    """Values as they were typed; ``errors`` by field, in the order in which they were found."""

    values: dict[str, list[str]]
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_data(cls, data: FormData) -> "Form":
        """Keep text fields; files are not among them.

        Raises:
            MalformedMessage: a field holds a NUL, which PostgreSQL's text cannot.
        """
        values: dict[str, list[str]] = {}
        for name, value in data.multi_items():
            if isinstance(value, str):
                if "\0" in value:
                    raise MalformedMessage("holds a character that no keyboard types", field=name)
                values.setdefault(name, []).append(value)
        return cls(values)

    def text(self, name: str, *, required: str = "", most: int = MAX_TEXT) -> str:
        """Return a field without surrounding space; ``required`` is the error where it is empty."""
        value = (self.values.get(name) or [""])[0].strip()
        if not value and required:
            self.fail(name, required)
        elif len(value) > most:
            self.fail(name, f"Enter at most {most} characters")
        return value

    def secret(self, name: str, *, required: str) -> str:
        """Return a field exactly as it was typed, space included."""
        value = (self.values.get(name) or [""])[0]
        if not value:
            self.fail(name, required)
        return value

    def choices(self, name: str, allowed: Iterable[str], *, required: str = "") -> list[str]:
        """Return what was chosen among ``allowed``."""
        wanted = set(allowed)
        chosen = [value for value in self.values.get(name, []) if value in wanted]
        if not chosen and required:
            self.fail(name, required)
        return chosen

    def day(self, name: str, *, required: str = "") -> date | None:
        """Return a date typed into the three fields of a GOV.UK date input (``name-day``, ``name-month``, ``name-year``)."""
        parts = [self.text(f"{name}-{part}") for part in ("day", "month", "year")]
        if not any(parts):
            if required:
                self.fail(name, required)
            return None
        try:
            day, month, year = (int(part) for part in parts)
            return date(year, month, day)
        except ValueError:
            self.fail(name, "Enter a real date, for example 27 3 2026")
            return None

    def end_of_day(self, name: str, *, required: str = "") -> datetime | None:
        """Return the last minute, in London, of a typed date."""
        day = self.day(name, required=required)
        return None if day is None else datetime.combine(day, time(23, 59), LONDON)

    def fail(self, name: str, message: str) -> None:
        """Note what is wrong with a field; the first fault counts."""
        self.errors.setdefault(name, message)

    def fail_with(self, error: SafelaneError, name: str) -> None:
        """Note one of our errors beside its field, or beside ``name``."""
        detail = error.detail
        self.fail(error.field or name, detail[:1].upper() + detail[1:])

    @property
    def summary(self) -> list[dict[str, str]]:
        """Return the errors as the GOV.UK error summary wants them."""
        return [{"text": message, "href": f"#{name}"} for name, message in self.errors.items()]

    def error(self, name: str) -> dict[str, str] | None:
        """Return a field's error as GOV.UK components want it, or none."""
        return {"text": self.errors[name]} if name in self.errors else None

    def value(self, name: str) -> str:
        """Return what was typed, to show it again."""
        return (self.values.get(name) or [""])[0]
