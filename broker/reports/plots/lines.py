"""Plots along time or the hours of a day: columns of one series, lines of several, each named at its end."""

from broker.reports.plots.model import Plot
from broker.reports.plots.scale import Scale, make_scale, write_step
from broker.reports.plots.svg import GRID, INK, SECONDARY, SHADES, Svg, measure
from broker.reports.tables import ShownCell, ShownTable

WIDTH = 960.0
HEIGHT = 400.0
_LEFT = 64.0
_TOP = 40.0
_BOTTOM = 60.0
_DASHES = ("", "8 4", "2 4", "12 4 2 4")


def draw_columns(plot: Plot, table: ShownTable) -> str:
    """Draw upright columns of one series."""
    (name,) = plot.series
    labels = table.list_labels()
    cells = [table.find(row, name) for row in range(len(labels))]
    svg, scale = _start(plot, [cells])
    right = WIDTH - 10
    slot = (right - _LEFT) / max(1, len(cells))
    base = HEIGHT - _BOTTOM
    for index, cell in enumerate(cells):
        x = _LEFT + index * slot
        if cell.suppressed:
            svg.text(x + slot / 2, base - 6, "x", anchor="middle", colour=SECONDARY)
        else:
            height = (base - _TOP) * scale.place(cell.value)
            svg.box(x + slot * 0.1, base - height, slot * 0.8, height, SHADES[0])
    _draw_labels(svg, labels, _LEFT + slot / 2, slot)
    svg.line(_LEFT, base, right, base, colour=INK, width=2)
    if any(cell.suppressed for cell in cells):
        svg.text(right, 18, "x: not shown, small number", anchor="end", colour=SECONDARY)
    return _finish(svg, plot, table)


def draw_lines(plot: Plot, table: ShownTable) -> str:
    """Draw a line for each series; where a figure is suppressed the line is broken."""
    labels = table.list_labels()
    titles = {column.name: column.title for column in table.columns}
    series = {name: [table.find(row, name) for row in range(len(labels))] for name in plot.series}
    svg, scale = _start(plot, list(series.values()))
    right = WIDTH - max(measure(titles[name]) for name in plot.series) - 24
    slot = (right - _LEFT) / max(1, len(labels) - 1)
    ends: list[tuple[float, int, str]] = []
    for index, (name, cells) in enumerate(series.items()):
        last = _draw_line(svg, cells, scale, slot, index)
        if last is not None:
            ends.append((last, index, titles[name]))
    for y, index, title in _spread(ends):
        svg.text(right + 12, y + 5, title, colour=INK, bold=index == 0)
    _draw_labels(svg, labels, _LEFT, slot)
    svg.line(_LEFT, HEIGHT - _BOTTOM, right, HEIGHT - _BOTTOM, colour=INK, width=2)
    return _finish(svg, plot, table)


def _draw_line(svg: Svg, cells: list[ShownCell], scale: Scale, slot: float, index: int) -> float | None:
    """Draw one series and return the height of its last figure that is shown."""
    base = HEIGHT - _BOTTOM
    stretch: list[tuple[float, float]] = []
    last = None
    for number, cell in enumerate(cells):
        if cell.value is None:
            stretch = _end_stretch(svg, stretch, index)
            continue
        last = base - (base - _TOP) * scale.place(cell.value)
        stretch.append((_LEFT + number * slot, last))
    _end_stretch(svg, stretch, index)
    return last


def _end_stretch(svg: Svg, stretch: list[tuple[float, float]], index: int) -> list[tuple[float, float]]:
    colour = SHADES[index % len(SHADES)]
    if len(stretch) > 1:
        svg.path(stretch, colour, _DASHES[index % len(_DASHES)])
    for point in stretch if len(stretch) < 40 else stretch[-1:]:
        svg.dot(*point, colour)
    return []


def _spread(ends: list[tuple[float, int, str]]) -> list[tuple[float, int, str]]:
    """Move names that would lie over each other apart."""
    placed: list[tuple[float, int, str]] = []
    for y, index, title in sorted(ends):
        free = max(y, placed[-1][0] + 20) if placed else y
        placed.append((free, index, title))
    return placed


def _start(plot: Plot, series: list[list[ShownCell]]) -> tuple[Svg, Scale]:
    svg = Svg(WIDTH, HEIGHT)
    scale = make_scale([cell.value for cells in series for cell in cells])
    base = HEIGHT - _BOTTOM
    for step in scale.steps:
        y = base - (base - _TOP) * step / scale.top
        svg.line(_LEFT, y, WIDTH - 10, y, colour=GRID)
        svg.text(_LEFT - 10, y + 5, write_step(step), anchor="end", colour=SECONDARY)
    svg.text(0, 18, scale.unit_name or plot.axis, colour=SECONDARY)
    return svg, scale


def _draw_labels(svg: Svg, labels: list[str], first: float, slot: float) -> None:
    """Write as many labels along the axis as have room, the first among them."""
    room = max((measure(label) for label in labels), default=1) + 12
    every = max(1, -int(-room // max(slot, 0.1)))
    for index in range(0, len(labels), every):
        svg.text(first + index * slot, HEIGHT - _BOTTOM + 24, labels[index], anchor="middle", colour=SECONDARY)


def _finish(svg: Svg, plot: Plot, table: ShownTable) -> str:
    series = [column.title for column in table.columns if column.name in plot.series]
    told = (
        f"{plot.axis}: {', '.join(series)}, for {len(table.list_labels())} points. Every figure is in the table below."
    )
    return svg.write(f"plot-{table.name}", plot.title, told)
