"""CSV says what the page says, and nothing that a spreadsheet would run."""

import csv
import io

from broker.audit.exporting import defuse_cell
from broker.reports.csv_form import write_csv
from broker.reports.suppression import protect_table
from broker.reports.tables import Column, Sort, Table


def test_cells_are_those_of_the_page_and_formulas_are_text() -> None:
    columns = (Column("label", "=Who"), Column("n", "How many", Sort.COUNT))
    rows = ({"label": '=cmd|"/c calc"!A1', "n": 1200}, {"label": 'a "quoted", one', "n": 3}, {"label": "+44", "n": 0})
    shown = protect_table(Table("t", "T", columns, rows))
    told = list(csv.reader(io.StringIO(write_csv(shown))))
    assert told == [
        ["'=Who", "How many"],
        ['\'=cmd|"/c calc"!A1', "1,200"],
        ['a "quoted", one', "fewer than 5"],
        ["'+44", "0"],
    ]


def test_every_beginning_of_a_formula_is_covered() -> None:
    assert [defuse_cell(f"{sign}1")[0] for sign in ("=", "+", "-", "@", "\t", "\r", "\n", "＝")] == ["'"] * 8
