"""Proofs of many events under one checkpoint: for evidence packs and chronologies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.log.reading import prove_entries_under
from broker.log.witnessing import read_cosigned, read_witnessed_checkpoint
from broker.store.pool import Connection
from schemas.canonical import encode_base64url
from schemas.checkpoint import read_checkpoint
from schemas.directory import Directory
from schemas.errors import NotFound


@dataclass(frozen=True, slots=True)
class ProvenEvent:
    """An entry with its proof. Of one that was erased, ``event`` and ``salt`` are none and the commitment is left."""

    position: int
    event_id: UUID
    kind: str
    at: datetime
    entry: bytes = field(repr=False)
    event: bytes | None = field(repr=False)
    salt: bytes | None = field(repr=False)
    proof: str = field(repr=False)


async def prove_events(
    connection: Connection, event_ids: Sequence[UUID], directory: Directory
) -> tuple[str, list[ProvenEvent]]:
    """Return a checkpoint and the events with proofs under it: the newest one with a quorum if that covers all, else the newest of all.

    The cosignatures are in the checkpoint alone: repeated in every proof they would outweigh everything else.

    Raises:
        NotFound: there are no such events.
        IntegrityBroken: the stored tree has a hole.
    """
    rows = await connection.fetch(
        "SELECT e.position, e.event_id, e.kind, e.at, e.entry, p.event, p.salt FROM log_entries e JOIN log_payloads p USING (event_id)"
        " WHERE e.event_id = ANY($1) ORDER BY e.position",
        event_ids,
    )
    if not rows:
        raise NotFound("the log has no such events", field="event_id")
    note = await read_witnessed_checkpoint(connection, directory)
    if note is None or read_checkpoint(note).size <= rows[-1]["position"]:
        note = await read_cosigned(connection, await connection.fetchval("SELECT max(size) FROM log_checkpoints"))
    size = read_checkpoint(note).size
    bare = await connection.fetchval("SELECT note FROM log_checkpoints WHERE size = $1", size)
    proofs = await prove_entries_under(connection, [row["position"] for row in rows], size, bare)
    return note, [ProvenEvent(**dict(row), proof=proofs[row["position"]]) for row in rows]


def show_event(proven: ProvenEvent) -> dict[str, Any]:
    """Return an event with its salt and proof; of one that was erased, the commitment that the log keeps."""
    shown: dict[str, Any] = {"position": proven.position, "kind": proven.kind, "proof": proven.proof}
    if proven.event is None:
        return shown | {"event": None, "salt": None, "entry": encode_base64url(proven.entry)}
    salt = None if proven.salt is None else encode_base64url(proven.salt)
    return shown | {"event": encode_base64url(proven.event), "salt": salt}
