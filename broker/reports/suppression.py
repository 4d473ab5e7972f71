"""Small-number suppression: a count below the threshold is not shown, nor is anything from which it could be worked out.

Primary: a count of 1 to threshold-1 is shown as ``fewer than 5``. Secondary: where sums would give it away, further counts are ``not shown``; where
even ``fewer than 5`` beside others would, that is ``not shown`` too. The check is exact, also against a reader who knows these rules: with every table's sums as equations, each suppressed count must still have at least two
possible values, given that a primary one is at least 1 and below the threshold and a secondary one at least the threshold. Row and column sums make
a network, in which a count can change exactly if it lies on a cycle of suppressed counts that have room to move (a residual cycle).
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.reports.tables import Column, ShownCell, ShownTable, Sort, Table, write_value

DEFAULT_THRESHOLD: Final = 5
NOT_SHOWN: Final = "not shown"
_OUTSIDE: Final = ("outside", "")

Place = tuple[int, str]
"""Row number and column name."""
Node = tuple[str, str]
"""One sum: ``across`` and row number and total, or ``down`` and column."""


def protect_tables(tables: Sequence[Table], threshold: int = DEFAULT_THRESHOLD) -> list[ShownTable]:
    """Suppress small numbers in a report's tables together: what is suppressed in one is not shown in another that counts the same."""
    forced: dict[str, set[Place]] = {table.name: set() for table in tables}
    while True:
        hidden = {table.name: _suppress(table, threshold, forced[table.name]) for table in tables}
        hidden_totals = {
            key
            for table in tables
            for column, key in table.shares.items()
            if (len(table.rows) - 1, column) in hidden[table.name]
        }
        more = False
        for table in tables:
            for column, key in table.shares.items():
                place = (len(table.rows) - 1, column)
                if key in hidden_totals and place not in hidden[table.name] and table.rows[-1].get(column):
                    forced[table.name].add(place)
                    more = True
        if not more:
            return [_show(table, hidden[table.name], threshold) for table in tables]


def protect_table(table: Table, threshold: int = DEFAULT_THRESHOLD) -> ShownTable:
    """Suppress small numbers in one table."""
    return protect_tables([table], threshold)[0]


@dataclass(slots=True)
class _Suppressed:
    """One suppressed count: the two sums that it is part of, and how far it could be from its value."""

    place: Place
    plus: Node
    minus: Node
    can_grow: bool
    can_shrink: bool
    bounded: bool
    """Whether it is said that it is below the threshold."""


@dataclass(slots=True)
class _Network:
    """The suppressed counts of a table as arcs between its sums."""

    cells: dict[Place, _Suppressed] = field(default_factory=dict)
    arcs: dict[Node, list[tuple[Node, Place]]] = field(default_factory=dict)

    def add(self, cell: _Suppressed) -> None:
        """Add a suppressed count: it may grow (a token moves from ``minus`` to ``plus``) or shrink (the other way)."""
        self.cells[cell.place] = cell
        if cell.can_grow:
            self.arcs.setdefault(cell.minus, []).append((cell.plus, cell.place))
        if cell.can_shrink:
            self.arcs.setdefault(cell.plus, []).append((cell.minus, cell.place))

    def hide_bound(self, beside: Sequence[tuple[bool, Place]]) -> bool:
        """No longer say of one count, a total if there is one, that it is below the threshold; return whether there was one to hide."""
        for _, place in reversed(beside):
            cell = self.cells.get(place)
            if cell is not None and cell.bounded:
                cell.bounded = False
                if not cell.can_grow:
                    cell.can_grow = True
                    self.arcs.setdefault(cell.minus, []).append((cell.plus, cell.place))
                return True
        return False

    def can_move(self, place: Place) -> bool:
        """Tell whether a suppressed count could have another value, all sums that are shown being as they are."""
        cell = self.cells[place]
        grows = cell.can_grow and self._reaches(cell.plus, cell.minus, place)
        return grows or (cell.can_shrink and self._reaches(cell.minus, cell.plus, place))

    def _reaches(self, start: Node, end: Node, without: Place) -> bool:
        if start == end:
            return True
        seen, waiting = {start}, deque([start])
        while waiting:
            for node, place in self.arcs.get(waiting.popleft(), ()):
                if place != without and node not in seen:
                    if node == end:
                        return True
                    seen.add(node)
                    waiting.append(node)
        return False


class _Sums:
    """The sums of a table, and how many of the counts of each are suppressed."""

    def __init__(self, table: Table, counts: Mapping[Place, int]) -> None:
        """List the sums within rows, and down columns where the last row is a total."""
        names = list(dict.fromkeys(name for _, name in counts))
        self.places: list[list[Place]] = [
            [(row, name) for name in (total, *parts)] for row in range(len(table.rows)) for total, parts in table.across
        ]
        if table.total_row:
            self.places += [[(row, name) for row in range(len(table.rows))] for name in names]
        self.of: dict[Place, list[int]] = {place: [] for place in counts}
        for number, places in enumerate(self.places):
            for place in places:
                self.of[place].append(number)
        self._taken = [0] * len(self.places)
        self.alone: set[int] = set()
        """Sums in which one count alone is suppressed: it follows from the others."""

    def take(self, place: Place) -> None:
        """Note that a count is suppressed."""
        for number in self.of[place]:
            self._taken[number] += 1
            if self._taken[number] == 1:
                self.alone.add(number)
            else:
                self.alone.discard(number)

    def closes(self, place: Place) -> bool:
        """Tell whether every sum of a count, of at least two, has something suppressed already."""
        return sum(1 for number in self.of[place] if self._taken[number]) > 1


