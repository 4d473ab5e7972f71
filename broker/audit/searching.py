"""Searching the log's events, newest first, page by page. However many events there are, a page is a bounded number of short index reads.

A search under agencies, kinds, states and rules resolves the *streams* that they mean, takes the newest event of each below the cursor, and reads a page
from the few that can be in it: the newest n events of all lie in the n streams whose newest is newest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from broker.audit.event_facts import read_uuid
from broker.audit.event_index import EVENT_INDEX
from broker.audit.filters import Cursor, SearchFilter
from broker.audit.projecting import ProjectionState, read_projections
from broker.audit.scope import RECIPIENT_SEES
from broker.store.pool import Connection

_MAX_MESSAGES: Final = 5000
"""Messages about one child: more are not searched at once."""
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_COLUMNS: Final = (
    "e.position, e.at, s.kind, s.sender, s.recipient, s.referral_kind, s.state, s.rule, e.message_id, e.delivery_id, e.referral_id,"
    " e.person, e.subject"
)
_NEWEST_FIRST: Final = "ORDER BY e.at DESC, e.position DESC"


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """One event as a search shows it: ids, codes and instants."""

    position: int
    at: datetime
    event: str
    sender: str | None
    recipient: str | None
    kind: str | None
    state: str | None
    rule: str | None
    referral_id: str | None
    message_id: UUID | None
    delivery_id: str | None
    person: str | None
    subject: str | None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page, newest first. ``complete`` says up to which position and instant the search sees the log; ``total`` is none where counting would cost."""

    events: tuple[FoundEvent, ...]
    next_cursor: str | None
    complete: ProjectionState
    total: int | None


class _Query:
    """SQL with its arguments, numbered as they are added."""

    def __init__(self) -> None:
        self.args: list[Any] = []

    def add(self, value: Any) -> str:
        """Add an argument and return its mark."""
        self.args.append(value)
        return f"${len(self.args)}"


async def search_events(
    connection: Connection, search: SearchFilter, *, agency: str | None, cursor: Cursor | None, most: int
) -> SearchPage:
    """Return up to ``most`` events; of one agency's part if ``agency`` is given. The caller has logged the search before."""
    (complete,) = await read_projections(connection, [EVENT_INDEX])
    as_of = cursor.as_of if cursor else complete.position
    found = await _fetch(connection, search, agency, cursor=cursor, as_of=as_of, most=most + 1)
    rows = tuple(read_event(row, agency) for row in found[:most])
    following = None
    if len(found) > most:
        following = Cursor.after(rows[-1].at, rows[-1].position, as_of=as_of, search=search).write()
    total = await _count(connection, search, agency) if cursor is None else None
    return SearchPage(rows, following, complete, total)


def read_event(row: Any, agency: str | None) -> FoundEvent:
    """Return a row as ``agency`` may see it: the rule is the sender's to know."""
    members = dict(row)
    hidden = agency is not None and members["sender"] != agency
    return FoundEvent(
        event=members.pop("kind"),
        kind=members.pop("referral_kind"),
        rule=None if hidden else members.pop("rule"),
        **{name: value for name, value in members.items() if name != "rule"},
    )


async def _fetch(
    connection: Connection, search: SearchFilter, agency: str | None, *, cursor: Cursor | None, as_of: int, most: int
) -> Sequence[Any]:
    query = _Query()
    within = _bound(query, search, cursor, as_of)
    streams = _match_streams(query, search, agency)
    if search.is_selective():
        chosen = await _match_events(connection, query, search)
        if chosen is None:
            return []
        sql = (
            f"SELECT {_COLUMNS} FROM audit_events e JOIN audit_streams s USING (stream) WHERE {chosen} AND {within} AND {streams}"  # noqa: S608 (marks)
            f" {_NEWEST_FIRST} LIMIT {query.add(most)}"
        )
    elif streams == "true":
        sql = (
            f"SELECT {_COLUMNS} FROM (SELECT * FROM audit_events e WHERE {within} {_NEWEST_FIRST} LIMIT {query.add(most)}) e"  # noqa: S608 (marks)
            f" JOIN audit_streams s USING (stream) {_NEWEST_FIRST}"
        )
    else:
        limit = query.add(most)
        sql = (
            f"WITH wanted AS MATERIALIZED (SELECT s.stream FROM audit_streams s WHERE {streams}),"  # noqa: S608 (marks)
            " newest AS MATERIALIZED (SELECT w.stream FROM wanted w CROSS JOIN LATERAL (SELECT e.at, e.position FROM audit_events e"
            f" WHERE e.stream = w.stream AND {within} {_NEWEST_FIRST} LIMIT 1) e {_NEWEST_FIRST} LIMIT {limit}),"
            " hits AS MATERIALIZED (SELECT e.position FROM newest n CROSS JOIN LATERAL (SELECT e.at, e.position FROM audit_events e"
            f" WHERE e.stream = n.stream AND {within} {_NEWEST_FIRST} LIMIT {limit}) e {_NEWEST_FIRST} LIMIT {limit})"
            f" SELECT {_COLUMNS} FROM hits h JOIN audit_events e USING (position) JOIN audit_streams s USING (stream) {_NEWEST_FIRST}"
        )
    return await connection.fetch(sql, *query.args)


