"""The shapes that most reports' tables have: parts of a whole by something, flags out of a whole, times by something."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from broker.reports.report import ReportData
from broker.reports.tables import Column, Sort, Table, Value, add_total
from broker.reports.words import say


def make_parts(
    name: str,
    title: str,
    label: str,
    counts: Mapping[tuple[str, str], int],
    parts: Sequence[tuple[str, str]],
    *,
    whole: str,
    share: str = "",
    words: Callable[[str], str] = say,
    order: Callable[[str], Any] | None = None,
    hidden: Sequence[str] = (),
    shares: Mapping[str, str] | None = None,
    note: str = "",
) -> Table:
    """Return a table with a row for each key, the parts that its whole is made of, and a total row.

    Args:
        counts: (key, part's code) to how many.
        parts: code and column title of every part; a code that is not among them is left out of the whole.
        whole: the title of the column of wholes.
        share: the part that is also shown as a percentage of the whole.
        hidden: parts that are not shown.
    """
    columns = [Column("label", label), Column("all", whole, Sort.COUNT)]
    columns += [Column(code, text, Sort.COUNT, hidden=code in hidden) for code, text in parts]
    if share:
        columns.append(Column("share", f"{dict(parts)[share]}, of all", Sort.PERCENT, part=share, whole="all"))
    known = [code for code, _ in parts]
    keys = sorted({key for key, part in counts if part in known}, key=order or (words))
    rows: list[Mapping[str, Value]] = []
    for key in keys:
        values = {code: counts.get((key, code), 0) for code in known}
        rows.append({"label": words(key), "all": sum(values.values()), **values})
    if rows:
        rows.append(add_total(rows, columns))
    return Table(
        name,
        title,
        tuple(columns),
        tuple(rows),
        across=(("all", tuple(known)),),
        total_row=bool(rows),
        shares=shares or {},
        note=note,
    )


def make_list(
    name: str,
    title: str,
    label: str,
    counts: Mapping[str, int],
    *,
    whole: str,
    words: Callable[[str], str] = say,
    order: Callable[[str], Any] | None = None,
    protected: bool = True,
    note: str = "",
) -> Table:
    """Return a table of counts by one code, with each one's share of all, the largest first unless ``order`` says otherwise."""
    sort = Sort.COUNT if protected else Sort.NUMBER
    columns = (Column("label", label), Column("n", whole, sort))
    keys = sorted(counts, key=order or (lambda key: (-counts[key], key)))
    rows: list[Mapping[str, Value]] = [{"label": words(key), "n": counts[key]} for key in keys]
    if rows:
        rows.append(add_total(rows, columns))
    return Table(name, title, columns, tuple(rows), total_row=bool(rows), protected=protected, note=note)


def make_flags(
    name: str,
    title: str,
    label: str,
    counts: Mapping[str, int],
    *,
    all_count: int,
    whole: str,
    flags: Iterable[str],
    note: str = "",
) -> Table:
    """Return a table of how many of all have each flag. One may have several, so that the rows do not add up."""
    columns = (
        Column("label", label),
        Column("flagged", "With this flag", Sort.COUNT),
        Column("rest", "Without", Sort.COUNT, hidden=True),
        Column("all", whole, Sort.COUNT),
        Column("share", "Of all", Sort.PERCENT, part="flagged", whole="all"),
    )
    rows: list[Mapping[str, Value]] = []
    for flag in flags:
        flagged = min(counts.get(flag, 0), all_count)
        rows.append({"label": say(flag), "flagged": flagged, "rest": all_count - flagged, "all": all_count})
    return Table(name, title, columns, tuple(rows), across=(("all", ("flagged", "rest")),), note=note)


def make_times(  # noqa: PLR0917 - what a table is made of
    name: str,
    title: str,
    label: str,
    data: ReportData,
    keys: Sequence[str],
    where: Callable[[str], Mapping[str, str]],
    *,
    whole: str,
    words: Callable[[str], str] = say,
    measure: str = "stage",
    note: str = "",
) -> Table:
    """Return a table of medians and p90 by something; ``where`` gives a key's dimensions."""
    columns = (
        Column("label", label),
        Column("n", whole, Sort.COUNT),
        Column("median", "Median", Sort.DURATION, counted="n"),
        Column("p90", "9 in 10 within", Sort.DURATION, counted="n"),
    )
    rows = tuple(
        {
            "label": words(key),
            "n": data.total(measure, **where(key)),
            "median": data.quantile(measure, 0.5, **where(key)),
            "p90": data.quantile(measure, 0.9, **where(key)),
        }
        for key in keys
        if data.total(measure, **where(key))
    )
    return Table(name, title, columns, rows, note=note)
