"""A log of any size with everything around it, made by living one week for real and repeating it by PostgreSQL itself.

``bench.county_week`` makes a week; the real projectors take it in; each copy moves its instants by whole weeks of local time and gives its ids the
number of its week. So every copy is what the projectors would have made of its events, which a test shows by making them again. Indexes and constraints
are made after the rows, as a restore does, and the tree of the log at the end, right in every hash and signature.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from bench.county_week import MARK, WEEK, WeekMaker
from bench.synthetic_log import LogPlan, index_log
from bench.template_store import FACTS, ROWS, SCHEMA, TemplateSize, store_template

EVENTS_A_REFERRAL: Final = 9.7
FILLED: Final = (
    *ROWS,
    *FACTS,
    "report_cells",
    "report_durations",
    "log_entries",
    "log_payloads",
    "audit_events",
    "audit_deliveries",
)
_PATIENCE: Final = 3600.0
OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CountyPlan:
    """How many referrals a week, for how many weeks; the last ends at ``ends_at``, a whole second."""

    referrals_a_week: int
    weeks: int
    ends_at: datetime

    @classmethod
    def of(cls, events: int, ends_at: datetime, *, weeks: int = 104) -> "CountyPlan":
        """Return a plan of about so many events."""
        return cls(max(20, round(events / weeks / EVENTS_A_REFERRAL)), weeks, ends_at.replace(microsecond=0))

    @property
    def span(self) -> timedelta:
        return self.weeks * WEEK


async def fill_county(dsn: str, plan: CountyPlan, log: LogPlan, on_step: OnStep = print) -> int:
    """Fill a migrated, empty database as its superuser, and return how many events its log has."""
    owner = await asyncpg.connect(dsn, command_timeout=_PATIENCE)
    pool = await asyncpg.create_pool(dsn, min_size=2, max_size=3, command_timeout=_PATIENCE, setup=_prepare)
    started = time.monotonic()

    def tell(step: str) -> None:
        on_step(f"{time.monotonic() - started:6.0f} s  {step}")

    try:
        await _prepare(owner)
        tell("living one week")
        week = WeekMaker(plan.ends_at - plan.span, plan.referrals_a_week).make()
        size = await store_template(owner, pool, week)
        tell(f"{size.all} events are projected; dropping indexes")
        indexes = await _drop_indexes(owner)
        copier = _Copier(plan, size, tell)
        await asyncio.gather(copier.copy_log(owner), copier.copy_rows(pool))
        events = copier.count_events()
        await owner.execute("TRUNCATE log_checkpoints, log_tiles CASCADE")
        entries = [found for found in indexes if found.table == "log_entries"]
        await _make_indexes(pool, entries, tell)  # the tree is read by position
        others = [found for found in indexes if found.table != "log_entries"]
        await asyncio.gather(_make_indexes(pool, others, tell), _make_tree(owner, log, events, tell))
        await _finish(owner, plan, events)
        tell("analysing")
        await owner.execute("VACUUM ANALYZE")
        tell(f"{events} events are there")
        return events
    finally:
        await pool.close()
        await owner.close()


async def _prepare(connection: Any) -> None:
    # Whole weeks of local time: a copy keeps its hours and weekdays through both changes of the clock.
    await connection.execute(
        "SET timezone = 'Europe/London'; SET session_replication_role = replica; SET statement_timeout = 0; SET synchronous_commit = off;"
        " SET maintenance_work_mem = '768MB'; SET work_mem = '256MB'; SET jit = off"
    )


class _Copier:
    """Repeats the template over the weeks."""

    def __init__(self, plan: CountyPlan, size: TemplateSize, on_step: OnStep) -> None:
        self._plan = plan
        self._size = size
        self._tell = on_step

    def count_events(self) -> int:
        """Events of all weeks; what the last week's referrals still have before them has not happened."""
        return self._size.within + (self._plan.weeks - 1) * self._size.all

    async def copy_log(self, owner: asyncpg.Connection) -> None:
        """Write entries, payloads and the search's rows, week by week in the order of the log."""
        async with owner.transaction():
            await owner.execute("TRUNCATE log_entries, log_payloads, audit_events, audit_deliveries")
            for week in range(self._plan.weeks):
                first = self._first_position(week)
                place = "row_number() OVER (ORDER BY place) - 1" if week == 0 else "place"
                await owner.execute(_EVENTS.format(place=place, schema=SCHEMA, mark=MARK), week, first)
                if week % 20 == 0:
                    self._tell(f"events of week {week}")
        await owner.execute(_STREAMS.format(schema=SCHEMA), self._plan.weeks)

    def _first_position(self, week: int) -> int:
        return 0 if week == 0 else self._size.within + (week - 1) * self._size.all

    async def copy_rows(self, pool: asyncpg.Pool) -> None:
        """Write what the hub stored and what the reports' projector made."""
        async with pool.acquire() as connection:
            for table in (*ROWS, *FACTS):
                await self._copy_table(connection, table)
                self._tell(f"{table} is filled")
            for table, others in _COUNTS.items():
                async with connection.transaction():
                    await connection.execute(f"TRUNCATE {table}")
                    await connection.execute(
                        _COUNTED.format(schema=SCHEMA, table=table, others=others), self._plan.weeks
                    )
                self._tell(f"{table} is filled")

    async def _copy_table(self, connection: Any, table: str) -> None:
        columns = await connection.fetch(
            "SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type FROM pg_attribute a WHERE a.attrelid = $1::regclass"
            " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            table,
        )
        names = ", ".join(f'"{column["name"]}"' for column in columns)
        async with connection.transaction():
            await connection.execute(f"TRUNCATE {table} CASCADE")
            for variant, first, last in (
                ("full", 0, self._plan.weeks - 1),
                ("cut", self._plan.weeks - 1, self._plan.weeks),
            ):
                source = f"{SCHEMA}.{table}_{variant}"
                shown = [await _write_copy(connection, source, column["name"], column["type"]) for column in columns]
                notice = f" JOIN {SCHEMA}.notices n USING (message_id)" if table == "messages" else ""
                statement = f"INSERT INTO {table} ({names}) SELECT {', '.join(shown)} FROM {source} b{notice}"  # noqa: S608 (our own names)
                for week in range(first, last):
                    await connection.execute(statement.replace("{mark}", f"{week:04x}").replace("{week}", str(week)))


