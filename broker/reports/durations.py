"""Durations as counts: exact whole minutes up to an hour, then 32 steps to each doubling, so that a median or p90 is right to within 2 in 100.

Medians of any period must come from sums of kept counts: with ten million events there is no time to sort the durations themselves.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

_STEPS: Final = 32
_EXACT: Final = 2 * _STEPS
_LARGEST: Final = 32_767
"""What fits the column (smallint): far more minutes than there are in a century."""
_MINUTE: Final = timedelta(minutes=1)


def find_bucket(duration: timedelta) -> int:
    """Return the bucket of a duration; one that is negative (clocks that disagree) counts as none at all."""
    minutes = max(0, duration // _MINUTE)
    if minutes < _EXACT:
        return minutes
    doublings = minutes.bit_length() - _EXACT.bit_length() + 1
    return min(_LARGEST, _EXACT + (doublings - 1) * _STEPS + (minutes >> doublings) - _STEPS)


def find_middle(bucket: int) -> timedelta:
    """Return the middle of a bucket, to the minute."""
    if bucket < _EXACT:
        return bucket * _MINUTE
    doublings, step = divmod(bucket - _EXACT, _STEPS)
    doublings += 1
    return (((_STEPS + step) << doublings) + (1 << doublings) // 2) * _MINUTE


def find_quantile(counts: Mapping[int, int], share: float) -> timedelta | None:
    """Return the smallest duration that at least ``share`` of the counted ones do not exceed, or none where nothing is counted.

    The median of an even number is the lower of the two in the middle.
    """
    total = sum(counts.values())
    if total <= 0:
        return None
    reached = 0
    for bucket in sorted(counts):
        reached += counts[bucket]
        if reached >= share * total:
            return find_middle(bucket)
    return None


def write_duration(duration: timedelta) -> str:
    """Return a duration for people: ``3 days 4 hours``, ``5 hours 10 minutes``, ``12 minutes``; the two largest units."""
    minutes = round(duration / _MINUTE)
    days, rest = divmod(minutes, 24 * 60)
    hours, minutes = divmod(rest, 60)
    parts = [(days, "day"), (hours, "hour"), (minutes, "minute")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    told = [f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts[:2] if count]
    return " ".join(told) or "under a minute"
