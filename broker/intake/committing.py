"""The transaction of a batch: store, append to the log as the last statements, COMMIT, and be certain of it."""

import asyncpg

from broker.delivery.ports import Observe
from broker.intake.effects import Effects
from broker.log import LogBatch, LogWriter, NewEvent
from broker.log.append import insert_payloads
from broker.registry import DirectorySnapshot
from broker.store import messages, outbox, receipts, registers, reviews
from broker.store.pool import Connection, StoreUnavailable, translate_errors


class RacedByAnother(Exception):
    """Another worker stored one of the messages first, or the directory moved: nothing was committed."""


async def commit_effects(
    pool: asyncpg.Pool,
    connection: Connection,
    log: LogWriter,
    effects: Effects,
    *,
    snapshot: DirectorySnapshot,
    observe: Observe,
) -> LogBatch | None:
    """Commit ``effects`` in one transaction; return the log's batch, or none when there was nothing to log.

    Raises:
        RacedByAnother: nothing was committed; gather again.
        StoreUnavailable: nothing is certain to be committed; the messages come again, and are recognised if they were.
        IntegrityBroken: the log is not as its last checkpoint says.
    """
    transaction = connection.transaction(isolation="read_committed")
    await transaction.start()
    try:
        await _store(connection, effects)
        observe("stored")
        batch = await _append(connection, log, effects, snapshot)
        observe("appended")
    except BaseException:
        await _roll_back(transaction)
        raise
    try:
        await transaction.commit()
    except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        # The reply is lost, not necessarily the COMMIT: only the database knows.
        if batch is None or not await _was_committed(pool, batch):
            raise StoreUnavailable(f"PostgreSQL: {type(error).__name__}", field="postgresql") from None
    return batch


async def _store(connection: Connection, effects: Effects) -> None:
    if effects.messages and not await messages.insert_messages(connection, effects.messages):
        raise RacedByAnother
    if effects.deliveries:
        await messages.insert_deliveries(connection, effects.deliveries)
    if effects.holds:
        await reviews.insert_holds(connection, effects.holds)
    if effects.quarantine and len(await reviews.insert_quarantine(connection, effects.quarantine)) != len(
        effects.quarantine
    ):
        raise RacedByAnother
    if effects.refused_again:
        await reviews.count_again(connection, effects.refused_again, effects.now)
    if effects.resealed:
        await _close_superseded(connection, effects)
    if effects.receipts:
        await receipts.insert_receipts(connection, effects.receipts)
        await outbox.finish_delivery(
            connection, [row.message_id for row in effects.receipts], [row.delivery_id for row in effects.receipts]
        )
    if effects.objects:
        await receipts.insert_objects(connection, effects.objects)
    if effects.outbox:
        await outbox.insert_outbox(connection, effects.outbox)
    if effects.subjects:
        await registers.insert_subjects(connection, effects.subjects)
    for write in effects.writes:
        await write(connection)


async def _close_superseded(connection: Connection, effects: Effects) -> None:
    """Close what is open in quarantine and was sealed again by its sender: nobody need look at it. Each is an event, by nobody."""
    for quarantine_id in await reviews.supersede_quarantined(connection, effects.resealed, effects.now):
        members = {
            "at": effects.now.isoformat(),
            "quarantine_id": str(quarantine_id),
            "action": "superseded",
            "by": None,
        }
        effects.log(NewEvent.salted("quarantine_decided", members))


async def _append(
    connection: Connection, log: LogWriter, effects: Effects, snapshot: DirectorySnapshot
) -> LogBatch | None:
    if not effects.events:
        return None
    await insert_payloads(connection, effects.events)
    edge = await log.lock(connection)
    # Changes of the registers pass the sequencer: what was decided under another directory is decided again.
    if await connection.fetchval("SELECT change FROM registry_change") != snapshot.change:
        raise RacedByAnother
    if effects.register_change is not None and await registers.read_change(connection) != effects.register_change:
        raise RacedByAnother
    if effects.changes_registers:
        await registers.count_change(connection)
    return await log.append_locked(connection, edge, effects.events, at=effects.now)


async def _roll_back(transaction: asyncpg.transaction.Transaction) -> None:
    try:
        await transaction.rollback()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return  # the connection is gone, and the transaction with it


async def _was_committed(pool: asyncpg.Pool, batch: LogBatch) -> bool:
    """Tell, on another connection, whether a batch's checkpoint is in the log."""
    with translate_errors():
        async with pool.acquire(timeout=10) as connection:
            root = await connection.fetchval("SELECT root FROM log_checkpoints WHERE size = $1", batch.size)
    return bool(root == batch.appended.after.root())