async def _write_copy(connection: Any, source: str, name: str, kind: str) -> str:
    """Return what a copy has in a column: ids of its own week, instants moved by whole weeks, all else as it is."""
    column = f'b."{name}"'
    if kind == "timestamp with time zone":
        return f"{column} + interval '{{week}} weeks'"
    if kind == "uuid":
        return f"replace({column}::text, '{MARK}', '{{mark}}')::uuid"
    if name == "notice" and source.startswith(f"{SCHEMA}.messages"):
        return f"convert_to({_state_instants('n.body', 'n', '{week}')}, 'UTF8')"
    if kind in {"text", "json", "jsonb", "text[]"}:
        marked = await connection.fetchval(
            f"SELECT EXISTS (SELECT FROM {source} b WHERE strpos({column}::text, '{MARK}') > 0)"  # noqa: S608 (our own names)
        )
        return f"replace({column}::text, '{MARK}', '{{mark}}')::{kind}" if marked else column
    return column


def _state_instants(text: str, row: str, weeks: str) -> str:
    """Return SQL for text with both marks replaced by instants, as ``datetime.isoformat`` writes them."""
    form = """'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'"""
    for number, column in ((1, "first_at"), (2, "second_at")):
        at = f"to_char(({row}.{column} + {weeks} * interval '1 week') AT TIME ZONE 'UTC', {form})"
        text = f"CASE WHEN {row}.{column} IS NULL THEN {text} ELSE replace({text}, '@{number}@', {at}) END"
    return text


