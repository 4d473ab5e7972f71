"""Axes: round steps from nought, and numbers from a table's cells, durations in the unit that fits them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from broker.reports.tables import Value

_UNITS: Final = ((timedelta(days=3), timedelta(days=1), "Days"), (timedelta(hours=3), timedelta(hours=1), "Hours"))
_STEPS: Final = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """Nought to ``top`` in ``steps``; ``unit`` is what one is, for durations."""

    top: float
    steps: tuple[float, ...]
    unit: timedelta | None = None
    unit_name: str = ""

    def place(self, value: Value) -> float:
        """Return how far along the axis a value is, 0 to 1."""
        return self.number(value) / self.top

    def number(self, value: Value) -> float:
        """Return a cell's value in the axis's unit."""
        if isinstance(value, timedelta):
            return value / (self.unit or timedelta(minutes=1))
        return float(value) if isinstance(value, int) else 0.0


def make_scale(values: Sequence[Value], *, percent: bool = False) -> Scale:
    """Return a scale from nought that holds all values."""
    if percent:
        return Scale(100, (0, 25, 50, 75, 100))
    durations = [value for value in values if isinstance(value, timedelta)]
    if durations:
        longest = max(durations)
        unit, name = next(
            ((unit, name) for most, unit, name in _UNITS if longest >= most), (timedelta(minutes=1), "Minutes")
        )
        numbers = [value / unit for value in durations]
    else:
        unit, name = None, ""
        numbers = [float(value) for value in values if isinstance(value, int)]
    step = find_step(max(numbers, default=1.0) / _STEPS, whole=unit is None)
    count = max(1, -int(-max(numbers, default=1.0) // step))
    return Scale(step * count, tuple(step * number for number in range(count + 1)), unit, name)


def find_step(rough: float, *, whole: bool = True) -> float:
    """Return the round step (1, 2 or 5 times a power of ten) that is at least ``rough``."""
    power = 1.0
    while power * 10 < rough:
        power *= 10
    while power > rough and (not whole or power > 1) and power > 0.01:
        power /= 10
    return next((power * factor for factor in (1, 2, 5, 10) if power * factor >= rough), power * 10)


def write_step(step: float) -> str:
    """Return a step's label."""
    return f"{step:,.0f}" if step == int(step) else f"{step:g}"
