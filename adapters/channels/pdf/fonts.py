"""The fonts of the PDF: FiraGO, embedded, so that Welsh, Polish and Arabic names print the same everywhere.

FiraGO (SIL Open Font License) comes from the wheel ``pymupdf-fonts``; it covers Latin, Greek, Cyrillic, Arabic, Hebrew, Devanagari, Thai and
Georgian. PDF readers' built-in fonts cover none of these but western Latin.
"""

import io
import threading

import pymupdf_fonts
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REGULAR = "SafelaneSans"
BOLD = "SafelaneSans-Bold"
ITALIC = "SafelaneSans-Italic"

_FACES = {REGULAR: "figo", BOLD: "figbo", ITALIC: "figit"}
_registering = threading.Lock()
_MISSING = "\u25a1"  # an empty square: says that a character was there and cannot be shown


def register_fonts() -> None:
    """Register the three faces with reportlab once per process. Safe to call from any thread."""
    with _registering:
        known = set(pdfmetrics.getRegisteredFontNames())
        for name, face in _FACES.items():
            if name not in known:
                pdfmetrics.registerFont(TTFont(name, io.BytesIO(pymupdf_fonts.fontbuffers[face]())))
        pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=ITALIC, boldItalic=BOLD)


def measure_text(text: str, font: str, size: float) -> float:
    """Return the width of ``text`` in points."""
    return float(pdfmetrics.stringWidth(text, font, size))


def has_glyph(character: str, font: str = REGULAR) -> bool:
    """Whether the font can draw the character."""
    return ord(character) in pdfmetrics.getFont(font).face.charToGlyph


def replace_missing(text: str, font: str = REGULAR) -> str:
    """Return ``text`` with control characters dropped and each character that cannot be drawn marked, never lost without a trace."""
    shown = []
    for character in text:
        if character in "\n\t" or has_glyph(character, font):
            shown.append(character)
        elif character.isprintable():
            shown.append(_MISSING if has_glyph(_MISSING, font) else "?")
    return "".join(shown)
