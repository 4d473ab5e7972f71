"""Addresses of our own pages: where somebody wanted to go before they had to sign in or confirm."""

from typing import Final
from urllib.parse import quote, urlsplit

_MAX_NEXT: Final = 300


def choose_next(text: str) -> str:
    """Return where to go after signing in: a path of ours, or the first page for anything else."""
    parts = urlsplit(text)
    safe = (
        text.startswith("/")
        and not text.startswith(("//", "/\\"))
        and not parts.scheme
        and not parts.netloc
        and text.isprintable()
        and "\\" not in text
        and len(text) <= _MAX_NEXT
    )
    return text if safe else "/"


def with_next(path: str, following: str) -> str:
    """Return ``path`` with where to go afterwards."""
    return path if following == "/" else f"{path}?next={quote(following, safe='')}"
