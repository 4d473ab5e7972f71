"""Events' own bytes with the proof that the log holds them, as one file that ``safelane verify`` checks with no access to the hub.

A proof alone names a commitment; whoever has the event and its salt as well can show what was logged. Readers of one agency get those of what it sent.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from broker.audit.filters import SearchFilter
from broker.audit.searching import search_events
from broker.log.proving import prove_events, show_event
from broker.log.witnessing import read_witnessed_checkpoint
from broker.registry import DirectorySnapshot, Registry
from broker.store.pool import Connection
from schemas.checkpoint import read_checkpoint
from schemas.directory import Directory
from schemas.errors import MalformedMessage, NotFound
from schemas.event_proofs import FORMAT

MAX_PROVED: Final = 200
"""Events in one file: what is about one referral is far less, and a screen shows no more."""
_LAST_POSITION: Final = 2**63 - 1


async def find_provable(connection: Connection, search: SearchFilter, *, agency: str | None) -> list[int]:
    """Return the positions of what a search finds; for a reader of one agency, those about what it sent.

    Raises:
        NotFound: there is nothing.
        MalformedMessage: it finds more than one file holds.
    """
    page = await search_events(connection, search, agency=agency, cursor=None, most=MAX_PROVED)
    if page.next_cursor is not None:
        raise MalformedMessage(f"finds more than {MAX_PROVED} events: narrow the search", field="search")
    found = [event.position for event in page.events if agency is None or event.sender == agency]
    if not found:
        raise NotFound("the search finds no event that can be proved to you", field="search")
    return found


async def require_provable(connection: Connection, position: int, *, agency: str | None) -> None:
    """Return where the reader may have this event.

    Raises:
        NotFound: the log has no such event, or another agency sent what it is about.
    """
    if agency is None:
        return
    sender = None
    if 0 <= position <= _LAST_POSITION:
        sender = await connection.fetchval(
            "SELECT s.sender FROM audit_events e JOIN audit_streams s USING (stream) WHERE e.position = $1", position
        )
    if sender != agency:
        raise NotFound("the log has no such event", field="position")


async def write_proofs(connection: Connection, registry: Registry, positions: Sequence[int]) -> bytes:
    """Return the file: events with salts and proofs under one cosigned checkpoint, and the signed directory that says whose keys these are.

    Events that no quorum covers yet, as the newest seconds of the log, are left out and listed; where there are no others they are proved without one.

    Raises:
        NotFound: the log has no such events.
        IntegrityBroken: the stored tree has a hole.
    """
    snapshot: DirectorySnapshot = await registry.current(connection)
    covered = await _measure_covered(connection, snapshot.directory)
    chosen = [position for position in positions if 0 <= position < covered] or list(positions)
    ids: list[UUID] = [
        row["event_id"]
        for row in await connection.fetch(
            "SELECT event_id FROM log_entries WHERE position = ANY($1::bigint[]) ORDER BY position",
            [position for position in chosen if 0 <= position <= _LAST_POSITION],
        )
    ]
    note, proven = await prove_events(connection, ids, snapshot.directory)
    members: dict[str, Any] = {
        "format": FORMAT,
        "checkpoint": note,
        "events": [show_event(event) for event in proven],
        "left_out": sorted(set(positions) - set(chosen)),
        "directory": {"authority": registry.authority_jwks, "versions": [orjson.loads(snapshot.signed)]},
    }
    return orjson.dumps(members) + b"\n"


async def _measure_covered(connection: Connection, directory: Directory) -> int:
    note = await read_witnessed_checkpoint(connection, directory) if directory.witnesses.quorum else None
    return read_checkpoint(note).size if note else 0
