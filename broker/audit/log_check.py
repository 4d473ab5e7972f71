"""Checking the log while somebody looks: the head's signature, its growth since the witnesses' last head, their cosignatures, entries drawn at random.

It trusts the signed directory's log key, not the hub's own. ``safelane hub fsck`` checks every row, by other code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import randbelow
from typing import Final

from broker.log.reading import prove_entries_under, prove_entry_under, prove_growth
from broker.log.witnessing import read_cosigned, read_witnessed_checkpoint
from broker.store.pool import Connection
from schemas.checkpoint import (
    Checkpoint,
    NoteVerifier,
    read_proof,
    verify_checkpoint,
    verify_proof,
)
from schemas.directory import Directory
from schemas.errors import IntegrityBroken, MalformedMessage, NotFound, SignatureInvalid
from schemas.merkle import verify_consistency
from schemas.witnesses import find_cosigners, read_witnesses

DRAWN: Final = 50
"""Entries that one check proves."""
_LAST_POSITION: Final = 2**63 - 1
"""What PostgreSQL's bigint holds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. ``holds`` is none where there was nothing to check yet."""

    name: str
    holds: bool | None
    words: str


@dataclass(frozen=True, slots=True)
class EntryProof:
    """A proved entry: the checkpoint that covers it, who cosigned that, and the proof as a file (C2SP tlog-proof)."""

    position: int
    holds: bool
    size: int
    cosigned_by: tuple[str, ...]
    text: str


async def check_log(connection: Connection, directory: Directory) -> list[Finding]:
    """Check the newest head of the log and ``DRAWN`` entries under it. The caller's transaction must be a snapshot (REPEATABLE READ)."""
    log = NoteVerifier.from_text(directory.hub.log_verifier)
    note = await connection.fetchval("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    if note is None:
        return [Finding("The newest head", None, "The log is empty.")]
    try:
        head = verify_checkpoint(note, log)
    except (SignatureInvalid, MalformedMessage):
        return [
            Finding("The newest head", False, "It is not signed by the log key that the officers' directory names.")
        ]
    signed = f"Signed by the log key that the officers' directory names, over {head.size:,} events."
    return [
        Finding("The newest head", True, signed),
        await _check_growth(connection, directory, head, log),
        await _check_drawn(connection, head, note, log),
    ]


async def prove_position(connection: Connection, directory: Directory, position: int) -> EntryProof:
    """Prove the entry at ``position`` under the newest head that a quorum of witnesses cosigned, or the newest of all where none covers it.

    Raises:
        NotFound: the log has no such entry.
        SignatureInvalid, IntegrityBroken: the log is not what it should be.
    """
    if not 0 <= position <= _LAST_POSITION:
        raise NotFound("the log has no such event", field="position")
    entry = await connection.fetchval("SELECT entry FROM log_entries WHERE position = $1", position)
    newest = await connection.fetchval("SELECT max(size) FROM log_checkpoints")
    if entry is None or newest is None or newest <= position:
        raise NotFound("the log has no such event", field="position")
    log = NoteVerifier.from_text(directory.hub.log_verifier)
    note = await read_witnessed_checkpoint(connection, directory)
    if note is None or verify_checkpoint(note, log).size <= position:
        note = await read_cosigned(connection, newest)
    size = verify_checkpoint(note, log).size
    text = await prove_entry_under(connection, position, size, note)
    holds = verify_proof(read_proof(text), entry, log) is not None
    return EntryProof(position, holds, size, tuple(sorted(_list_cosigners(note, directory))), text)


async def _check_growth(connection: Connection, directory: Directory, head: Checkpoint, log: NoteVerifier) -> Finding:
    name = "Growth since the witnesses' last head"
    note = await read_witnessed_checkpoint(connection, directory)
    if note is None:
        return Finding(name, None, "No quorum of witnesses has cosigned a head yet.")
    seen = verify_checkpoint(note, log)
    try:
        path = await prove_growth(connection, seen.size, head.size)
        grown = verify_consistency(seen.size, head.size, seen.root, head.root, path)
    except (IntegrityBroken, MalformedMessage):
        grown = False
    by = ", ".join(sorted(_list_cosigners(note, directory)))
    if not grown:
        return Finding(name, False, f"The log is not the one that {by} cosigned at {seen.size:,} events.")
    return Finding(name, True, f"Nothing was changed or removed among the {seen.size:,} events that {by} cosigned.")


async def _check_drawn(connection: Connection, head: Checkpoint, note: str, log: NoteVerifier) -> Finding:
    positions = sorted({randbelow(head.size) for _ in range(DRAWN)})
    wrong = await _find_unproved(connection, positions, head, note, log)
    name = "Events drawn at random"
    if wrong:
        return Finding(name, False, f"Not under the signed head: {_list_numbers(wrong)}. Run safelane hub fsck.")
    return Finding(name, True, f"{len(positions)} events are where the signed head says.")


async def _find_unproved(
    connection: Connection, positions: Sequence[int], head: Checkpoint, note: str, log: NoteVerifier
) -> list[int]:
    """Return the positions whose entry is missing, or not where the signed head says."""
    rows = await connection.fetch(
        "SELECT position, entry FROM log_entries WHERE position = ANY($1::bigint[])", positions
    )
    entries = {row["position"]: row["entry"] for row in rows}
    wrong = []
    try:
        proofs = await prove_entries_under(connection, positions, head.size, note)
    except IntegrityBroken:
        proofs = {}
    for position in positions:
        text = proofs.get(position) or await _try_to_prove(connection, position, head.size, note)
        if position not in entries or not text or verify_proof(read_proof(text), entries[position], log) is None:
            wrong.append(position)
    return wrong


async def _try_to_prove(connection: Connection, position: int, size: int, note: str) -> str:
    """Return the proof of one entry, or nothing where the stored tree has a hole on its way."""
    try:
        return await prove_entry_under(connection, position, size, note)
    except IntegrityBroken:
        return ""


def _list_cosigners(note: str, directory: Directory) -> dict[str, int]:
    return find_cosigners(note, read_witnesses(directory))


def _list_numbers(numbers: Sequence[int]) -> str:
    return ", ".join(f"event {number:,}" for number in numbers[:5]) + (" and more" if len(numbers) > 5 else "")
