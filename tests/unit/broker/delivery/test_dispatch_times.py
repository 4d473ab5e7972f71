from datetime import timedelta

import pytest

from broker.delivery.dispatch import DispatchTimes

TIMES = DispatchTimes(
    retry_first=timedelta(seconds=2),
    retry_most=timedelta(seconds=60),
    offer_first=timedelta(minutes=10),
    offer_most=timedelta(hours=6),
)


@pytest.mark.parametrize(("attempt", "seconds"), [(0, 2), (1, 4), (3, 16), (5, 60), (500, 60)])
def test_retries_double_up_to_a_ceiling_with_jitter(attempt: int, seconds: int) -> None:
    waits = [TIMES.after_failure(attempt).total_seconds() for _ in range(50)]
    assert all(0.75 * seconds <= wait <= 1.25 * seconds for wait in waits)
    assert len(set(waits)) > 1


def test_nothing_waits_long_for_a_server_that_is_back_after_a_long_outage() -> None:
    waits = [TIMES.after_outage(500).total_seconds() for _ in range(50)]
    assert all(10 <= wait <= 20 for wait in waits)
    assert TIMES.after_outage(0) < timedelta(seconds=3)


def test_offers_come_further_and_further_apart() -> None:
    assert TIMES.after_offer(0) < TIMES.after_offer(2) < TIMES.after_offer(5)
    assert TIMES.after_offer(99) <= timedelta(hours=7.5)
