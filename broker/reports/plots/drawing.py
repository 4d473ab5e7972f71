"""Draws plots in the manner of official statistics: titles that say what is seen, few grid lines, direct labels, no colour that carries meaning alone."""

from broker.reports.plots.lines import draw_columns, draw_lines
from broker.reports.plots.model import Plot, PlotForm
from broker.reports.plots.scale import make_scale, write_step
from broker.reports.plots.svg import GRID, INK, SECONDARY, SHADES, Svg, measure, wrap
from broker.reports.tables import ShownCell, ShownTable, Value

WIDTH = 960.0
_LABELS = 250.0
_ROW = 40.0
_BAR = 26.0
_TOP = 34.0
_BOTTOM = 46.0
_RIGHT = 120.0


def draw_plot(plot: Plot, table: ShownTable) -> str:
    """Return a plot as SVG; one of nothing says so."""
    if plot.form is PlotForm.COLUMNS:
        return draw_columns(plot, table)
    if plot.form is PlotForm.LINES:
        return draw_lines(plot, table)
    draw = {PlotForm.BARS: _draw_bars, PlotForm.STACKED: _draw_stacked, PlotForm.MULTIPLES: _draw_multiples}[plot.form]
    count = min(len(table.list_labels()), plot.most)
    svg = draw(plot, table, count) if count else _draw_nothing()
    return svg.write(f"plot-{table.name}", plot.title, describe(plot, table, count))


def describe(plot: Plot, table: ShownTable, count: int) -> str:
    """Return the description: what is plotted, and that the table below has every figure."""
    series = [column.title for column in table.columns if column.name in plot.series]
    return f"{plot.axis} for {count} rows: {', '.join(series)}. Every figure is in the table below."


def _draw_nothing() -> Svg:
    svg = Svg(WIDTH, 60)
    svg.text(0, 36, "There is nothing to show for these filters.", colour=SECONDARY)
    return svg


def _draw_bars(plot: Plot, table: ShownTable, count: int) -> Svg:
    (name,) = plot.series
    cells = [table.find(row, name) for row in range(count)]
    scale = make_scale([cell.value for cell in cells], percent=_is_percent(table, name))
    svg = Svg(WIDTH, _TOP + count * _ROW + _BOTTOM)
    span = WIDTH - _LABELS - _RIGHT
    _draw_grid(
        svg,
        _LABELS,
        span,
        scale.steps,
        scale.top,
        count=count,
        axis=scale.unit_name or plot.axis,
        percent=_is_percent(table, name),
    )
    for row, cell in enumerate(cells):
        y = _TOP + row * _ROW
        _draw_label(svg, table.rows[row][0].text, y)
        _draw_bar(svg, _LABELS, y, span * scale.place(cell.value), cell=cell)
    svg.line(_LABELS, _TOP, _LABELS, _TOP + count * _ROW, colour=INK, width=2)
    return svg


def _draw_bar(svg: Svg, x: float, y: float, width: float, *, cell: ShownCell, size: int = 16) -> None:
    """Draw a bar and its figure beside it; in its place, that it is suppressed."""
    if cell.value is not None and not cell.suppressed:
        svg.box(x, y + (_ROW - _BAR) / 2, width, _BAR, SHADES[0])
    svg.text(
        x + (0 if cell.suppressed else width) + 8,
        y + _ROW / 2 + 6,
        cell.text,
        colour=SECONDARY if cell.suppressed else INK,
        size=size,
    )


def _draw_stacked(plot: Plot, table: ShownTable, count: int) -> Svg:
    key_rows = _count_key_rows(plot, table)
    top = _TOP + 30 * key_rows
    svg = Svg(WIDTH, top + count * _ROW + _BOTTOM)
    _draw_key(svg, plot, table)
    span = WIDTH - _LABELS - _RIGHT
    _draw_grid(svg, _LABELS, span, (0, 25, 50, 75, 100), 100, count=count, axis=plot.axis, top=top, percent=True)
    for row in range(count):
        y = top + row * _ROW
        _draw_label(svg, table.rows[row][0].text, y)
        cells = [table.find(row, name) for name in plot.series]
        _draw_stack(svg, y, span, cells)
    svg.line(_LABELS, top, _LABELS, top + count * _ROW, colour=INK, width=2)
    return svg


