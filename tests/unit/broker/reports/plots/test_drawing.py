"""Plots are well-formed SVG that the pages' policy allows, say what they show, and show nothing that is suppressed."""

from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest

from broker.reports.plots import Plot, PlotForm, draw_plot
from broker.reports.plots.scale import find_step, make_scale
from broker.reports.plots.svg import wrap
from broker.reports.suppression import protect_table
from broker.reports.tables import Column, ShownTable, Sort, Table

COLUMNS = (
    Column("label", "Kind"),
    Column("a", "Met & in time", Sort.COUNT),
    Column("b", "Not", Sort.COUNT),
    Column("share", "Share", Sort.PERCENT, part="a", whole="b"),
    Column("time", "Median", Sort.DURATION, counted="a"),
)


def make_table(*rows: tuple[str, int, int]) -> ShownTable:
    told = tuple({"label": label, "a": a, "b": b, "time": timedelta(hours=a)} for label, a, b in rows)
    return protect_table(Table("kinds", "Kinds", COLUMNS, told))


TABLE = make_table(
    ("<script>alert(1)</script>", 20, 10), ("Few", 3, 40), ("None", 0, 0), ("A very long label " * 5, 8, 9)
)


@pytest.mark.parametrize(
    ("form", "series"),
    [
        (PlotForm.BARS, ("a",)),
        (PlotForm.BARS, ("share",)),
        (PlotForm.STACKED, ("a", "b")),
        (PlotForm.COLUMNS, ("a",)),
        (PlotForm.LINES, ("a", "b")),
        (PlotForm.MULTIPLES, ("time", "time")),
    ],
)
@pytest.mark.parametrize("table", [TABLE, make_table(), make_table(("One", 0, 0))], ids=["some", "empty", "noughts"])
def test_every_form_is_well_formed_and_allowed(form: PlotForm, series: tuple[str, ...], table: ShownTable) -> None:
    text = draw_plot(Plot(form, "kinds", "What is <seen>", series, "Referrals"), table)
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert root.attrib["role"] == "img"
    names = root.attrib["aria-labelledby"].split()
    assert [child.attrib["id"] for child in list(root)[:2]] == names
    assert root[0].text == "What is <seen>"
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "style", "foreignObject", "image", "a"}
        assert not {name for name in element.attrib if name == "style" or name.startswith("on")}


def test_what_is_suppressed_is_not_drawn() -> None:
    text = draw_plot(Plot(PlotForm.BARS, "kinds", "t", ("a",), "Referrals"), TABLE)
    assert "fewer than 5" in text
    bars = [e for e in ET.fromstring(text).iter() if e.tag.endswith("rect")]  # noqa: S314 - our own text
    assert len(bars) == 3  # of four rows, one of them a nought


def test_axes_have_round_steps() -> None:
    assert make_scale([7, 23]).steps == (0, 5, 10, 15, 20, 25)
    assert make_scale([0]).top >= 1
    assert make_scale([timedelta(days=10)]).unit_name == "Days"
    assert make_scale([timedelta(minutes=45)]).unit_name == "Minutes"
    assert find_step(0.2, whole=True) == 1


def test_long_labels_are_cut_to_two_lines() -> None:
    lines = wrap("A very long label " * 5, 200)
    assert len(lines) == 2
    assert lines[1].endswith("…")