_EVENTS: Final = (
    """
WITH placed AS MATERIALIZED (
  SELECT $2::bigint + {place} AS position, $1::int - later AS week, lpad(to_hex($1::int - later), 4, '0') AS mark, e.*
  FROM {schema}.events e WHERE later <= $1::int
), made AS MATERIALIZED (
  SELECT position, base, mark, kind, replace(event_id::text, '{mark}', mark)::uuid AS event_id, at + week * interval '1 week' AS at,
    replace(message_id::text, '{mark}', mark)::uuid AS message_id,
    convert_to(replace(BODY, '{mark}', mark), 'UTF8') AS event,
    sha256(replace(event_id::text, '{mark}', mark)::bytea) AS salt
  FROM placed p
), entered AS MATERIALIZED (
  SELECT *, ('{{"commitment":"' || rtrim(translate(encode(sha256(salt || event), 'base64'), '+/', '-_'), '=') || '"}}')::bytea AS entry FROM made
), payloads AS (
  INSERT INTO log_payloads (event_id, event, salt, message_id) SELECT event_id, event, salt, message_id FROM made ORDER BY position
), entries AS (
  INSERT INTO log_entries (position, event_id, kind, at, entry, leaf_hash)
  SELECT position, event_id, kind, at, entry, sha256('\\x00'::bytea || entry) FROM entered ORDER BY position
), delivered AS (
  INSERT INTO audit_deliveries (delivery_id, message_id, position)
  SELECT replace(d.delivery_id, '{mark}', m.mark), m.message_id, m.position FROM made m JOIN {schema}.audit_deliveries d ON d.position = m.base
  ORDER BY m.position
)
INSERT INTO audit_events (position, at, stream, message_id, delivery_id, referral_id, person, subject)
SELECT m.position, m.at, a.stream, replace(a.message_id::text, '{mark}', m.mark)::uuid, replace(a.delivery_id, '{mark}', m.mark),
  replace(a.referral_id, '{mark}', m.mark), a.person, replace(a.subject, '{mark}', m.mark)
FROM made m JOIN {schema}.audit_events a ON a.position = m.base ORDER BY m.position
"""
).replace("BODY", _state_instants("body", "p", "week"))
_STREAMS: Final = """
UPDATE audit_streams s SET events = c.events FROM (SELECT a.stream, sum($1::int - e.later) AS events FROM {schema}.events e
  JOIN {schema}.audit_events a ON a.position = e.base GROUP BY 1) c WHERE c.stream = s.stream
"""
_COUNTS: Final = {
    "report_cells": "measure, kind, area, agency, code, within, bucket",
    "report_durations": "code, area, kind, bucket",
}
_COUNTED: Final = """
WITH days AS MATERIALIZED (
  SELECT starts_on + 7 * k AS starts_on, {others}, sum(n) AS n FROM (
    SELECT c.*, k FROM {schema}.{table}_full c CROSS JOIN generate_series(0, $1::int - 2) k WHERE span = 'day'
    UNION ALL SELECT c.*, $1::int - 1 FROM {schema}.{table}_cut c WHERE span = 'day') copies
  GROUP BY starts_on + 7 * k, {others}
)
INSERT INTO {table} (span, starts_on, {others}, n)
SELECT * FROM (SELECT 'day' AS span, starts_on, {others}, n FROM days
UNION ALL SELECT 'month', date_trunc('month', starts_on)::date, {others}, sum(n) FROM days GROUP BY date_trunc('month', starts_on)::date, {others}
) counted ORDER BY starts_on
"""


@dataclass(frozen=True, slots=True)
class _Definition:
    """A constraint or an index: whether others rest on it, and the statement that makes it again."""

    order: int
    table: str
    name: str
    statement: str


