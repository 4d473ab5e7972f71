"""The second half of ``fsck``: events against the records that they are about, and records against events. Both directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from broker.log.fsck_decisions import check_collected, check_decisions, check_told_again
from broker.log.fsck_events import check_rare_events
from broker.log.fsck_messages import check_begun, check_messages
from broker.log.fsck_objects import check_objects, check_receipts
from broker.log.fsck_outside import check_cosignatures, check_timestamps
from broker.log.fsck_reading import Note, Signers, digest, is_signed
from broker.log.fsck_rows import check_links, check_rows
from broker.log.fsck_states import check_states
from broker.store.pool import Connection
from schemas.directory import Directory
from schemas.errors import SafelaneError
from schemas.keys import KeyUse, VerifyingKeys, pair_verifying_keys
from schemas.objects import peek_object
from schemas.witnesses import WitnessKeys, read_witnesses

CHECKED_KINDS: Final = frozenset(
    {"accepted", "decided", "redecided", "collected", "receipt", "object", "directory", "clocks_started", "told"}
)
"""Events that are compared with their records one by one, while the log is read."""


@dataclass(frozen=True, slots=True)
class Registry:
    """What any stored directory version says: old signatures stay as they were made."""

    signers: Signers
    """Agency, or ``person:`` and a person's id, to the keys with which they ever signed."""
    witnesses: Sequence[WitnessKeys] = ()


def parse_directory(body: bytes) -> tuple[list[tuple[str, VerifyingKeys]], list[WitnessKeys]] | None:
    """Return who signs with which keys by a stored directory version, and its witnesses; none where it cannot be read."""
    try:
        directory = Directory.model_validate(peek_object(body))
        signers = [
            (agency.id, keys) for agency in directory.agencies for keys in pair_verifying_keys(agency.keys.signing)
        ]
        for person in directory.people:
            approving = [jwk for jwk in person.keys if jwk.get("safelane_use") == KeyUse.APPROVAL.value]
            paired = pair_verifying_keys(approving, use=KeyUse.APPROVAL)
            signers += [(f"person:{person.id}", keys) for keys in paired]
        return signers, read_witnesses(directory)
    except (SafelaneError, ValueError, KeyError, TypeError):
        return None  # whatever it is, it is not what the authority signed


async def read_registry(connection: Connection, authorities: Sequence[VerifyingKeys], note: Note) -> Registry:
    """Read every stored directory version that one of ``authorities`` signed: pairs in the order in which they took over; any, where there are none.

    Once a pair has taken over, nothing that the one before signs counts: it may be in wrong hands.
    """
    found: dict[str, dict[str, VerifyingKeys]] = {}
    witnesses: list[WitnessKeys] = []
    allowed = len(authorities)
    for row in await connection.fetch("SELECT version, body FROM directory_versions ORDER BY version DESC"):
        signed = [n for n in range(allowed) if is_signed("directory", row["body"], authorities[n : n + 1])]
        if authorities and not signed:
            note("directory-is-not-the-authoritys", f"directory_versions {row['version']}")
            continue  # no key that it names counts
        allowed = signed[-1] + 1 if signed else 0
        read = parse_directory(row["body"])
        if read is None:
            note("directory-is-not-what-was-signed", f"directory_versions {row['version']}")
            continue
        for name, keys in read[0]:
            found.setdefault(name, {})[keys.ed25519_kid] = keys
        witnesses += read[1]
    return Registry({name: list(keys.values()) for name, keys in found.items()}, witnesses)


async def check_records(
    connection: Connection,
    events: Sequence[tuple[Any, Mapping[str, Any]]],
    registry: Registry,
    published: list[list[int]],
    note: Note,
) -> None:
    """Compare a batch's events with their rows. ``events`` are (log row, event); ``published``, (position, version) of the directories of the log
    so far, is added to.
    """
    by_kind: dict[str, list[tuple[Any, Mapping[str, Any]]]] = {}
    for row, event in events:
        by_kind.setdefault(row["kind"], []).append((row, event))
    for entry, event in by_kind.get("directory", []):
        published.append([entry["position"], event["version_number"]])
        stored = await connection.fetchval(
            "SELECT body FROM directory_versions WHERE version = $1", event["version_number"]
        )
        if stored is None or digest(stored) != event["sha256"]:
            note("directory-is-not-what-was-published", f"log_entries {entry['position']}")
    await check_messages(connection, by_kind.get("accepted", []), registry.signers, published, note)
    await check_decisions(connection, by_kind.get("decided", []), published, note)
    await check_told_again(connection, by_kind.get("redecided", []), note)
    await check_collected(connection, by_kind.get("collected", []), note)
    await check_receipts(connection, by_kind.get("receipt", []), registry.signers, note)
    await check_begun(connection, [*by_kind.get("clocks_started", []), *by_kind.get("told", [])], note)
    await check_objects(connection, by_kind.get("object", []), registry.signers, note)


async def check_loose_records(
    connection: Connection, registry: Registry, timestamp_roots: Sequence[x509.Certificate], note: Note
) -> None:
    """Find what the events alone cannot show: rows of no event, events of no row, states that nothing bears out, what others signed."""
    await check_links(connection, note)
    await check_states(connection, note)
    await check_rows(connection, note)
    await check_rare_events(connection, note)
    await check_cosignatures(connection, registry.witnesses, note)
    await check_timestamps(connection, timestamp_roots, note)
