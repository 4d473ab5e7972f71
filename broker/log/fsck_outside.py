"""What ``fsck`` checks of what others signed about checkpoints: witnesses' cosignatures, and timestamps of an authority outside."""

from collections.abc import Sequence
from typing import Final

from cryptography import x509

from broker.log.fsck_reading import Note
from broker.store.pool import Connection
from schemas.errors import SafelaneError
from schemas.timestamp import verify_timestamp
from schemas.witnesses import WitnessKeys

_AT_ONCE: Final = 500


async def check_cosignatures(connection: Connection, witnesses: Sequence[WitnessKeys], note: Note) -> None:
    """Verify each cosignature with the keys that any stored directory gave the witness: old ones stay as they were made."""
    query = (
        "SELECT s.size, s.witness, s.line, extract(epoch FROM s.at)::float8 AS at, c.note FROM log_cosignatures s"
        " JOIN log_checkpoints c USING (size)"
    )
    async with connection.transaction():  # a cursor needs one
        async for row in connection.cursor(query, prefetch=_AT_ONCE):
            mine = [g for g in witnesses if g.name == row["witness"] and row["line"].count("\n") == len(g.keys)]
            if not any(_find_time(group, row["note"] + row["line"]) == row["at"] for group in mine):
                note("cosignature-wrong", f"log_cosignatures {row['size']} {row['witness']}")


def _find_time(group: WitnessKeys, cosigned: str) -> int | None:
    try:
        return group.find_time(cosigned)
    except SafelaneError:
        return None


async def check_timestamps(connection: Connection, roots: Sequence[x509.Certificate], note: Note) -> None:
    """Verify each timestamp; without the authority's certificates only that there is a checkpoint for it (``fsck`` says so elsewhere)."""
    if not roots:
        return
    query = "SELECT t.size, t.token, t.stamped_at, c.note FROM log_timestamps t JOIN log_checkpoints c USING (size)"
    async with connection.transaction():  # a cursor needs one
        async for row in connection.cursor(query, prefetch=_AT_ONCE):
            try:
                right = verify_timestamp(row["token"], row["note"], roots) == row["stamped_at"]
            except SafelaneError:
                right = False
            if not right:
                note("timestamp-wrong", f"log_timestamps {row['size']}")
