"""The building blocks of the page: paragraphs in any script, label-and-text rows, coloured bands, numbered pages."""

from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, Table, TableStyle

from adapters.channels.pdf.bidi import is_right_to_left, lay_out_lines, starts_right_to_left
from adapters.channels.pdf.fonts import BOLD, ITALIC, REGULAR, replace_missing
from adapters.channels.pdf.rows import Row

INK = HexColor("#0b0c0c")
GREY = HexColor("#505a5f")
RULE = HexColor("#b1b4b6")
PALE = HexColor("#f3f2f1")
RED = HexColor("#aa2a16")
AMBER = HexColor("#ffdd00")
BLUE = HexColor("#144e81")

BODY = ParagraphStyle("body", fontName=REGULAR, fontSize=10, leading=13.5, textColor=INK)
SMALL = ParagraphStyle("small", parent=BODY, fontSize=8.5, leading=11, textColor=GREY)
NOTE = ParagraphStyle("note", parent=SMALL, fontName=ITALIC)
LABEL = ParagraphStyle("label", parent=BODY, fontName=BOLD)
QUOTE = ParagraphStyle("quote", parent=BODY, fontSize=11.5, leading=15.5)
TITLE = ParagraphStyle("title", parent=BODY, fontName=BOLD, fontSize=19, leading=23)
HEADING = ParagraphStyle("heading", parent=BODY, fontName=BOLD, fontSize=13, leading=17, spaceBefore=9, spaceAfter=3)
SUBHEADING = ParagraphStyle(
    "subheading", parent=BODY, fontName=BOLD, fontSize=11, leading=14, spaceBefore=5, spaceAfter=1
)
BAND = ParagraphStyle("band", parent=BODY, fontName=BOLD, fontSize=13, leading=17)

_ROW_LINES = TableStyle(
    [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
    ]
)
_PAIR_TEXT = 34  # characters that fit the half line
_LABEL_WIDTH = 42 * mm
_LONG_PARAGRAPH = 3_000  # characters
_LONG_TEXT = 900  # characters; longer text goes under its label, because a table row cannot be broken well
_LONG_LABEL = 120  # characters; a longer one is no label, and in a narrow cell might be taller than a page


class RightToLeftText(Flowable):  # type: ignore[misc]
    """A paragraph with right-to-left script, broken into lines first and then ordered line by line."""

    def __init__(self, text: str, style: ParagraphStyle, lines: list[str] | None = None) -> None:
        super().__init__()
        self._text = text
        self._style = style
        self._lines = lines
        self._from_right = starts_right_to_left(text)

    def wrap(self, width: float, _height: float) -> tuple[float, float]:
        """Lay out for ``width`` points and return the size taken."""
        self.width = width
        if self._lines is None:
            self._laid = lay_out_lines(self._text, self._style.fontName, self._style.fontSize, width)
        else:
            self._laid = self._lines
        self.height = self._style.leading * len(self._laid)
        return width, self.height

    def split(self, width: float, height: float) -> list[Flowable]:
        """Return the part that fits and the rest, or nothing when not even one line fits."""
        self.wrap(width, height)
        fitting = int(height // self._style.leading)
        if fitting < 1:
            return []
        if fitting >= len(self._laid):
            return [self]
        parts = (self._laid[:fitting], self._laid[fitting:])
        return [RightToLeftText(self._text, self._style, lines=part) for part in parts]

    def draw(self) -> None:
        """Draw the lines: from the right edge where the paragraph is right-to-left and longer than a line."""
        self.canv.setFont(self._style.fontName, self._style.fontSize)
        self.canv.setFillColor(self._style.textColor)
        down = self.height - self._style.fontSize
        for line in self._laid:
            if self._from_right and len(self._laid) > 1:
                self.canv.drawRightString(self.width, down, line)
            else:
                self.canv.drawString(0, down, line)
            down -= self._style.leading


def make_paragraph(text: str, style: ParagraphStyle = BODY) -> Flowable:
    """Return a paragraph of plain text: any markup in it is printed as it stands, line breaks are kept."""
    shown = replace_missing(text, style.fontName)
    if is_right_to_left(shown):
        return RightToLeftText(shown, style)
    return Paragraph(escape(shown).replace("\n", "<br/>"), style)


def make_band(lines: list[tuple[str, ParagraphStyle]], background: Color, foreground: Color, width: float) -> Table:
    """Return a full-width coloured band of lines."""
    cells = [[make_paragraph(text, ParagraphStyle("on", parent=style, textColor=foreground))] for text, style in lines]
    band = Table(cells, colWidths=[width])
    band.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), background),
                ("LEFTPADDING", (0, 0), (-1, -1), 8),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
                ("TOPPADDING", (0, 0), (-1, 0), 6),
                ("BOTTOMPADDING", (0, -1), (-1, -1), 7),
            ]
        )
    )
    return band


