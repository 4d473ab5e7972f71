"""Medians from counts: exact to the minute up to an hour, and right to within 2 in 100 above."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.reports.durations import find_bucket, find_middle, find_quantile, write_duration


@given(st.integers(min_value=0, max_value=10_000_000))
def test_a_bucket_stands_for_durations_within_two_in_a_hundred(minutes: int) -> None:
    middle = find_middle(find_bucket(timedelta(minutes=minutes))) / timedelta(minutes=1)
    assert abs(middle - minutes) <= (0 if minutes < 64 else minutes / 60)


@given(st.integers(min_value=0, max_value=1_000_000))
def test_buckets_are_in_the_order_of_durations(minutes: int) -> None:
    first, second = (find_bucket(timedelta(minutes=m)) for m in (minutes, minutes + 1))
    assert first <= second <= first + 1


def test_median_and_p90_of_a_few() -> None:
    counts: dict[int, int] = {}
    for minutes in (5, 1, 40, 3, 2, 60, 7, 4, 6, 50):
        bucket = find_bucket(timedelta(minutes=minutes))
        counts[bucket] = counts.get(bucket, 0) + 1
    assert find_quantile(counts, 0.5) == timedelta(minutes=5)
    assert find_quantile(counts, 0.9) == timedelta(minutes=50)
    assert find_quantile({}, 0.5) is None


def test_clocks_that_disagree_count_as_no_time_at_all() -> None:
    assert find_bucket(timedelta(minutes=-5)) == 0


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (0, "under a minute"),
        (1, "1 minute"),
        (61, "1 hour 1 minute"),
        (1440, "1 day"),
        (3 * 1440 + 125, "3 days 2 hours"),
    ],
)
def test_durations_in_words(minutes: int, words: str) -> None:
    assert write_duration(timedelta(minutes=minutes)) == words
