"""A bound on how often one person may call: a bucket that fills steadily, in this process's memory. It keeps a key in wrong hands from reading everything."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from schemas.errors import Rejected

PER_MINUTE: Final = 120
BURST: Final = 60
_MAX_KNOWN: Final = 10_000


class TooManyRequests(Rejected):
    """A caller asks faster than people read."""

    code = "too-many-requests"
    status = 429
    retryable = True
    public_message = "You are asking too fast. Wait a minute, or narrow the question."


class RateBound:
    """Lets each caller do ``burst`` calls at once and ``per_minute`` in the long run."""

    def __init__(
        self, *, per_minute: int = PER_MINUTE, burst: int = BURST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the bound and a clock in seconds."""
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Caller to (calls left, when that was)."""

    def take(self, caller: str) -> None:
        """Count a call.

        Raises:
            TooManyRequests: the caller has none left.
        """
        now = self._clock()
        left, at = self._left.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        allowed = left >= 1
        self._left[caller] = (left - 1 if allowed else left, now)
        while len(self._left) > _MAX_KNOWN:
            self._left.popitem(last=False)
        if not allowed:
            raise TooManyRequests
