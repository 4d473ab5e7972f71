"""Rows of facts (``report_referrals``, ``report_deliveries``, ``report_clocks``, ``report_subjects``): read by message, written whole."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg

from broker.reports.facts import ClockFact, DeliveryFact, ReferralFact
from broker.reports.reading import Earlier
from broker.store.pool import Connection

Fact = TypeVar("Fact", ReferralFact, DeliveryFact, ClockFact)

_KEYS: Final[dict[type, tuple[str, ...]]] = {
    ReferralFact: ("message_id",),
    DeliveryFact: ("message_id", "delivery_id"),
    ClockFact: ("message_id", "clock", "recipient"),
}
_TABLES: Final[dict[type, str]] = {
    ReferralFact: "report_referrals",
    DeliveryFact: "report_deliveries",
    ClockFact: "report_clocks",
}
_DERIVED: Final[dict[type, dict[str, Callable[[Any], Any]]]] = {
    DeliveryFact: {"reached": lambda fact: fact.reached},
}
"""Columns that queries of what waits now look for, and that follow from the others."""
_NOTHING: Final[dict[str, Callable[[Any], Any]]] = {}


async def read_facts(connection: Connection, sort: type[Fact], message_ids: Iterable[UUID]) -> list[tuple[Fact, bool]]:
    """Return the facts of one sort of these messages, each with whether it is counted."""
    rows = await connection.fetch(
        f"SELECT {_columns(sort)}, counted FROM {_TABLES[sort]} WHERE message_id = ANY($1::uuid[])",  # noqa: S608 - our own names
        list(message_ids),
    )
    return [(_read_fact(sort, row), row["counted"]) for row in rows]


async def read_conversations(connection: Connection, conversations: Iterable[str]) -> list[tuple[ReferralFact, bool]]:
    """Return the referrals of these conversations, each with whether it is counted."""
    rows = await connection.fetch(
        f"SELECT {_columns(ReferralFact)}, counted FROM report_referrals WHERE conversation = ANY($1::text[])",  # noqa: S608 - our own names
        list(conversations),
    )
    return [(_read_fact(ReferralFact, row), row["counted"]) for row in rows]


async def write_facts(
    connection: Connection, facts: Sequence[ReferralFact] | Sequence[DeliveryFact] | Sequence[ClockFact]
) -> None:
    """Write facts of one sort, whole, as counted."""
    if not facts:
        return
    sort = type(facts[0])
    derived = _DERIVED.get(sort, _NOTHING)
    names = [*(f.name for f in fields(sort)), *derived]
    marks = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    await connection.executemany(
        f"INSERT INTO {_TABLES[sort]} ({columns}, counted) VALUES ({marks}, true)"  # noqa: S608 - our own names
        f" ON CONFLICT ({', '.join(_KEYS[sort])}) DO UPDATE SET {changes}, counted = true",
        [(*_write_fact(fact), *(make(fact) for make in derived.values())) for fact in facts],
    )


async def read_earlier(connection: Connection, tokens: Iterable[bytes]) -> list[tuple[bytes, Earlier]]:
    """Return the messages about the children of these token digests."""
    rows = await connection.fetch(
        "SELECT token, message_id, accepted_at, is_new, position FROM report_subjects WHERE token = ANY($1::bytea[])",
        list(tokens),
    )
    return [
        (row["token"], Earlier(row["message_id"], row["accepted_at"], row["is_new"], row["position"])) for row in rows
    ]


async def write_subjects(connection: Connection, rows: Iterable[tuple[bytes, UUID, UUID, datetime, bool, int]]) -> None:
    """Note which children's token digests a message has, by which event, when, whether it is a new referral, and its position."""
    await connection.executemany(
        "INSERT INTO report_subjects (token, message_id, event_id, accepted_at, is_new, position) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT DO NOTHING",
        list(rows),
    )


async def forget_subjects(connection: Connection, before: datetime) -> None:
    """Forget the token digests of messages accepted before an instant: no report looks back further."""
    await connection.execute("DELETE FROM report_subjects WHERE accepted_at < $1", before)


async def read_messages(connection: Connection, event_ids: Sequence[UUID]) -> dict[UUID, asyncpg.Record]:
    """Return stored messages by the event that accepted them: an erased event names nothing itself."""
    rows = await connection.fetch(
        "SELECT event_id, message_id, sender, referral_id, conversation, kind, supersedes, issued_at, received_at, body, body_sha256,"
        " notice FROM messages WHERE event_id = ANY($1::uuid[])",
        list(event_ids),
    )
    return {row["event_id"]: row for row in rows}


async def read_first_decisions(connection: Connection, message_ids: Sequence[UUID]) -> dict[UUID, list[asyncpg.Record]]:
    """Return the deliveries of messages as they were first decided."""
    rows = await connection.fetch(
        'SELECT message_id, delivery_id, recipient, role, purpose, outcome, "row", decision FROM deliveries'
        " WHERE message_id = ANY($1::uuid[]) ORDER BY message_id, number",
        list(message_ids),
    )
    found: dict[UUID, list[asyncpg.Record]] = {message_id: [] for message_id in message_ids}
    for row in rows:
        found[row["message_id"]].append(row)
    return found


async def forget_counts(connection: Connection) -> None:
    """Forget all counts, so that events can be counted again from the first. Header facts of erased messages are kept."""
    await connection.execute("DELETE FROM report_cells")
    await connection.execute("DELETE FROM report_durations")
    for table in _TABLES.values():
        await connection.execute(f"UPDATE {table} SET counted = false")  # noqa: S608 - our own names


def _columns(sort: type) -> str:
    return ", ".join(f'"{f.name}"' for f in fields(sort))


def _write_fact(fact: Any) -> tuple[Any, ...]:
    values = []
    for f in fields(fact):
        value = getattr(fact, f.name)
        if f.name == "compartments":
            value = [f"{name}={result}" for name, result in value]
        values.append(list(value) if isinstance(value, tuple) else value)
    return tuple(values)


def _read_fact(sort: type[Fact], row: asyncpg.Record) -> Fact:
    values: dict[str, Any] = {}
    for f in fields(sort):
        value = row[f.name]
        if f.name == "compartments":
            value = tuple(tuple(text.split("=", 1)) for text in value)
        values[f.name] = tuple(value) if isinstance(value, list) else value
    return sort(**values)
