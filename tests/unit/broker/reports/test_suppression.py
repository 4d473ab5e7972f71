"""Small numbers are not shown, and nothing that is shown gives one away: checked against every table that a reader could imagine behind it."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.reports.suppression import NOT_SHOWN, protect_table, protect_tables
from broker.reports.tables import Column, ShownTable, Sort, Table, add_total

LABEL = Column("label", "Row")
FEW = "fewer than 5"


def make_table(parts: list[list[int]], *, total_row: bool, hidden: bool = False, name: str = "t") -> Table:
    """Return a table whose columns a, b … add up to ``all``, and whose rows add up to the last."""
    names = [chr(ord("a") + number) for number in range(len(parts[0]))]
    columns = (
        LABEL,
        Column("all", "All", Sort.COUNT),
        *(Column(n, n, Sort.COUNT, hidden=hidden and n == names[-1]) for n in names),
    )
    rows = [{"label": str(i), **dict(zip(names, row, strict=True)), "all": sum(row)} for i, row in enumerate(parts)]
    if total_row:
        rows.append(add_total(rows, columns))  # type: ignore[arg-type]
    return Table(name, "T", columns, tuple(rows), across=(("all", tuple(names)),), total_row=total_row)


def list_worlds(table: Table, shown: ShownTable, most: int, threshold: int) -> list[list[tuple[int, ...]]]:
    """Return every table of counts up to ``most`` that fits what is shown and the rules of suppression."""
    names = [c.name for c in table.columns if c.sort is Sort.COUNT and c.name != "all"]
    count = len(table.rows) - (1 if table.total_row else 0)
    secret = {(r, c.name) for r in range(len(table.rows)) for c in shown.columns if shown.find(r, c.name).suppressed}
    few = {place for place in secret if shown.find(*place).text == f"fewer than {threshold}"}
    visible = {c.name for c in shown.columns}

    def fits(place: tuple[int, str], value: int) -> bool:
        if place in few:
            return 0 < value < threshold
        if place in secret:
            true = table.rows[place[0]][place[1]]
            return value >= (threshold if isinstance(true, int) and true >= threshold else 1)
        return place[1] not in visible or value == shown.find(*place).value

    def fitting_rows(row: int) -> list[tuple[int, ...]]:
        choices = [[v for v in range(most + 1) if fits((row, n), v)] for n in names]
        return [values for values in product(*choices) if fits((row, "all"), sum(values))]

    worlds = []
    for world in product(*(fitting_rows(row) for row in range(count))):
        if not table.total_row:
            worlds.append(list(world))
            continue
        sums = [sum(row[i] for row in world) for i in range(len(names))]
        if all(fits((count, n), s) for n, s in zip(names, sums, strict=True)) and fits((count, "all"), sum(sums)):
            worlds.append(list(world))
    return worlds


def check_protected(table: Table, threshold: int, most: int = 10) -> None:
    shown = protect_table(table, threshold)
    names = [c.name for c in table.columns if c.sort is Sort.COUNT and c.name != "all"]
    worlds = list_worlds(table, shown, most, threshold)
    assert worlds, "the true table is among them"
    for row in range(len(table.rows) - (1 if table.total_row else 0)):
        for index, name in enumerate(names):
            value = table.rows[row][name]
            small = isinstance(value, int) and 0 < value < threshold
            visible = next((c for c in shown.columns if c.name == name), None)
            if small and visible is not None:
                assert shown.find(row, name).suppressed
            if small or (visible is not None and shown.find(row, name).suppressed):
                assert len({world[row][index] for world in worlds}) > 1, (row, name)
        if shown.find(row, "all").suppressed:
            assert len({sum(world[row]) for world in worlds}) > 1


counts = st.integers(min_value=0, max_value=4)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(counts, min_size=2, max_size=2), min_size=2, max_size=2), st.booleans(), st.booleans())
def test_no_combination_of_shown_counts_reveals_a_suppressed_one(
    parts: list[list[int]], total_row: bool, hidden: bool
) -> None:
    check_protected(make_table(parts, total_row=total_row, hidden=hidden), threshold=3)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.lists(counts, min_size=2, max_size=2), min_size=3, max_size=3))
def test_no_combination_reveals_one_in_longer_tables(parts: list[list[int]]) -> None:
    check_protected(make_table(parts, total_row=True), threshold=3, most=7)


def test_a_small_count_takes_the_next_smallest_with_it() -> None:
    shown = protect_table(make_table([[3, 40], [7, 60], [20, 80]], total_row=True))
    assert [cell.text for cell in shown.rows[0]] == ["0", "43", FEW, NOT_SHOWN]
    assert [cell.text for cell in shown.rows[1]] == ["1", "67", NOT_SHOWN, NOT_SHOWN]
    assert [cell.text for cell in shown.rows[3]] == ["All", "210", "30", "180"]


def test_two_small_counts_that_a_sum_would_fix_take_the_sum_with_them() -> None:
    shown = protect_table(make_table([[4, 4]], total_row=False))
    assert [cell.text for cell in shown.rows[0]] == ["0", NOT_SHOWN, FEW, FEW]


def test_a_nought_is_shown_and_hides_nothing() -> None:
    shown = protect_table(make_table([[0, 9], [0, 8]], total_row=True))
    assert not shown.suppressed
    assert [cell.text for cell in shown.rows[2]] == ["All", "17", "0", "17"]


def test_a_small_remainder_is_not_given_away() -> None:
    # 18 of 20: two of them not. The remainder is never a column, and must not follow from two.
    shown = protect_table(make_table([[18, 2]], total_row=False, hidden=True))
    assert [c.name for c in shown.columns] == ["label", "all", "a"]
    assert shown.find(0, "a").text == NOT_SHOWN or shown.find(0, "all").text == NOT_SHOWN


def test_percentages_and_durations_go_with_their_counts() -> None:
    columns = (
        LABEL,
        Column("all", "All", Sort.COUNT),
        Column("part", "Part", Sort.COUNT),
        Column("rest", "Rest", Sort.COUNT, hidden=True),
        Column("share", "Share", Sort.PERCENT, part="part", whole="all"),
        Column("median", "Median", Sort.DURATION, counted="part"),
    )
    rows = ({"label": "x", "all": 12, "part": 3, "rest": 9}, {"label": "y", "all": 40, "part": 10, "rest": 30})
    shown = protect_table(Table("t", "T", columns, rows, across=(("all", ("part", "rest")),)))
    assert [cell.text for cell in shown.rows[0]][2:] == [FEW, NOT_SHOWN, NOT_SHOWN]
    assert shown.find(1, "share").text == "25%"


def test_what_one_table_hides_no_other_shows() -> None:
    small = make_table([[4, 4]], total_row=True, name="small")
    first = Table(**{**_fields(small), "shares": {"all": "referrals"}})
    other = make_table([[8]], total_row=True, name="other")
    second = Table(**{**_fields(other), "shares": {"all": "referrals"}})
    shown = protect_tables([first, second])
    assert shown[0].find(1, "all").suppressed
    assert shown[1].find(1, "all").suppressed


def test_what_concerns_no_child_is_shown() -> None:
    table = make_table([[1, 2]], total_row=False)
    assert not protect_table(Table(**{**_fields(table), "protected": False})).suppressed


def _fields(table: Table) -> dict[str, object]:
    return {name: getattr(table, name) for name in Table.__slots__}
