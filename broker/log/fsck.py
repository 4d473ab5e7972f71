"""``fsck``: the whole log checked against the database, by code that shares nothing with what wrote it.

It finds edited, deleted, reordered and inserted rows, gaps, wrong tiles, edges and checkpoints, payloads that are not what was committed to, and,
with witnesses' checkpoints, a database that was put back. ``fsck_records`` compares the events with the records that they are about. It reads only.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from cryptography import x509

from broker.log.fsck_entries import BATCH, FetchedRows, Stretch, check_leaves, check_payloads, fetch_rows
from broker.log.fsck_erasures import check_erasures, count_emptied
from broker.log.fsck_records import Registry, check_loose_records, check_records, read_registry
from broker.log.rebuilding import NoteReader, RebuiltTree, read_vkey
from broker.store.pool import Connection
from schemas.directory import HubKeys
from schemas.errors import ConfigInvalid
from schemas.keys import VerifyingKeys
from schemas.log_epochs import is_epoch_entry, list_kept_checkpoints, measure_kept

MAX_FINDINGS: Final = 1000

OnProgress = Callable[[int, int], None]
"""Told (entries checked, entries in all)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be: a code, and where. Never content."""

    code: str
    where: str


@dataclass(frozen=True, slots=True)
class WitnessedCheckpoint:
    """A checkpoint that somebody outside the hub kept: who, its size and its root."""

    witness: str
    size: int
    root: bytes


@dataclass(slots=True)
class FsckState:
    """How far a check is. It can be kept as JSON and taken up later: what was checked is never looked at again."""

    tree: RebuiltTree = field(default_factory=RebuiltTree)
    epoch: int = 1
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    erased: int = 0
    published: list[list[int]] = field(default_factory=list)
    """(position, version) of each directory that the log has published so far."""

    def note(self, code: str, where: str) -> None:
        """Add a finding; after a thousand they are only counted."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, where))
        self.counts["findings"] = self.counts.get("findings", 0) + 1

    def to_json(self) -> str:
        """Return the state as text."""
        plain = {"tree": self.tree.to_json(), "epoch": self.epoch, "counts": self.counts, "erased": self.erased}
        plain["published"] = self.published
        return json.dumps(plain | {"findings": [asdict(finding) for finding in self.findings]})

    @classmethod
    def from_json(cls, text: str) -> "FsckState":
        """Read a state.

        Raises:
            ConfigInvalid: it is not one.
        """
        try:
            plain = json.loads(text)
            findings = [Finding(**finding) for finding in plain["findings"]]
            tree = RebuiltTree.from_json(plain["tree"])
            published = [[int(number) for number in pair] for pair in plain["published"]]
            return cls(tree, int(plain["epoch"]), dict(plain["counts"]), findings, int(plain["erased"]), published)
        except (ValueError, KeyError, TypeError):
            raise ConfigInvalid("is not the state of a check", field="state") from None