async def _drop_indexes(owner: asyncpg.Connection) -> list[_Definition]:
    """Drop constraints and indexes of the tables that are filled; return how to make them again."""
    tables = list(FILLED)
    constraints = await owner.fetch(
        "SELECT conname, conrelid::regclass::text AS on_table, contype::text, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE contype IN ('p', 'u', 'f') AND (conrelid = ANY($1::text[]::regclass[]) OR confrelid = ANY($1::text[]::regclass[]))"
        " ORDER BY contype = 'f' DESC",
        tables,
    )
    found = [
        _Definition(
            2 if row["contype"] == "f" else 0,
            row["on_table"],
            row["conname"],
            f'ALTER TABLE {row["on_table"]} ADD CONSTRAINT "{row["conname"]}" {row["definition"]}',
        )
        for row in constraints
    ]
    for row in constraints:
        await owner.execute(f'ALTER TABLE {row["on_table"]} DROP CONSTRAINT "{row["conname"]}"')
    indexes = await owner.fetch(
        "SELECT indexrelid::regclass::text AS name, indrelid::regclass::text AS on_table, pg_get_indexdef(indexrelid) AS definition FROM pg_index"
        " WHERE indrelid = ANY($1::text[]::regclass[])",
        tables,
    )
    for row in indexes:
        await owner.execute(f"DROP INDEX {row['name']}")
    return found + [_Definition(1, row["on_table"], row["name"], row["definition"]) for row in indexes]


async def _make_indexes(pool: asyncpg.Pool, definitions: Sequence[_Definition], on_step: OnStep) -> None:
    """Make constraints and indexes again; those that others rest on first."""
    async with pool.acquire() as connection:
        for definition in sorted(definitions, key=lambda found: found.order):
            on_step(f"making {definition.name}")
            await connection.execute(definition.statement)


async def _make_tree(owner: asyncpg.Connection, log: LogPlan, events: int, on_step: OnStep) -> None:
    on_step("hashing the tree of the log")
    await index_log(owner, log, events)
    on_step("the tree is there")


async def _finish(owner: asyncpg.Connection, plan: CountyPlan, events: int) -> None:
    """Say how far the projectors are, and drop the template."""
    await owner.execute(
        "UPDATE projection_cursors SET position = $1::bigint, at = (SELECT at FROM log_entries WHERE position = $1::bigint - 1)",
        events,
    )
    await owner.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    few = max(6000, plan.referrals_a_week * plan.weeks // 100)
    for query in (_OBJECTS, _CONSENTS, _QUARANTINE):
        await owner.execute(query, plan.ends_at, few)
    await owner.execute("SET session_replication_role = origin")


_OBJECTS: Final = """
INSERT INTO signed_objects (object_digest, notice, type, sender, received_at, event_id, body)
  SELECT 'consent-' || n, '{}', 'consent', 'csc.marchshire', $1::timestamptz - n * interval '1 hour', md5('o' || n)::uuid, ''
  FROM generate_series(1, $2::int) n
"""
_CONSENTS: Final = """
INSERT INTO consents (object_digest, consent_id, recorded_by, state, record, tokens, received_at)
  SELECT 'consent-' || n, 'consent-' || n, CASE n % 2 WHEN 0 THEN 'csc.marchshire' ELSE 'police.marchshire' END,
    CASE n % 5 WHEN 0 THEN 'withdrawn' ELSE 'given' END,
    '{"giver": "child", "capacity": "gillick", "assessor": "p-20", "scope": {"purposes": ["early_help_service"]}}', '{}',
    $1::timestamptz - n * interval '1 hour'
  FROM generate_series(1, $2::int) n
"""
_QUARANTINE: Final = """
INSERT INTO quarantine (quarantine_id, user_id, claimed_id, type, queue, body_sha256, body, code, detail, first_at, last_at, event_id, state)
  SELECT md5('q' || n)::uuid, 'police.marchshire', 'm-' || n, 'referral', 'q', sha256(n::text::bytea), '', 'malformed', 'broke a rule',
    $1::timestamptz - n * interval '1 hour', $1::timestamptz - n * interval '1 hour', md5('q' || n)::uuid, CASE n % 100 WHEN 0 THEN 'open' ELSE 'rejected' END
  FROM generate_series(1, $2::int) n
"""
