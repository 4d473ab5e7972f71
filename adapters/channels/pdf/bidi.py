"""Right-to-left text: Arabic letters joined, and each printed line put in visual order (Unicode UAX #9).

reportlab draws characters in the order in which it is given them. Lines must therefore be broken first, in reading order, and only then
turned round; turning a whole paragraph round would print its last line first.
"""

import re

from arabic_reshaper import ArabicReshaper
from bidi.algorithm import get_display  # the package's other implementation does not mirror brackets

from adapters.channels.pdf.fonts import has_glyph, measure_text

_RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_ISOLATES = str.maketrans("", "", "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# The font has no code points for isolated forms: the plain letter draws the same glyph.
_RESHAPER = ArabicReshaper(
    {"use_unshaped_instead_of_isolated": True, "delete_harakat": False, "support_ligatures": True}
)


def is_right_to_left(text: str) -> bool:
    """Whether any letter of ``text`` belongs to a right-to-left script."""
    return bool(_RTL.search(text))


def starts_right_to_left(text: str) -> bool:
    """Whether the first letter is right-to-left, which sets the direction and side of the paragraph (UAX #9, P2)."""
    for character in text:
        if character.isalpha():
            return bool(_RTL.match(character))
    return False


def join_letters(text: str) -> str:
    """Return ``text`` with Arabic letters in their joined forms, still in reading order. Forms the font lacks stay plain letters."""
    joined = str(_RESHAPER.reshape(text.translate(_ISOLATES)))
    if all(has_glyph(c) or c.isspace() for c in joined):
        return joined
    plain = ArabicReshaper(
        {"use_unshaped_instead_of_isolated": True, "delete_harakat": True, "support_ligatures": False}
    )
    return str(plain.reshape(text.translate(_ISOLATES)))


def order_line(line: str, *, right_to_left: bool) -> str:
    """Return one printed line in visual order, left to right."""
    return str(get_display(line, base_dir="R" if right_to_left else "L"))


def lay_out_lines(text: str, font: str, size: float, width: float) -> list[str]:
    """Break ``text`` into lines of at most ``width`` points and return each in visual order.

    A word wider than the line is kept whole on its own line rather than cut inside a joined word.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        right_to_left = starts_right_to_left(paragraph)
        current = ""
        for word in join_letters(paragraph).split():
            longer = f"{current} {word}" if current else word
            if current and measure_text(longer, font, size) > width:
                lines.append(order_line(current, right_to_left=right_to_left))
                current = word
            else:
                current = longer
        lines.append(order_line(current, right_to_left=right_to_left))
    return lines
