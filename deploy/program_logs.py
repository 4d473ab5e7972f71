"""How programs log: one JSON line an event on standard error, event codes and ids alone, never content."""

import json
import logging
import sys

import structlog


class LibraryLine(logging.Formatter):
    """One JSON line for what a library says: who and how grave, and the kind of error. Its text and traceback may quote data: left out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {"event": "library", "logger": record.name, "level": record.levelname.lower()}
        error = record.exc_info[0] if record.exc_info else None
        return json.dumps(line | ({"error": error.__name__} if error else {}))


def set_up_logs() -> None:
    """Send structlog's events to standard error as JSON, and keep libraries quiet below warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LibraryLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
