"""The clocks: the real one, and the business clock that tests and demonstrations may set from a file (DESIGN, Time).

The business clock rules mapping, ages, decisions and deadlines. TLS, tokens, keys, directory lifetimes and freshness always use the real one.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import ConfigInvalid

Clock = Callable[[], datetime]

PRODUCTION = "production"
_MAX_FILE_BYTES = 64


def read_real_clock() -> datetime:
    """Return now, UTC."""
    return datetime.now(UTC)


def build_business_clock(clock_file: Path | None, environment: str) -> Clock:
    """Return the business clock: the real one, or one that reads its instant from ``clock_file`` at every call.

    Raises:
        ConfigInvalid: ``clock_file`` is set in production, or does not hold an instant.
    """
    if clock_file is None:
        return read_real_clock
    if environment == PRODUCTION:
        raise ConfigInvalid("a clock cannot be set in production", field="clock_file")
    clock = FileClock(clock_file)
    clock()
    return clock


class FileClock:
    """Reads one ISO 8601 instant with an offset from a file; the file is looked at again whenever it changes."""

    def __init__(self, path: Path) -> None:
        """Take the file; write it whole (rename over it), so that no half-written instant is read."""
        self.path = path
        self._seen: tuple[tuple[int, int, int], datetime] | None = None

    def __call__(self) -> datetime:
        """Return the instant that the file holds now, UTC.

        Raises:
            ConfigInvalid: the file is missing or does not hold one instant with an offset.
        """
        try:
            state = self.path.stat()
            stamp = (state.st_mtime_ns, state.st_ino, state.st_size)
            if self._seen is not None and self._seen[0] == stamp:
                return self._seen[1]
            if state.st_size > _MAX_FILE_BYTES:
                raise ConfigInvalid("must hold one instant", field="clock_file")
            moment = datetime.fromisoformat(self.path.read_text(encoding="utf-8").strip())
        except (OSError, ValueError):
            raise ConfigInvalid("must hold one ISO 8601 instant", field="clock_file") from None
        if moment.tzinfo is None:
            raise ConfigInvalid("an instant needs an offset", field="clock_file")
        moment = moment.astimezone(UTC)
        self._seen = (stamp, moment)
        return moment