def split_text(text: str) -> list[str]:
    """Return a long text in parts for paragraphs of their own: laying out one paragraph costs far more than in proportion to its length."""
    parts = []
    while len(text) > _LONG_PARAGRAPH:
        cut = max(text.rfind("\n", 0, _LONG_PARAGRAPH), text.rfind(" ", 0, _LONG_PARAGRAPH)) + 1 or _LONG_PARAGRAPH
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text]


def make_rows(rows: list[Row], width: float, style: ParagraphStyle = BODY) -> list[Flowable]:
    """Return label-and-text rows: short ones as a table, long ones as text under a label, headings between them."""
    shown: list[Flowable] = []
    table: list[list[Any]] = []

    def close_table() -> None:
        if table:
            shown.append(_make_table(list(table), width))
            table.clear()

    for row in rows:
        indent = "   " * row.depth
        if not row.text:
            close_table()
            shown.append(make_paragraph(indent + row.label, SUBHEADING))
        elif len(row.text) > _LONG_TEXT or len(row.label) > _LONG_LABEL or len(row.note) > _LONG_TEXT or not row.label:
            close_table()
            if row.label:
                shown.append(make_paragraph(indent + row.label, SUBHEADING))
            shown.extend(make_paragraph(part, style) for part in split_text(row.text))
            if row.note:
                shown.extend(make_paragraph(part, NOTE) for part in split_text(row.note))
        else:
            cell = [make_paragraph(row.text, style)]
            if row.note:
                cell.append(make_paragraph(row.note, NOTE))
            table.append([make_paragraph(indent + row.label, LABEL), cell])
    close_table()
    return shown


def make_pairs(rows: list[Row], width: float) -> list[Flowable]:
    """Return short rows two to a line, to save height, and the others as :func:`make_rows` does."""
    shown: list[Flowable] = []
    short: list[Row] = []

    def close_pairs() -> None:
        if short:
            shown.append(_make_pair_table(list(short), width))
            short.clear()

    for row in rows:
        short_label = 0 < len(row.label) <= _LONG_LABEL
        if short_label and row.text and "\n" not in row.text and len(row.text) + len(row.note) <= _PAIR_TEXT:
            short.append(row)
        else:
            close_pairs()
            shown.extend(make_rows([row], width))
    close_pairs()
    return shown


def _make_pair_table(rows: list[Row], width: float) -> Table:
    cells: list[list[Any]] = []
    for left in range(0, len(rows), 2):
        line: list[Any] = []
        for row in rows[left : left + 2]:
            text = f"{row.text} ({row.note})" if row.note else row.text
            line += [make_paragraph(row.label, LABEL), make_paragraph(text, BODY)]
        cells.append(line + [""] * (4 - len(line)))
    label, text = 28 * mm, width / 2 - 28 * mm
    table = Table(cells, colWidths=[label, text, label, text])
    table.setStyle(_ROW_LINES)
    return table


def _make_table(cells: list[list[Any]], width: float) -> Table:
    table = Table(cells, colWidths=[_LABEL_WIDTH, width - _LABEL_WIDTH], splitInRow=1)
    table.setStyle(_ROW_LINES)
    return table


class NumberedCanvas(Canvas):  # type: ignore[misc]
    """A canvas that writes "Page 1 of 3" at the foot, once it knows how many pages there are."""

    footer = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 (reportlab's name)
        """Keep the page until all are known."""
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Write every page with its number, then the file."""
        total = len(self._pages)
        for number, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self.setFont(REGULAR, 8)
            self.setFillColor(GREY)
            self.drawString(18 * mm, 10 * mm, self.footer)
            self.drawRightString(self._pagesize[0] - 18 * mm, 10 * mm, f"Page {number} of {total}")
            super().showPage()
        super().save()


__all__ = [
    "AMBER", "BAND", "BLUE", "BODY", "GREY", "HEADING", "INK", "LABEL", "NOTE", "PALE", "QUOTE", "RED", "SMALL", "SUBHEADING", "TITLE",
    "NumberedCanvas", "make_band", "make_pairs", "make_paragraph", "make_rows", "split_text", "white",
]  # fmt: skip