def _bound(query: _Query, search: SearchFilter, cursor: Cursor | None, as_of: int) -> str:
    """Return the condition on instant and position: below the cursor and ``until``, from ``since`` on, in the log as it was."""
    at, position = (cursor.at, cursor.position) if cursor else (search.until or _LATEST, 0)
    bounds = [
        f"(e.at, e.position) < ({query.add(at)}::timestamptz, {query.add(position)}::bigint)",
        f"e.position < {query.add(as_of)}::bigint",
    ]
    if search.since is not None:
        bounds.append(f"e.at >= {query.add(search.since)}::timestamptz")
    return " AND ".join(bounds)


def _match_streams(query: _Query, search: SearchFilter, agency: str | None) -> str:
    """Return the condition on streams, ``true`` where there is none."""
    parts = []
    for column, words in (("kind", search.event), ("referral_kind", search.kind), ("state", search.state)):
        if words:
            parts.append(f"s.{column} = ANY({query.add(list(words))}::text[])")
    if search.rule:
        parts.append(f"s.rule = ANY({query.add(list(search.rule))}::text[])")
    if search.agency is not None:
        mark = query.add(search.agency)
        parts.append(f"(s.sender = {mark} OR s.recipient = {mark})")
    if agency is not None:
        parts.append(_match_scope(query.add(agency), rule_asked=bool(search.rule)))
    return " AND ".join(parts) or "true"


def _match_scope(mark: str, *, rule_asked: bool) -> str:
    if rule_asked:
        return f"s.sender = {mark}"  # finding a delivery by its rule would tell its recipient the rule
    seen = []
    for kind, states in RECIPIENT_SEES.items():
        some = f" AND s.state IN ({', '.join(repr(state) for state in sorted(states))})" if states is not None else ""
        seen.append(f"(s.kind = '{kind}'{some})")
    return f"(s.sender = {mark} OR (s.recipient = {mark} AND ({' OR '.join(seen)})))"


async def _match_events(connection: Connection, query: _Query, search: SearchFilter) -> str | None:
    """Return the condition on events for one referral, child or person; none where nothing can match."""
    parts = []
    if search.person is not None:
        parts.append(f"e.person = {query.add(search.person)}")
    for messages in await _find_messages(connection, search):
        if not messages:
            return None
        parts.append(f"e.referral_id = ANY({query.add(sorted({row['referral_id'] for row in messages}))}::text[])")
        parts.append(f"e.message_id = ANY({query.add([row['message_id'] for row in messages])}::uuid[])")
    return " AND ".join(parts)


async def _find_messages(connection: Connection, search: SearchFilter) -> list[Sequence[Any]]:
    found = []
    if search.id is not None:
        found.append(await find_messages(connection, search.id))
    if search.token is not None:
        found.append(
            await connection.fetch(
                "SELECT m.message_id, m.referral_id FROM message_subjects t JOIN messages m USING (message_id)"
                " WHERE t.tokens @> ARRAY[$1::text] LIMIT $2",
                search.token,
                _MAX_MESSAGES,
            )
        )
    return found


async def find_messages(connection: Connection, searched_id: str) -> Sequence[Any]:
    """Return message_id, sender and referral_id of every message of a referral, of a message, or of the message of a delivery."""
    return await connection.fetch(
        "SELECT message_id, sender, referral_id FROM messages WHERE referral_id = $1"
        " UNION SELECT message_id, sender, referral_id FROM messages WHERE message_id = $2"
        " UNION SELECT m.message_id, m.sender, m.referral_id FROM audit_deliveries d JOIN messages m USING (message_id)"
        " WHERE d.delivery_id = $1 LIMIT $3",
        searched_id,
        read_uuid(searched_id),
        _MAX_MESSAGES,
    )


async def _count(connection: Connection, search: SearchFilter, agency: str | None) -> int | None:
    """Return how many events a search has, where streams alone say it."""
    if search.is_selective() or search.since is not None or search.until is not None:
        return None
    query = _Query()
    streams = _match_streams(query, search, agency)
    found = await connection.fetchval(
        f"SELECT sum(events)::bigint FROM audit_streams s WHERE {streams}",  # noqa: S608 (marks)
        *query.args,
    )
    return int(found or 0)
