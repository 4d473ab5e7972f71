"""SVG by hand: elements with escaped text and presentation attributes alone, because the pages' policy allows no style attribute and no script."""

from collections.abc import Sequence
from html import escape
from typing import Final

INK: Final = "#0b0c0c"
SECONDARY: Final = "#484949"
GRID: Final = "#cecece"
FONT: Final = "GDS Transport, Arial, sans-serif"
SHADES: Final = ("#12436d", "#6bace6", "#28a197", "#bfbfbf", "#f46a25")
"""Dark to light in turn, so that neighbours differ in grey as well (Government Analysis Function palette, from its darkest on)."""
TEXT_SIZE: Final = 16
_LETTER: Final = 0.53
"""Width of an average letter, of its height."""


class Svg:
    """A drawing of a given width, added to from the top."""

    def __init__(self, width: float, height: float) -> None:
        """Start an empty drawing."""
        self.width, self.height = width, height
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        content: str,
        *,
        anchor: str = "start",
        bold: bool = False,
        colour: str = INK,
        size: int = TEXT_SIZE,
    ) -> None:
        """Write one line of text; ``y`` is its baseline."""
        weight = ' font-weight="700"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{weight}>{escape(content)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """Draw a filled rectangle, with a white edge that keeps neighbours apart in grey."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" fill="{fill}" stroke="#ffffff"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *, colour: str = GRID, width: float = 1) -> None:
        """Draw a straight line."""
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'
        )

    def path(self, points: Sequence[tuple[float, float]], colour: str, dash: str) -> None:
        """Draw a line through points."""
        told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(f'<polyline points="{told}" fill="none" stroke="{colour}" stroke-width="3"{dashed}/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        """Draw a point of a line."""
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')

    def write(self, name: str, title: str, description: str) -> str:
        """Return the whole, with a title and a description for those who do not see it."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="100%" role="img"'
            f' font-family="{FONT}" aria-labelledby="{name}-title {name}-desc">'
            f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
            f"{''.join(self._parts)}</svg>"
        )


def measure(text: str, size: int = TEXT_SIZE) -> float:
    """Return about how wide a text is."""
    return len(text) * _LETTER * size


def wrap(text: str, width: float, most: int = 2) -> list[str]:
    """Return a text in at most ``most`` lines of about ``width``; the last is cut where it does not fit."""
    lines: list[str] = []
    for word in text.split():
        if lines and measure(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    shown = lines[:most] or [""]
    while measure(shown[-1]) > width or len(lines) > len(shown):
        shown[-1] = shown[-1].rstrip("…")[:-1] + "…"
        if measure(shown[-1]) <= width:
            break
    return shown
