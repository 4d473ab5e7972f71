"""What a plot shows: columns of a table that is on the page beneath it, already suppressed, so that no plot can tell more than its table."""

from dataclasses import dataclass
from enum import StrEnum


class PlotForm(StrEnum):
    """How it is drawn."""

    BARS = "bars"
    """One horizontal bar for each row."""
    STACKED = "stacked"
    """One horizontal bar for each row, of parts that add up to 100%."""
    COLUMNS = "columns"
    """Upright columns along hours or months, one series."""
    LINES = "lines"
    """Lines along days or months, each named at its end."""
    MULTIPLES = "multiples"
    """A small panel of bars for each series, side by side, on one scale."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of a table's columns.

    Attributes:
        title: what is seen, in words.
        axis: what the numbers are: ``Referrals``, ``Hours``.
        most: how many rows are drawn at most, from the first; the table has them all.
    """

    form: PlotForm
    table: str
    title: str
    series: tuple[str, ...]
    axis: str
    most: int = 20