class Fsck:
    """One check of one log. ``key`` is the log's raw Ed25519 public key, ``epoch`` the latest that the configuration knows.

    ``hub``: what the signed directory says of the log, with the keys of its earlier epochs; none where there was only one.
    ``timestamp_roots``: the certificates of the authority that timestamps checkpoints, where there is one.
    ``authorities``: the pairs that the partnership's authority had, oldest first; without them nobody asks who signed the directories.
    """

    def __init__(
        self,
        connection: Connection,
        origin: str,
        key: bytes,
        *,
        epoch: int = 1,
        hub: HubKeys | None = None,
        witnessed: Sequence[WitnessedCheckpoint] = (),
        timestamp_roots: Sequence[x509.Certificate] = (),
        authorities: Sequence[VerifyingKeys] = (),
        state: FsckState | None = None,
    ) -> None:
        """Start, or go on from ``state``."""
        self._connection = connection
        self._hub = hub or HubKeys()
        self._notes = {epoch: NoteReader(origin, key)}
        for earlier in self._hub.earlier:
            self._notes[earlier.epoch] = read_vkey(earlier.log_verifier)
        self._epoch = epoch
        signed = [WitnessedCheckpoint("the authority", c.size, c.root) for c in list_kept_checkpoints(self._hub)]
        self._witnessed = sorted([*witnessed, *signed], key=lambda kept: kept.size)
        self._timestamp_roots = tuple(timestamp_roots)
        self._authorities = tuple(authorities)
        self._registry = Registry({})
        self.state = state or FsckState()

    async def run(
        self, on_progress: OnProgress | None = None, *, on_batch: Callable[[], None] | None = None
    ) -> FsckState:
        """Check everything; ``on_batch`` is called after each batch, when the state may be kept."""
        self._registry = await read_registry(self._connection, self._authorities, self.state.note)
        total = await self._connection.fetchval("SELECT coalesce(max(position) + 1, 0) FROM log_entries")
        await self._check_earlier_witnessed()
        rows = await fetch_rows(self._connection, self.state.tree.size)
        while rows.stretches:
            rows = await self._check_batch(rows)
            if on_progress:
                on_progress(min(self.state.tree.size, total), total)
            if on_batch:
                on_batch()
        await self._check_ends(total)
        await check_loose_records(self._connection, self._registry, self._timestamp_roots, self.state.note)
        await check_erasures(self._connection, self.state.note)
        return self.state

    async def _check_batch(self, rows: FetchedRows) -> FetchedRows:
        """Check these rows; return the next, which PostgreSQL reads meanwhile."""
        reading = asyncio.ensure_future(fetch_rows(self._connection, rows.next_position))
        try:
            await asyncio.sleep(0)  # lets the query go out
            tiles: dict[tuple[int, int], tuple[bytes, bytes]] = {}
            events: list[tuple[Any, Mapping[str, Any]]] = []
            absent: list[int] = []
            uncovered: tuple[int, Sequence[bytes]] = (0, ())
            for stretch in rows.stretches:
                self._skip_gap(stretch.positions[0])
                events += check_payloads(stretch, self.state.counts, self.state.note)
                absent += [p for p, event in zip(stretch.positions, stretch.events, strict=True) if event is None]
                uncovered = self._grow(stretch, rows.checkpoints, tiles)
        except BaseException:
            reading.cancel()
            await asyncio.wait([reading])
            raise
        following = await reading
        if absent:
            self.state.erased += await count_emptied(self._connection, absent, self.state.note)
        await self._check_tail(*uncovered)
        await self._check_tiles(tiles)
        await check_records(self._connection, events, self._registry, self.state.published, self.state.note)
        return following

    def _grow(
        self, stretch: Stretch, checkpoints: Mapping[int, Any], tiles: dict[tuple[int, int], tuple[bytes, bytes]]
    ) -> tuple[int, Sequence[bytes]]:
        """Add a stretch to the tree and look at each checkpoint on the way; return what lies after the last: first position and instants."""
        tree, first = self.state.tree, stretch.positions[0]
        leaves = check_leaves(stretch, self.state.note)
        last = first + len(leaves)
        stops = {size for size in checkpoints if first < size <= last}
        stops.update(kept.size for kept in self._witnessed if first < kept.size <= last)

        def keep_tile(level: int, number: int, data: bytes, root: bytes) -> None:
            tiles[level, number] = data, root

        start = since = 0
        for size in sorted(stops):
            tree.extend(leaves[start : size - first], keep_tile)
            start = size - first
            if size in checkpoints:
                self._check_checkpoint(checkpoints[size], stretch.instants[since:start])
                since = start
            self._check_witnessed()
        tree.extend(leaves[start:], keep_tile)
        return first + since, stretch.instants[since:]

    def _skip_gap(self, position: int) -> None:
        """A missing row is found once; its place is taken by an empty leaf, so that the rows after it are still compared with themselves."""
        if position == self.state.tree.size:
            return
        self.state.note("gap", f"log_entries {self.state.tree.size} to {position - 1}")
        self.state.tree.extend([bytes(32)] * min(position - self.state.tree.size, BATCH), lambda *_: None)
        self.state.tree.size = position

    def _check_checkpoint(self, row: Any, instants: Sequence[bytes]) -> None:
        tree, where = self.state.tree, f"log_checkpoints {row['size']}"
        root = tree.root()
        if row["root"] != root:
            self.state.note("root-wrong", where)
        if row["edge"] != tree.edge():
            self.state.note("edge-wrong", where)
        notes = self._notes.get(row["epoch"])
        if notes is None or not notes.is_signed(row["note"], row["size"], root):
            self.state.note("checkpoint-wrong", where)
        beyond = row["epoch"] != self._epoch and row["size"] > measure_kept(self._hub, row["epoch"])
        if (beyond and self._hub.earlier) or not self.state.epoch <= row["epoch"] <= self._epoch:
            self.state.note("epoch-wrong", where)
        self.state.epoch = max(self.state.epoch, min(row["epoch"], self._epoch))
        # One append writes one instant to its entries and its checkpoint: another means that a row or a checkpoint was changed or taken away.
        if instants.count(row["at"]) != len(instants):
            self.state.note("instant-wrong", where)

    async def _check_earlier_witnessed(self) -> None:
        """What an earlier run has passed is compared with the roots that it found to be right."""
        while self._witnessed and self._witnessed[0].size <= self.state.tree.size:
            kept = self._witnessed.pop(0)
            root = await self._connection.fetchval("SELECT root FROM log_checkpoints WHERE size = $1", kept.size)
            if root != kept.root:
                self._differ(kept)

    def _differ(self, kept: WitnessedCheckpoint) -> None:
        self.state.note("differs-from-what-was-witnessed", f"size {kept.size}, kept by {kept.witness}")

    def _check_witnessed(self) -> None:
        while self._witnessed and self._witnessed[0].size <= self.state.tree.size:
            kept = self._witnessed.pop(0)
            if kept.size == self.state.tree.size and kept.root != self.state.tree.root():
                self._differ(kept)

    async def _check_tail(self, first: int, instants: Sequence[bytes]) -> None:
        """Entries after the batch's last checkpoint: the next batch must reach theirs, else they were put in."""
        if not instants:
            return
        following = await self._connection.fetchrow(
            "SELECT size, timestamptz_send(at) AS at FROM log_checkpoints WHERE size > $1 ORDER BY size LIMIT 1",
            first + len(instants) - 1,
        )
        if following is None:
            self.state.note("no-checkpoint-covers", f"log_entries {first} to {first + len(instants) - 1}")
        elif instants.count(following["at"]) != len(instants):
            self.state.note("instant-wrong", f"log_checkpoints {following['size']}")

    async def _check_tiles(self, tiles: Mapping[tuple[int, int], tuple[bytes, bytes]]) -> None:
        if not tiles:
            return
        rows = await self._connection.fetch(
            "SELECT level, number, hashes, root FROM log_tiles JOIN unnest($1::smallint[], $2::bigint[]) AS w (level, number)"
            " USING (level, number)",
            [level for level, _ in tiles],
            [number for _, number in tiles],
        )
        stored = {(row["level"], row["number"]): (row["hashes"], row["root"]) for row in rows}
        for (level, number), expected in tiles.items():
            if (level, number) not in stored:
                self.state.note("tile-missing", f"log_tiles {level}/{number}")
            elif stored[level, number] != expected:
                self.state.note("tile-wrong", f"log_tiles {level}/{number}")

    async def _check_epoch_entry(self, total: int) -> None:
        """The present epoch's first entry says what the authority signed: what was kept, and what witnesses had."""
        if not self._hub.earlier:
            return
        position = self._hub.earlier[-1].kept_size
        entry = await self._connection.fetchval("SELECT entry FROM log_entries WHERE position = $1", position)
        if total <= position:
            self.state.note("epoch-not-open", f"log_entries {position}")
        elif entry is None or not is_epoch_entry(entry, self._hub):
            self.state.note("epoch-entry-wrong", f"log_entries {position}")

    async def _check_ends(self, total: int) -> None:
        """What lies beyond the entries: checkpoints and tiles of a longer log, cosignatures of none, witnesses who saw more."""
        await self._check_epoch_entry(total)
        covered = await self._connection.fetchval("SELECT coalesce(max(size), 0) FROM log_checkpoints")
        if covered > total:
            self.state.note("entries-missing", f"log_entries {total} to {covered - 1}")
        elif covered < total:
            self.state.note("no-checkpoint-covers", f"log_entries {covered} to {total - 1}")
        beyond = await self._connection.fetch(
            "SELECT level, number FROM log_tiles WHERE (number + 1) * (256::numeric ^ (level + 1)) > $1 LIMIT 100",
            total,
        )
        for row in beyond:
            self.state.note("tile-too-many", f"log_tiles {row['level']}/{row['number']}")
        for table in ("log_proposals", "log_cosignatures", "log_timestamps"):
            for row in await self._connection.fetch(
                f"SELECT DISTINCT size FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM log_checkpoints c WHERE c.size = t.size)"  # noqa: S608
            ):
                self.state.note("checkpoint-missing", f"{table} {row['size']}")
        orphans = await self._connection.fetch(
            "SELECT event_id FROM log_payloads p WHERE NOT EXISTS (SELECT 1 FROM log_entries e WHERE e.event_id = p.event_id) LIMIT 100"
        )
        for row in orphans:
            self.state.note("payload-of-no-entry", f"log_payloads {row['event_id']}")
        for kept in self._witnessed:
            self.state.note("database-was-put-back", f"it has {total} entries; {kept.witness} has seen {kept.size}")