def _draw_stack(svg: Svg, y: float, span: float, cells: list[ShownCell]) -> None:
    numbers = [cell.value if isinstance(cell.value, int) else 0 for cell in cells]
    whole = sum(numbers)
    if any(cell.suppressed for cell in cells):
        svg.text(_LABELS + 8, y + _ROW / 2 + 6, "not shown: small numbers", colour=SECONDARY)
        return
    if whole == 0:
        svg.text(_LABELS + 8, y + _ROW / 2 + 6, "none", colour=SECONDARY)
        return
    x = _LABELS
    for index, number in enumerate(numbers):
        width = span * number / whole
        svg.box(x, y + (_ROW - _BAR) / 2, width, _BAR, SHADES[index % len(SHADES)])
        label = f"{round(100 * number / whole)}%"
        if width > measure(label) + 10:
            light = index % len(SHADES) == 0
            svg.text(x + width / 2, y + _ROW / 2 + 6, label, anchor="middle", colour="#ffffff" if light else INK)
        x += width
    svg.text(x + 8, y + _ROW / 2 + 6, f"of {whole:,}", colour=SECONDARY)


def _draw_multiples(plot: Plot, table: ShownTable, count: int) -> Svg:
    """Draw a panel for each series, all on one scale, with the labels once at the left."""
    cells = {name: [table.find(row, name) for row in range(count)] for name in plot.series}
    values: list[Value] = [cell.value for column in cells.values() for cell in column]
    scale = make_scale(values, percent=_is_percent(table, plot.series[0]))
    svg = Svg(WIDTH, _TOP + 26 + count * _ROW + _BOTTOM)
    panel = (WIDTH - _LABELS) / len(plot.series)
    titles = {column.name: column.title for column in table.columns}
    for row in range(count):
        _draw_label(svg, table.rows[row][0].text, _TOP + 26 + row * _ROW)
    for index, name in enumerate(plot.series):
        x = _LABELS + index * panel
        span = panel - 96
        for number, line in enumerate(wrap(titles[name], panel - 16)):
            svg.text(x, 18 + 19 * number, line, bold=True)
        for row, cell in enumerate(cells[name]):
            _draw_bar(svg, x, _TOP + 26 + row * _ROW, span * scale.place(cell.value), cell=cell, size=14)
        svg.line(x, _TOP + 20, x, _TOP + 26 + count * _ROW, colour=INK, width=2)
    svg.text(_LABELS, _TOP + 26 + count * _ROW + 30, plot.axis, colour=SECONDARY)
    return svg


def _draw_grid(
    svg: Svg,
    left: float,
    span: float,
    steps: tuple[float, ...],
    most: float,
    *,
    count: int,
    axis: str,
    top: float = _TOP,
    percent: bool = False,
) -> None:
    bottom = top + count * _ROW
    for step in steps:
        x = left + span * step / most
        svg.line(x, top, x, bottom + 4, colour=GRID)
        svg.text(x, bottom + 22, write_step(step) + ("%" if percent else ""), anchor="middle", colour=SECONDARY)
    svg.text(left + span, bottom + 42, axis, anchor="end", colour=SECONDARY)


def _draw_label(svg: Svg, label: str, y: float) -> None:
    lines = wrap(label, _LABELS - 16)
    first = y + _ROW / 2 + 6 - 9 * (len(lines) - 1)
    for number, line in enumerate(lines):
        svg.text(_LABELS - 12, first + 18 * number, line, anchor="end")


def _draw_key(svg: Svg, plot: Plot, table: ShownTable) -> None:
    for (x, row), index, title in _place_key(plot, table):
        svg.box(x, 4 + 30 * row, 18, 18, SHADES[index % len(SHADES)])
        svg.text(x + 26, 19 + 30 * row, title)


def _count_key_rows(plot: Plot, table: ShownTable) -> int:
    return max((row for (_, row), _, _ in _place_key(plot, table)), default=0)


def _place_key(plot: Plot, table: ShownTable) -> list[tuple[tuple[float, int], int, str]]:
    titles = {column.name: column.title for column in table.columns}
    x, row = 0.0, 0
    placed = []
    for index, name in enumerate(plot.series):
        width = measure(titles[name]) + 56
        if x + width > WIDTH and x > 0:
            x, row = 0.0, row + 1
        placed.append(((x, row), index, titles[name]))
        x += width
    return placed


def _is_percent(table: ShownTable, name: str) -> bool:
    return any(column.name == name and column.sort == "percent" for column in table.columns)
