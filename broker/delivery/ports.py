"""Shapes that delivery and intake share: clocks, and the hook for each step."""

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
Observe = Callable[[str], None]
"""Called with the name of each step that is done. A fault test stops the process there."""


def observe_nothing(_step: str) -> None:
    """Stand in for the hook in production."""
