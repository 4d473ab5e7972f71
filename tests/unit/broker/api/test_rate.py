"""The bound on how often one person may ask: a burst, then a steady rate, each person apart."""

import pytest

from broker.api.rate import RateBound, TooManyRequests


def test_a_burst_then_a_steady_rate_for_each_person() -> None:
    now = [0.0]
    bound = RateBound(per_minute=60, burst=3, clock=lambda: now[0])
    for _ in range(3):
        bound.take("p.ann")
    with pytest.raises(TooManyRequests):
        bound.take("p.ann")
    bound.take("p.ben")
    now[0] = 0.9
    with pytest.raises(TooManyRequests):
        bound.take("p.ann")
    now[0] = 1.1  # refused calls cost nothing: one has come back
    bound.take("p.ann")
    with pytest.raises(TooManyRequests):
        bound.take("p.ann")
    now[0] = 1000.0
    for _ in range(3):
        bound.take("p.ann")
    with pytest.raises(TooManyRequests):
        bound.take("p.ann")
