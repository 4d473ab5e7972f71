"""What the audit answers as plain values: the same for the API, for the command line and for files."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any
from uuid import UUID

from broker.audit.searching import SearchPage


def describe_page(page: SearchPage) -> dict[str, Any]:
    """Return a page of events, what it is complete up to, and the cursor of the next."""
    described = {
        "events": [asdict(event) for event in page.events],
        "complete": {"position": page.complete.position, "at": page.complete.at, "behind": page.complete.behind},
        "total": page.total,
        "next_cursor": page.next_cursor,
    }
    plain: dict[str, Any] = to_plain(described)
    return plain


def to_plain(value: Any) -> Any:
    """Return ``value`` with instants, days and ids as text, tuples as lists, and members that are none left out."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): to_plain(member) for name, member in value.items() if member is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(member) for member in value]
    return value