def _suppress(table: Table, threshold: int, forced: set[Place]) -> dict[Place, bool]:
    """Return the places of the counts that are not shown, and whether it is said of each that it is below the threshold."""
    if not table.protected:
        return {}
    counts = _read_counts(table)
    network, sums = _Network(), _Sums(table, counts)
    waiting = deque(sorted(place for place, n in counts.items() if 0 < n < threshold or place in forced))
    for place in waiting:
        network.add(_make_cell(table, place, counts[place], threshold))
        sums.take(place)
    while waiting:
        place = waiting.popleft()
        while not network.can_move(place):
            choice = min(_list_choices(table, place, counts, network, sums), default=None)
            if choice is not None:
                network.add(_make_cell(table, choice[-1], counts[choice[-1]], threshold))
                sums.take(choice[-1])
                waiting.append(choice[-1])
            elif not network.hide_bound(_list_beside(table, place, sums)):
                break  # it has no sum: nothing could give it away
    return {place: cell.bounded for place, cell in network.cells.items()}


def _list_choices(
    table: Table, place: Place, counts: Mapping[Place, int], network: _Network, sums: _Sums
) -> Iterator[tuple[bool, bool, bool, int, Place]]:
    """Yield what could be suppressed so that a count can move; never a nought.

    First where a suppressed count is alone in a sum, and there what closes a circle with others; parts before totals, then the smallest.
    """
    for number in sums.alone.union(sums.of[place]):
        for other in sums.places[number]:
            if other not in network.cells and counts[other] > 0:
                is_total = _is_total(table, other)
                yield number not in sums.alone, not sums.closes(other), is_total, counts[other], other


def _list_beside(table: Table, place: Place, sums: _Sums) -> list[tuple[bool, Place]]:
    """Return the counts that are in a sum with one, itself included, each with whether it is a total."""
    places = {place}.union(*(sums.places[number] for number in sums.of[place]))
    return sorted((_is_total(table, other), other) for other in places)


def _is_total(table: Table, place: Place) -> bool:
    row, column = place
    return (table.total_row and row == len(table.rows) - 1) or any(column == total for total, _ in table.across)


def _make_cell(table: Table, place: Place, count: int, threshold: int) -> _Suppressed:
    row, column = place
    primary = count < threshold
    ends = sorted(_list_ends(table, row, column), reverse=True)
    plus = next((node for sign, node in ends if sign > 0), _OUTSIDE)
    minus = next((node for sign, node in ends if sign < 0), _OUTSIDE)
    return _Suppressed(
        place,
        plus,
        minus,
        can_grow=not primary or count < threshold - 1,
        can_shrink=count > (1 if primary else threshold),
        bounded=primary,
    )


def _list_ends(table: Table, row: int, column: str) -> Iterator[tuple[int, Node]]:
    """Yield the sums that a count is part of, each with its sign there, so that every count has one of each: the signs make it a network."""
    in_total_row = table.total_row and row == len(table.rows) - 1
    is_total = any(column == total for total, _ in table.across)
    for total, parts in table.across:
        if column == total or column in parts:
            sign = -1 if column == total else 1
            yield (-sign if in_total_row else sign), ("across", f"{row} {total}")
    if table.total_row:
        sign = -1 if in_total_row else 1
        yield (sign if is_total else -sign), ("down", column)


def _read_counts(table: Table) -> dict[Place, int]:
    counts: dict[Place, int] = {}
    for number, row in enumerate(table.rows):
        for column in table.columns:
            if column.sort is Sort.COUNT:
                value = row.get(column.name)
                counts[number, column.name] = value if isinstance(value, int) else 0
    return counts


def _show(table: Table, hidden: Mapping[Place, bool], threshold: int) -> ShownTable:
    columns = tuple(column for column in table.columns if not column.hidden)
    rows = tuple(
        tuple(_show_cell(row, number, column, hidden, threshold) for column in columns)
        for number, row in enumerate(table.rows)
    )
    return ShownTable(
        table.name,
        table.title,
        columns,
        rows,
        total_row=table.total_row,
        note=table.note,
        suppressed=any(cell.suppressed for row in rows for cell in row),
    )


def _show_cell(
    row: Mapping[str, object], number: int, column: Column, hidden: Mapping[Place, bool], threshold: int
) -> ShownCell:
    value = row.get(column.name)
    if column.sort is Sort.COUNT and (number, column.name) in hidden:
        few = hidden[number, column.name]
        return ShownCell(f"fewer than {threshold}" if few else NOT_SHOWN, suppressed=True)
    if column.sort is Sort.PERCENT:
        if hidden.keys() & {(number, column.part), (number, column.whole)}:
            return ShownCell(NOT_SHOWN, suppressed=True)
        value = _divide(row.get(column.part), row.get(column.whole))
    if column.sort is Sort.DURATION and (number, column.counted) in hidden:
        return ShownCell(NOT_SHOWN, suppressed=True)
    return ShownCell(write_value(column.sort, value), value)  # type: ignore[arg-type]


def _divide(part: object, whole: object) -> int | None:
    if not isinstance(part, int) or not isinstance(whole, int) or whole == 0:
        return None
    return (200 * part + whole) // (2 * whole)
