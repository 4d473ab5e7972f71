"""Migrations keep what is in the tables: each that rewrites rows is run on rows."""

import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

import broker.store
from broker.reports.cell_store import add_counts
from broker.reports.counting import Cell
from broker.store.migrate import upgrade_database

USE = "INSERT INTO used_tokens (scheme, ref, conversation, message_id, used_at) VALUES ('MAPPA', $1, 'matter', $2, $3)"
USE_AGAIN = (
    "INSERT INTO used_tokens (sender, scheme, ref, conversation, message_id, used_at)"
    " VALUES ($1, 'MAPPA', $2, 'other', $3, $4)"
)


def write_script(revision: str) -> str:
    buffer = io.StringIO()
    config = Config(output_buffer=buffer)
    config.set_main_option("script_location", f"{broker.store.__path__[0]}/migrations")
    command.upgrade(config, revision, sql=True)
    return buffer.getvalue()


async def insert_message(connection: asyncpg.Connection, sender: str) -> UUID:
    """Insert a message of which nothing matters but its id and sender."""
    columns = await connection.fetch(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = 'messages' AND is_nullable = 'NO' AND column_default IS NULL"
    )
    fill: dict[str, Any] = {
        "text": "x",
        "integer": 1,
        "bigint": 1,
        "bytea": bytes(32),
        "boolean": False,
        "uuid": uuid4(),
    }
    message_id = uuid4()
    values = {c["column_name"]: fill.get(c["data_type"], datetime.now(UTC)) for c in columns}
    values |= {"message_id": message_id, "sender": sender}
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    await connection.execute(
        f"INSERT INTO messages ({', '.join(values)}) VALUES ({places})",  # noqa: S608 - column names of our own schema
        *values.values(),
    )
    return message_id


async def test_used_tokens_keep_their_use_and_learn_whose_they_are(database: str) -> None:
    """From 0005 on rows: a token's sender is that of the message that used it, and nobody else's reference is used up."""
    connection = await asyncpg.connect(database, timeout=10)
    try:
        await connection.execute(write_script("0005_clocks"))
        await connection.execute("SET session_replication_role = replica")  # rows of a table without what they refer to
        now = datetime.now(UTC)
        messages = {sender: await insert_message(connection, sender) for sender in ("health.two", "police.one")}
        for sender, message_id in messages.items():
            await connection.execute(USE, f"ref of {sender}", message_id, now)

        await upgrade_database(database)

        rows = await connection.fetch("SELECT sender, ref, message_id FROM used_tokens ORDER BY sender")
        assert [tuple(row) for row in rows] == [(s, f"ref of {s}", messages[s]) for s in messages]
        await connection.execute(USE_AGAIN, "health.two", "ref of police.one", uuid4(), now)
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(USE_AGAIN, "police.one", "ref of police.one", uuid4(), now)
    finally:
        await connection.close(timeout=10)


async def test_durations_are_counted_over_all_areas_and_kinds_too(database: str) -> None:
    """From 0021 on counts: the table is what the projection would have made of them, and the old place takes no more."""
    at = datetime(2026, 3, 5, 12, tzinfo=UTC)
    counts = Counter(
        {
            Cell("stage", at.date() + timedelta(days=day), kind, area, code=code, bucket=bucket): day + bucket + 1
            for day in range(40)
            for kind in ("PPN", "MISSING")
            for area in ("E10000001", "")
            for code in ("hub_to_outcome", "late:mash_triage")
            for bucket in (3, 70)
        }
    )
    connection = await asyncpg.connect(database, timeout=10)
    read = "SELECT code, area, kind, span, starts_on, bucket, n FROM report_durations"
    old = "INSERT INTO report_cells VALUES ('stage', $1, $2, $3, $4, '', $5, '', $6, $7)"
    try:
        await connection.execute(write_script("0021_fsck_reading"))
        months = Counter[Cell]()
        for cell, n in counts.items():
            months[cell._replace(day=cell.day.replace(day=1))] += n
        for span, cells in (("day", counts), ("month", months)):
            await connection.executemany(
                old, [(span, c.day, c.kind, c.area, c.code, c.bucket, n) for c, n in cells.items()]
            )
        await upgrade_database(database)
        moved = {tuple(row) for row in await connection.fetch(read)}
        await connection.execute("DELETE FROM report_durations")
        await add_counts(connection, counts)
        assert moved == {tuple(row) for row in await connection.fetch(read)}
        assert await connection.fetchval("SELECT count(*) FROM report_cells") == 0
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(old, "day", at.date(), "PPN", "", "hub_to_outcome", 3, 1)
    finally:
        await connection.close(timeout=10)
