"""What a library logs becomes one JSON line without its text."""

import json
import logging
import sys

from deploy.program_logs import LibraryLine

SECRET = "Tamsin"


def test_a_librarys_error_is_one_line_without_its_words() -> None:
    try:
        raise ConnectionRefusedError(SECRET)
    except ConnectionRefusedError:
        record = logging.LogRecord("asyncpg.pool", logging.WARNING, "", 0, SECRET, None, sys.exc_info())
    line = LibraryLine().format(record)
    assert json.loads(line) == {
        "event": "library",
        "logger": "asyncpg.pool",
        "level": "warning",
        "error": "ConnectionRefusedError",
    }


def test_a_line_without_an_error_says_who_and_how_grave() -> None:
    record = logging.LogRecord("uvicorn", logging.ERROR, "", 0, SECRET, None, None)
    assert json.loads(LibraryLine().format(record)) == {"event": "library", "logger": "uvicorn", "level": "error"}
