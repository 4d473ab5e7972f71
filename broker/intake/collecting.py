"""Collection by claim ticket: decided again at that instant, logged, and only then does ciphertext leave (DESIGN, step 8).

A withdrawal that is logged before the collection stops it; one that is logged after it recalls nothing. Collecting twice (a lost answer) decides twice.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from broker.delivery.notices import describe_decision
from broker.delivery.ports import observe_nothing
from broker.delivery.relay import cut_delivery
from broker.intake.committing import RacedByAnother, commit_effects
from broker.intake.effects import Effects
from broker.intake.ports import SnapshotSource
from broker.intake.redeciding import Choice, build_redecision
from broker.intake.releasing import choose_sections
from broker.intake.standing import Standing, read_standing
from broker.log import LogWriter, NewEvent
from broker.log.reading import find_position, prove_entry
from broker.registry import DirectorySnapshot
from broker.store import registers as register_store
from broker.store.pool import Connection, translate_errors
from broker.store.registers import DueDecision
from schemas.canonical import canonical_bytes, sha256_base64url
from schemas.envelope import encode_delivery
from schemas.errors import Conflict, DependencyUnavailable, IntegrityBroken, NotFound, Withheld

_MOST_RACES = 5
COLLECT = "collect"


class NoLongerReleased(Withheld):
    """Decided again at collection, the delivery does not go any more."""

    code = "no-longer-released"
    public_message = "This is no longer released to you. Its sender has been told."


async def collect_delivery(
    *,
    pool: asyncpg.Pool,
    log: LogWriter,
    snapshots: SnapshotSource,
    engine_for: Callable[[DirectorySnapshot], Any],
    delivery_id: str,
    agency: str,
    real_clock: Callable[[], datetime],
    business_clock: Callable[[], datetime],
) -> bytes:
    """Return the body of the delivery that ``agency`` collects.

    Raises:
        NotFound: it has no ticket for such a delivery (another's looks the same).
        NoLongerReleased: policy no longer permits it; a worker logs that decision and tells the sender.
        Conflict: it is receipted already.
        DependencyUnavailable: try again.
    """
    for _ in range(_MOST_RACES):
        try:
            with translate_errors():
                snapshot = await snapshots.current()
                snapshot.require_fresh(real_clock())
                async with pool.acquire(timeout=10) as connection:
                    event_id = await _decide(
                        pool, connection, log, snapshot, engine_for, delivery_id, agency, real_clock(), business_clock()
                    )
                    return await _write_body(connection, delivery_id, event_id)
        except RacedByAnother:
            continue
    raise DependencyUnavailable("the registers move too fast", field="postgresql")


async def _decide(  # noqa: PLR0917 - one step with everything in view
    pool: asyncpg.Pool,
    connection: Connection,
    log: LogWriter,
    snapshot: DirectorySnapshot,
    engine_for: Callable[[DirectorySnapshot], Any],
    delivery_id: str,
    agency: str,
    real_now: datetime,
    now: datetime,
) -> UUID:
    """Decide, log and commit a collection; return the event of the decision under which it goes."""
    line = await register_store.read_delivery(connection, delivery_id)
    if line is None or line["recipient"] != agency or line["ticket_at"] is None:
        raise NotFound("there is no such delivery", field="delivery_id")
    if line["state"] not in {"open", "withheld", "held"}:
        raise Conflict("has a receipt already", field="delivery_id")
    effects = Effects(now=real_now, lease_until=real_now)
    effects.register_change = await register_store.read_change(connection)
    due = DueDecision(line["message_id"], delivery_id, COLLECT, "")
    standing = await read_standing(
        connection, due, snapshot, lambda s: (engine_for(s), None), now=now, version=effects.register_change
    )
    released = choose_sections(standing.stored.descriptors, standing.request, standing.decision)
    if not released:
        await register_store.enqueue_decision(connection, line["message_id"], delivery_id, COLLECT, "", real_now)
        raise NoLongerReleased(field="delivery_id")
    if line["collected_event"] is not None and released == await _read_released(connection, line["collected_event"]):
        return UUID(str(line["collected_event"]))  # the same answer again
    decided = build_redecision(
        standing,
        Choice(released, standing.stored.kids.get(delivery_id)),
        effects,
        now,
        post=False,
        tell=False,
    )
    event_id = effects.events[decided].event_id
    effects.log(
        NewEvent.salted(
            "collected",
            {
                "at": now.isoformat(),
                "message_id": str(line["message_id"]),
                "delivery_id": delivery_id,
                "recipient": agency,
                "decided": str(event_id),
                "decision_sha256": sha256_base64url(canonical_bytes(describe_decision(standing.decision))),
            },
        )
    )
    effects.writes.append(lambda writer: _note(writer, standing, event_id, now))
    await commit_effects(pool, connection, log, effects, snapshot=snapshot, observe=observe_nothing)
    return event_id


async def _note(connection: Connection, standing: Standing, event_id: UUID, now: datetime) -> None:
    await connection.execute(
        "UPDATE tickets SET collected_at = coalesce(collected_at, $3), collected_event = $4 WHERE message_id = $1 AND delivery_id = $2",
        standing.due.message_id,
        standing.due.delivery_id,
        now,
        event_id,
    )


async def _read_released(connection: Connection, event_id: UUID) -> tuple[str, ...]:
    return tuple(await connection.fetchval("SELECT released FROM redecisions WHERE event_id = $1", event_id) or ())


async def _write_body(connection: Connection, delivery_id: str, event_id: UUID) -> bytes:
    row = await connection.fetchrow(
        "SELECT r.message_id, p.event, p.salt FROM redecisions r JOIN log_payloads p USING (event_id) WHERE r.event_id = $1",
        event_id,
    )
    if row is None or row["salt"] is None:
        raise IntegrityBroken("a collected delivery has no decision", field="tickets.collected_event")
    parts, addendum = await cut_delivery(connection, row["message_id"], delivery_id, event_id)
    proof = await prove_entry(connection, await find_position(connection, event_id))
    return encode_delivery(parts, row["event"], row["salt"], proof, addendum=addendum)
