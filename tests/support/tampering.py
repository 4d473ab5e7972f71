"""Changes of a database that ``fsck`` must find: one column, row, place or time of anything that it claims to protect, chosen by chance from a seed."""

# ruff: noqa: S608 (names from the database's own catalogue)

import json
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from broker.log import fsck_messages, fsck_objects, fsck_records, unchecked
from broker.log.append import LogEdge, LogWriter, insert_payloads, read_edge
from broker.log.events import NewEvent
from broker.log.fsck_reading import ReadMessage
from broker.log.rebuilding import NoteReader
from deploy import hub_fsck
from schemas.keys import VerifyingKeys
from schemas.merkle import hash_leaf

_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_MOVES = (1, -1, 1_000_000, 86_400_000_000)
MOST_DRAWS = 200
"""For one column. Some rows have nothing left to check it against, and some changes a constraint forbids."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, as the database describes it."""

    table: str
    name: str
    kind: str
    nullable: bool
    words: tuple[str, ...] = ()
    """What a constraint lets it be, where it has one: nothing else could be put there."""

    @property
    def path(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass
class Targets:
    """Everything in the database that is protected: columns by table, and keys."""

    columns: Mapping[str, Sequence[Column]]
    keys: Mapping[str, Sequence[str]]
    counts: Mapping[str, int]
    erased: Sequence[UUID] = ()
    aged: Sequence[UUID] = ()
    tried: dict[str, int] = field(default_factory=dict)

    @property
    def tables(self) -> list[str]:
        """Tables with a row."""
        return sorted(table for table in self.columns if self.counts[table])

    def protected(self, table: str) -> list[Column]:
        """Return what is to be changed of a table: also decisions, of which some members alone are not checked."""
        return [c for c in self.columns[table] if c.path not in unchecked.COLUMNS or c.name == "decision"]


def is_protected(table: str) -> bool:
    """Tell whether ``fsck`` claims to protect a table."""
    return table not in unchecked.TABLES and not table.startswith(tuple(unchecked.DERIVED))


async def read_targets(owner: asyncpg.Connection) -> Targets:
    """Read what there is from the database's catalogue."""
    rows = await owner.fetch(
        "SELECT c.table_name, c.column_name, c.data_type, c.is_nullable = 'YES' AS nullable FROM information_schema.columns c"
        " JOIN information_schema.tables t USING (table_schema, table_name) WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
        " ORDER BY c.table_name, c.ordinal_position"
    )
    columns: dict[str, list[Column]] = {}
    words = await _read_words(owner)
    for row in rows:
        if is_protected(row["table_name"]):
            column = Column(*row, words=words.get((row["table_name"], row["column_name"]), ()))
            columns.setdefault(column.table, []).append(column)
    keys: dict[str, list[str]] = {}
    for row in await owner.fetch(
        "SELECT c.conrelid::regclass::text AS table, a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid"
        " AND a.attnum = ANY(c.conkey) WHERE c.contype = 'p' AND c.connamespace = 'public'::regnamespace ORDER BY 1, a.attnum"
    ):
        keys.setdefault(row["table"], []).append(row["attname"])
    counts = {table: await owner.fetchval(f"SELECT count(*) FROM {table}") for table in columns}
    erasures = await owner.fetch("SELECT subject_id, scope FROM erasures")
    erased = [row["subject_id"] for row in erasures if row["scope"] == "everything"]
    aged = [row["subject_id"] for row in erasures if row["scope"] == "ciphertext"]
    return Targets(columns, keys, counts, erased, aged)


async def _read_words(owner: asyncpg.Connection) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return table and column to the words that a constraint on this column alone names."""
    rows = await owner.fetch(
        "SELECT c.conrelid::regclass::text AS table, a.attname, pg_get_constraintdef(c.oid) AS said FROM pg_constraint c"
        " JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum] WHERE c.contype = 'c'"
    )
    return {(row["table"], row["attname"]): tuple(re.findall(r"'(\w+)'::text", row["said"])) for row in rows}


class Tamperer:
    """Tampers once at a time; ``writer`` signs as the hub does, for what only a hub that lies can do."""

    def __init__(self, owner: asyncpg.Connection, targets: Targets, writer: LogWriter, chance: random.Random) -> None:
        self._owner = owner
        self._targets = targets
        self._writer = writer
        self._chance = chance
        self.expected: str | None = None
        """What ``fsck`` must call it; none where anything will do."""

    async def tamper(self) -> str | None:
        """Change one thing, and say what; none where nothing changed (a constraint forbade it, or there was nothing to change)."""
        ways = self._list_ways()
        return await self._try(self._chance.choices([way for _, way in ways], [weight for weight, _ in ways])[0])

    async def change(self, column: Column) -> str | None:
        """Change this column of one row, however many draws that takes; none where no draw of many changed anything."""
        for _ in range(MOST_DRAWS):
            if done := await self._try(lambda: self.edit(column)):
                return done
        return None

    async def _try(self, way: Callable[[], Awaitable[str | None]]) -> str | None:
        await self._owner.execute(
            "SET LOCAL session_replication_role = replica"
        )  # whoever has the disk asks no foreign key
        try:
            async with self._owner.transaction():
                done = await way()
        except asyncpg.PostgresError:
            return None
        return done

    def _list_ways(self) -> list[tuple[int, Callable[[], Awaitable[str | None]]]]:
        """Return what may be done, each with its weight."""
        return [
            (70, self.edit),
            (10, self.delete),
            (8, self.insert),
            (4, self.swap_values),
            (3, self.reorder),
            (2, self.put_in),
            (2, self.roll_back),
            (1, self.fork),
        ]

    async def edit(self, column: Column | None = None) -> str | None:
        """Change one column of one row, this or any: a little, to nothing, or to what stands in another row."""
        column = column or self._choose_column()
        row = await self._choose_row(column)
        if row is None:
            return None
        old = row[column.name]
        new = await self._change(column, old)
        if new == old:
            return None
        await self._owner.execute(
            f'UPDATE {column.table} SET "{column.name}" = $1 WHERE ctid = $2::text::tid', new, row["ctid"]
        )
        self._note(column.path)
        return f"edit {column.path} of {self._name(column.table, row)}: {self._show(old)} -> {self._show(new)}"

    async def delete(self) -> str | None:
        """Take one row away."""
        table = self._chance.choice([t for t in self._targets.tables if t not in unchecked.ROWS])
        row = await self._choose_any(table)
        if table == "message_subjects" and row["message_id"] in self._targets.aged:
            return None  # whether a message had tokens only its header said
        await self._owner.execute(f"DELETE FROM {table} WHERE ctid = $1::text::tid", row["ctid"])
        self._note(f"delete {table}")
        return f"delete {self._name(table, row)}"

    async def insert(self) -> str | None:
        """Put in a second copy of a row under another key."""
        table = self._chance.choice(self._targets.tables)
        row = await self._choose_any(table)
        changed = {}
        for name in self._targets.keys[table]:
            column = next(c for c in self._targets.columns[table] if c.name == name)
            if self._chance.random() < 0.7 or len(self._targets.keys[table]) == 1:
                changed[name] = await self._change(column, row[name])
        names = [c.name for c in self._targets.columns[table]]
        values = [changed.get(name, row[name]) for name in names]
        if all(changed.get(name, row[name]) == row[name] for name in names):
            return None
        marks = ", ".join(f"${n}" for n in range(1, len(names) + 1))
        listed = ", ".join(f'"{name}"' for name in names)
        await self._owner.execute(f"INSERT INTO {table} ({listed}) VALUES ({marks})", *values)
        self._note(f"insert {table}")
        return f"insert copy of {self._name(table, row)} with {changed}"

    async def swap_values(self) -> str | None:
        """Let two rows of a table exchange one column."""
        column = self._choose_column()
        one, other = await self._choose_row(column), await self._choose_row(column)
        if one is None or other is None or one[column.name] == other[column.name]:
            return None
        if any(c.name in self._targets.keys[column.table] for c in (column,)):
            return None
        for row, value in ((one, other[column.name]), (other, one[column.name])):
            await self._owner.execute(
                f'UPDATE {column.table} SET "{column.name}" = $1 WHERE {self._where(column.table)}',
                value,
                *[row[name] for name in self._targets.keys[column.table]],
            )
        self._note(f"swap {column.path}")
        return f"swap {column.path} of {self._name(column.table, one)} and {self._name(column.table, other)}"

    async def reorder(self) -> str | None:
        """Let two entries of the log change places."""
        size = self._targets.counts["log_entries"]
        one, other = self._chance.sample(range(size), 2)
        move = "UPDATE log_entries SET position = $2 WHERE position = $1"
        for start, end in ((one, size + 1000), (other, one), (size + 1000, other)):
            await self._owner.execute(move, start, end)
        self._note("reorder")
        return f"reorder {one} and {other}"

    async def put_in(self) -> str | None:
        """Put an entry with its payload into the log, at the end or in between."""
        size = self._targets.counts["log_entries"]
        place = self._chance.choice((size, self._chance.randrange(size)))
        event = NewEvent.clear("heartbeat", {"at": "2026-01-01T00:00:00+00:00", "size": size})
        await self._owner.execute("UPDATE log_entries SET position = position + 1000000 WHERE position >= $1", place)
        await self._owner.execute("UPDATE log_entries SET position = position - 999999 WHERE position >= 1000000")
        await self._owner.execute(
            "INSERT INTO log_entries SELECT $1, $2, 'heartbeat', (SELECT max(at) FROM log_checkpoints), $3, $4",
            place,
            event.event_id,
            event.event,
            hash_leaf(event.event),
        )
        await self._owner.execute("INSERT INTO log_payloads VALUES ($1, $2, NULL)", event.event_id, event.event)
        self._note("put in")
        return f"put in an entry at {place}"

    async def roll_back(self) -> str | None:
        """Put the log back to an earlier checkpoint, with everything of it: only what witnesses kept can show it."""
        return await self._cut("roll back")

    async def fork(self) -> str | None:
        """Put the log back and write another history over it, signed with the hub's own key: a hub that lies to a witness."""
        cut = await self._cut("fork")
        edge, at = await read_log_edge(self._owner)
        if not edge.size:
            return None
        events = make_heartbeats(max(self._targets.counts["log_entries"] - edge.size, 1), at)
        await insert_payloads(self._owner, events)
        await self._writer.append_locked(self._owner, edge, events, at=at)
        return cut

    async def _cut(self, what: str) -> str:
        # Below what witnesses have seen: a heartbeat that the hub added since can go without anybody knowing of it.
        rows = await self._owner.fetch(
            "SELECT size FROM log_checkpoints WHERE size < $1 ORDER BY size", self._targets.counts["log_entries"]
        )
        cut = self._chance.choice(rows)["size"]
        await cut_log(self._owner, cut)
        self._note(what)
        return f"{what} to {cut}"

    def _choose_column(self) -> Column:
        table = self._chance.choice(self._targets.tables)
        return self._chance.choice(self._targets.protected(table))

    async def _choose_any(self, table: str) -> asyncpg.Record:
        offset = self._chance.randrange(self._targets.counts[table])
        row = await self._owner.fetchrow(
            f"SELECT ctid::text AS ctid, * FROM {table} ORDER BY {', '.join(self._targets.keys[table])} OFFSET $1 LIMIT 1",
            offset,
        )
        assert row is not None
        return row

    async def _choose_row(self, column: Column) -> asyncpg.Record | None:
        """Choose a row; none where erasing took from it what the column could be checked against."""
        row = await self._choose_any(column.table)
        owner = row.get("message_id")
        if column.table.startswith("log_"):
            return None if await self._is_emptied(row, column) else row
        if owner in self._targets.erased and column.name not in {"event_id", "message_id"}:
            return None
        only_header = column.path in {"messages.native_ref_digest", "message_subjects.tokens", "messages.body_sha256"}
        gone = owner in self._targets.aged and (only_header or column.path in {"deliveries.rest_salt", "messages.kind"})
        return None if gone else row

    async def _is_emptied(self, row: asyncpg.Record, column: Column) -> bool:
        """Of an emptied payload only its place in the log is left."""
        if column.table not in {"log_entries", "log_payloads"} or column.name in {
            "position",
            "at",
            "entry",
            "leaf_hash",
        }:
            return False
        event = await self._owner.fetchval("SELECT event FROM log_payloads WHERE event_id = $1", row["event_id"])
        return event is None and column.path not in {
            "log_payloads.event",
            "log_payloads.event_id",
            "log_entries.event_id",
        }

    async def _change(self, column: Column, old: Any) -> Any:
        if column.nullable and old is not None and self._chance.random() < 0.15:
            return None
        if self._chance.random() < 0.3:
            other = (await self._choose_any(column.table))[column.name]
            if other != old and (other is not None or column.nullable):
                return other
        if column.words:
            return self._chance.choice(column.words)
        return change_value(column.kind, old, self._chance)

    def _where(self, table: str) -> str:
        return " AND ".join(f'"{name}" = ${n}' for n, name in enumerate(self._targets.keys[table], start=2))

    def _name(self, table: str, row: asyncpg.Record) -> str:
        return f"{table} ({', '.join(str(row[name]) for name in self._targets.keys[table])})"

    def _show(self, value: Any) -> str:
        return repr(value) if not isinstance(value, bytes | str) or len(value) < 60 else f"{len(value)} bytes"

    def _note(self, what: str) -> None:
        self._targets.tried[what] = self._targets.tried.get(what, 0) + 1


async def cut_log(owner: asyncpg.Connection, size: int) -> None:
    """Put the log back to a checkpoint, with everything of it; foreign keys must be off."""
    await owner.execute(
        "DELETE FROM log_payloads p USING log_entries e WHERE e.event_id = p.event_id AND e.position >= $1", size
    )
    for statement in (
        "DELETE FROM log_entries WHERE position >= $1",
        "DELETE FROM log_checkpoints WHERE size > $1",
        "DELETE FROM log_cosignatures WHERE size > $1",
        "DELETE FROM log_timestamps WHERE size > $1",
        "DELETE FROM log_proposals WHERE size > $1",
        "DELETE FROM log_tiles WHERE (number + 1) * (256::numeric ^ (level + 1)) > $1",
    ):
        await owner.execute(statement, size)


async def read_log_edge(owner: asyncpg.Connection) -> tuple[LogEdge, datetime]:
    """Return the tree's right edge as it is stored, and the instant of its checkpoint."""
    row = await owner.fetchrow("SELECT size, edge, at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    if row is None:
        return LogEdge(), _SOME_TIME
    return read_edge(row["size"], row["edge"], row["at"]), row["at"]


def make_heartbeats(count: int, at: datetime) -> list[NewEvent]:
    """Return events that belong to nothing."""
    return [NewEvent.clear("heartbeat", {"at": at.isoformat(), "size": n}) for n in range(count)]


@contextmanager
def remembered_signatures() -> Iterator[None]:
    """Verify each signature once: the same bytes under the same keys are right or wrong for ever, and a trial changes one thing of hundreds."""
    note, signed, parse = NoteReader.is_signed, fsck_objects.is_signed, fsck_records.parse_directory
    manifest, verify = fsck_messages.is_manifest_signed, hub_fsck.verify_directory
    known: dict[Any, Any] = {}

    def remember(key: Any, work: Callable[[], Any]) -> Any:
        if key not in known:
            known[key] = work()
        return known[key]

    def read_note(reader: NoteReader, text: str, size: int, root: bytes) -> Any:
        return remember((reader._key_id, text, size, root), lambda: note(reader, text, size, root))

    def read_signed(kind: str, body: bytes, keys: Sequence[VerifyingKeys]) -> Any:
        kids = tuple((k.ed25519_kid, k.ml_dsa_65_kid) for k in keys)
        return remember((kind, body, kids), lambda: signed(kind, body, keys))

    def read_manifest(read: ReadMessage, keys: Sequence[VerifyingKeys]) -> Any:
        kids = tuple((k.ed25519_kid, k.ml_dsa_65_kid) for k in keys)
        return remember((json.dumps(read.signed), kids), lambda: manifest(read, keys))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsck_messages, "is_manifest_signed", read_manifest)
        patch.setattr(
            hub_fsck, "verify_directory", lambda body, keys: remember(("authority", body), lambda: verify(body, keys))
        )
        patch.setattr(NoteReader, "is_signed", read_note)
        patch.setattr(fsck_objects, "is_signed", read_signed)
        patch.setattr(fsck_records, "is_signed", read_signed)
        patch.setattr(fsck_records, "parse_directory", lambda body: remember(body, lambda: parse(body)))
        yield


def change_value(kind: str, old: Any, chance: random.Random) -> Any:
    """Return another value of a column's type."""
    changes: dict[str, Callable[[], Any]] = {
        "bytea": lambda: _change_bytes(old, chance),
        "text": lambda: _change_text(old, chance),
        "uuid": lambda: uuid4() if old is None else UUID(int=old.int ^ (1 << chance.randrange(60))),
        "boolean": lambda: not old,
        "timestamp with time zone": lambda: (old or _SOME_TIME) + timedelta(microseconds=chance.choice(_MOVES)),
        "ARRAY": lambda: [*(old or []), "x-000000000000000000099"] if not old or chance.random() < 0.5 else old[:-1],
        "json": lambda: _change_json(old, chance),
        "jsonb": lambda: _change_json(old, chance),
    }
    if kind in {"integer", "bigint", "smallint"}:
        return (old or 0) + chance.choice((1, 7, -1, 1_000))  # the last so that a key can be one that no row has
    return changes[kind]()


def _change_text(old: str | None, chance: random.Random) -> str:
    if not old:
        return "x"
    at = chance.randrange(len(old))
    return old[:at] + chr(ord(old[at]) ^ 1) + old[at + 1 :]


def _change_bytes(old: bytes | None, chance: random.Random) -> bytes:
    if not old:
        return b"x"
    at = chance.randrange(len(old))
    if chance.random() < 0.1:
        return old[:at]
    return old[:at] + bytes([old[at] ^ (1 << chance.randrange(8))]) + old[at + 1 :]


def _change_json(old: str, chance: random.Random) -> str:
    """Change one leaf of a decision or a record, but for those that ``unchecked`` names."""
    members = json.loads(old)
    leaves = [(members, name) for name in members if not isinstance(members[name], dict | list)]
    leaves += [(members, name) for name in members if isinstance(members[name], list)]
    for verdict in (
        (members.get("compartments") or {}).values() if isinstance(members.get("compartments"), dict) else ()
    ):
        leaves += [(verdict, name) for name in verdict if f"compartments.{name}" not in unchecked.DECISION_MEMBERS]
    leaves = [(place, name) for place, name in leaves if place is not members or name not in unchecked.DECISION_MEMBERS]
    if not leaves:
        return json.dumps({**members, "x": 1})
    place, name = chance.choice(leaves)
    value = place[name]
    place[name] = not value if isinstance(value, bool) else [*value, "x"] if isinstance(value, list) else f"{value}x"
    return json.dumps(members)
