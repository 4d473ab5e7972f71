"""Logs of the gateway program: one JSON object a line on standard error, event codes and ids only; libraries speak from warnings up."""

import logging
import sys

import structlog

_LIBRARIES = ("httpx", "httpcore", "aio_pika", "aiormq", "uvicorn", "asyncio")
"""They would log URLs, frames or tracebacks with arguments."""


def configure_logs() -> None:
    """Set up logging for the process. Tracebacks are left out on purpose: their text may hold content."""
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
