"""Searches that a person keeps under a name of their own. Nobody sees another's."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.audit.filters import SearchFilter
from broker.store.pool import Connection
from schemas.errors import Conflict, MalformedMessage, NotFound

MAX_VIEWS: Final = 50
MAX_NAME: Final = 60


class TooManyViews(Conflict):
    """A person keeps as many searches as they may."""

    code = "too-many-saved-views"
    public_message = "You have 50 saved searches. Delete one first."


@dataclass(frozen=True, slots=True)
class SavedView:
    """A search under a name."""

    name: str
    search: SearchFilter
    saved_at: datetime


async def list_views(connection: Connection, owner: str) -> list[SavedView]:
    """Return a person's saved searches by name."""
    rows = await connection.fetch(
        "SELECT name, search, saved_at FROM audit_saved_views WHERE owner = $1 ORDER BY name", owner
    )
    return [SavedView(row["name"], SearchFilter.read(json.loads(row["search"])), row["saved_at"]) for row in rows]


async def save_view(connection: Connection, owner: str, name: str, search: SearchFilter, *, now: datetime) -> None:
    """Keep a search under a name; the same name again replaces it.

    Raises:
        MalformedMessage: the name is empty, too long or not printable.
        TooManyViews: 50 are kept already.
    """
    name = name.strip()
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise MalformedMessage(f"must be 1 to {MAX_NAME} printable characters", field="name")
    async with connection.transaction():
        # One at a time for each person, so that the count holds.
        await connection.fetchval("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"audit_saved_views {owner}")
        count = await connection.fetchval(
            "SELECT count(*) FROM audit_saved_views WHERE owner = $1 AND name <> $2", owner, name
        )
        if count >= MAX_VIEWS:
            raise TooManyViews(field="name")
        await connection.execute(
            "INSERT INTO audit_saved_views (owner, name, search, saved_at) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (owner, name) DO UPDATE SET search = excluded.search, saved_at = excluded.saved_at",
            owner,
            name,
            search.model_dump_json(exclude_defaults=True),
            now,
        )


async def delete_view(connection: Connection, owner: str, name: str) -> None:
    """Forget a saved search.

    Raises:
        NotFound: this person has none of that name.
    """
    done = await connection.execute("DELETE FROM audit_saved_views WHERE owner = $1 AND name = $2", owner, name)
    if done != "DELETE 1":
        raise NotFound("you have no saved search of this name", field="name")
