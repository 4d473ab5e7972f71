"""How programs log: one JSON line an event on standard error, event codes and ids alone, never content."""

import logging
import sys

import structlog


def set_up_logs() -> None:
    """Send structlog's events to standard error as JSON, and keep libraries quiet below warnings."""
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format='{"event":"library","logger":"%(name)s","level":"%(levelname)s"}',
    )
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
