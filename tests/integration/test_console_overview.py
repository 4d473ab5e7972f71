"""The figures of the first page: right counts, and for somebody of one agency its own business alone."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg

from broker.console.overview import Overview, read_overview
from schemas.directory import WitnessPolicy
from tests.support.console import AGENCY, ConsoleSite

OTHER = "police.marchshire"
WITNESSES = WitnessPolicy(agencies=(AGENCY, OTHER), quorum=2)


async def add_message(connection: asyncpg.Connection, sender: str, recipient: str, *, hold_owner: str | None) -> None:
    """Add one message with one delivery, a breached clock, and a hold where an owner is given."""
    message_id, now = uuid4(), datetime.now(UTC)
    await connection.execute(
        "INSERT INTO messages (message_id, sender, referral_id, revision, kind, conversation, body_sha256, manifest_digest, issued_at,"
        " expires_at, received_at, directory_version, event_id, notice, body)"
        " VALUES ($1, $2, $3, 1, 'CP_S47', 'c', $4, 'm', $5, $5, $5, 1, $1, '', '')",
        message_id, sender, str(message_id), b"0" * 32, now,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO deliveries (message_id, delivery_id, number, recipient, role, purpose, outcome, \"row\", reason, decision, released,"
        " rest_salt, event_id, decided_at, state) VALUES ($1, $2, 0, $3, 'csc', 'safeguard_child', 'delivered', 'D5', 'r', '{}', '{}', '',"
        " $1, $4, $5)",
        message_id, f"d-{message_id}", recipient, now, "held" if hold_owner else "opened",
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO clocks (clock_id, message_id, clock, recipient, starts_at, due_at, changed_at, state) VALUES ($1, $1, 'ack', $2, $3, $3,"
        " $3, 'breached')",
        message_id, recipient, now,
    )  # fmt: skip
    if hold_owner:
        await connection.execute(
            "INSERT INTO holds (message_id, delivery_id, owner, \"row\", reason, created_at, deadline_at) VALUES ($1, $2, $3, 'D12', 'r', $4, $5)",
            message_id, f"d-{message_id}", hold_owner, now, now - timedelta(minutes=1),
        )  # fmt: skip


def test_figures_count_and_stay_inside_an_agency(console: ConsoleSite) -> None:
    async def count(connection: asyncpg.Connection) -> tuple[Overview, Overview, Overview]:
        now = datetime.now(UTC)
        transaction = connection.transaction()
        await transaction.start()
        try:
            # The console's own referrals, whose holds and clocks are other tests' business, step aside until the rollback.
            await connection.execute("UPDATE holds SET state = 'refused' WHERE state = 'open'")
            await connection.execute("UPDATE clocks SET state = 'met' WHERE state IN ('running', 'breached')")
            await add_message(connection, OTHER, AGENCY, hold_owner=AGENCY)
            await add_message(connection, OTHER, "health.marchshire-ft", hold_owner=None)
            await connection.execute("SET LOCAL ROLE safelane_console")
            found = [
                await read_overview(connection, agency, now=now, business_now=now, witnesses=WITNESSES)
                for agency in (None, AGENCY, "school.oakfield")
            ]
        finally:
            await transaction.rollback()
        return found[0], found[1], found[2]

    everybody, one, stranger = console.run(count)
    assert (everybody.accepted_today, everybody.holds_open, everybody.holds_overdue) == (2, 1, 1)
    assert (everybody.clocks_breached, everybody.deliveries_today) == (2, {"held": 1, "opened": 1})
    assert (one.accepted_today, one.holds_open, one.clocks_breached, one.deliveries_today) == (1, 1, 1, {"held": 1})
    assert (stranger.accepted_today, stranger.holds_open, stranger.clocks_breached) == (0, 0, 0)
    assert stranger.deliveries_today == {}


def test_a_head_counts_as_witnessed_when_a_quorum_has_signed_it(console: ConsoleSite) -> None:
    async def count(connection: asyncpg.Connection) -> tuple[int, list[int]]:
        now, found = datetime.now(UTC), []
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute("DELETE FROM log_cosignatures")
            size = await connection.fetchval("SELECT max(size) FROM log_checkpoints")
            for witness in (OTHER, "somebody.else", AGENCY):
                await connection.execute(
                    "INSERT INTO log_cosignatures VALUES ($1, $2, 'line', $3, $3)", size, witness, now
                )
                overview = await read_overview(connection, None, now=now, business_now=now, witnesses=WITNESSES)
                found.append(overview.witnessed_size)
        finally:
            await transaction.rollback()
        return size, found

    size, found = console.run(count)
    assert found == [0, 0, size], "one of two is no quorum, and who is no witness counts for nothing"
