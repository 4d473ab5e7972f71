"""``fsck``: the whole log checked against the database, by code that shares nothing with what wrote it.

It finds edited, deleted, reordered and inserted rows, gaps, wrong tiles, edges and checkpoints, payloads that are not what was committed to, and,
with witnesses' checkpoints, a database that was put back. ``fsck_records`` compares the events with the records that they are about. It reads only.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from broker.log.events import CATALOGUE
from broker.log.fsck_records import CHECKED_KINDS, Signers, check_loose_records, check_records, read_signers
from broker.log.rebuilding import RebuiltTree, hash_entry, is_signed_note, write_commitment
from broker.store.pool import Connection
from schemas.errors import ConfigInvalid

BATCH: Final = 2048
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

    def note(self, code: str, where: str) -> None:
        """Add a finding; after a thousand they are only counted."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, where))
        self.counts["findings"] = self.counts.get("findings", 0) + 1

    def to_json(self) -> str:
        """Return the state as text."""
        plain = {"tree": self.tree.to_json(), "epoch": self.epoch, "counts": self.counts, "erased": self.erased}
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
            return cls(tree, int(plain["epoch"]), dict(plain["counts"]), findings, int(plain["erased"]))
        except (ValueError, KeyError, TypeError):
            raise ConfigInvalid("is not the state of a check", field="state") from None


class Fsck:
    """One check of one log. ``key`` is the log's raw Ed25519 public key; ``epoch`` the latest that the configuration knows."""

    def __init__(
        self,
        connection: Connection,
        origin: str,
        key: bytes,
        *,
        epoch: int = 1,
        witnessed: Sequence[WitnessedCheckpoint] = (),
        state: FsckState | None = None,
    ) -> None:
        """Start, or go on from ``state``."""
        self._connection = connection
        self._origin = origin
        self._key = key
        self._epoch = epoch
        self._witnessed = sorted(witnessed, key=lambda kept: kept.size)
        self._signers: Signers = {}
        self.state = state or FsckState()

    async def run(
        self, on_progress: OnProgress | None = None, *, on_batch: Callable[[], None] | None = None
    ) -> FsckState:
        """Check everything; ``on_batch`` is called after each batch, when the state may be kept."""
        self._signers = await read_signers(self._connection)
        total = await self._connection.fetchval("SELECT coalesce(max(position) + 1, 0) FROM log_entries")
        await self._check_earlier_witnessed()
        while self.state.tree.size < total:
            await self._check_batch()
            if on_progress:
                on_progress(min(self.state.tree.size, total), total)
            if on_batch:
                on_batch()
        await self._check_ends(total)
        await check_loose_records(self._connection, self.state.counts, self.state.note)
        return self.state

    async def _check_batch(self) -> None:
        first = self.state.tree.size
        rows = await self._connection.fetch(
            "SELECT e.position, e.event_id, e.kind, e.at, e.entry, e.leaf_hash, p.event_id AS paid, p.event, p.salt"
            " FROM log_entries e LEFT JOIN log_payloads p USING (event_id) WHERE position >= $1 ORDER BY position LIMIT $2",
            first,
            BATCH,
        )
        checkpoints = await self._connection.fetch(
            "SELECT size, epoch, root, edge, note, at FROM log_checkpoints WHERE size > $1 AND size <= $2 ORDER BY size",
            first,
            rows[-1]["position"] + 1 if rows else first,
        )
        at_size = {row["size"]: row for row in checkpoints}
        tiles: dict[tuple[int, int], bytes] = {}
        waiting: list[Any] = []
        events: list[tuple[Any, Mapping[str, Any]]] = []
        tree, counts = self.state.tree, self.state.counts

        def keep_tile(level: int, number: int, data: bytes) -> None:
            tiles[level, number] = data

        for row in rows:
            position, _, kind, _, entry, leaf_hash, paid, event, salt = row
            if position != tree.size:
                self._skip_gap(position)
            counts[kind] = counts.get(kind, 0) + 1
            leaf = hash_entry(entry)
            if leaf != leaf_hash:
                self.state.note("leaf-hash-wrong", f"log_entries {position}")
            whole = self._check_payload(position, kind, entry, event, salt) if paid else self._miss_payload(position)
            if whole and kind in CHECKED_KINDS:
                events.append((row, json.loads(event)))
            tree.add(leaf, keep_tile)
            waiting.append(row)
            checkpoint = at_size.get(tree.size)
            if checkpoint is not None:
                self._check_checkpoint(checkpoint, waiting)
                waiting = []
            if self._witnessed:
                self._check_witnessed()
        await self._check_tail(waiting)
        await self._check_tiles(tiles)
        await check_records(self._connection, events, self._signers, self.state.note)

    def _skip_gap(self, position: int) -> None:
        """A missing row is found once; its place is taken by an empty leaf, so that the rows after it are still compared with themselves."""
        if position == self.state.tree.size:
            return
        self.state.note("gap", f"log_entries {self.state.tree.size} to {position - 1}")
        for _ in range(min(position - self.state.tree.size, BATCH)):
            self.state.tree.add(bytes(32), lambda *_: None)
        self.state.tree.size = position

    def _miss_payload(self, position: int) -> bool:
        self.state.note("payload-missing", f"log_entries {position}")
        return False

    def _check_payload(self, position: int, kind: str, entry: bytes, event: bytes, salt: bytes | None) -> bool:
        """Compare an entry with what it commits to, and with the kind that its row names; return whether all of it fits."""
        known = CATALOGUE.get(kind)
        # Canonical JSON escapes quotation marks in strings: these bytes are nothing but the member.
        if known is None or known.clear != (salt is None) or b'"event":"%s"' % kind.encode() not in event:
            self.state.note("kind-wrong", f"log_entries {position}")
            return False
        if (event if salt is None else write_commitment(event, salt)) != entry:
            self.state.note("payload-is-not-what-was-logged", f"log_entries {position}")
            return False
        return True

    def _check_checkpoint(self, row: Any, batch: Sequence[Any]) -> None:
        tree, where = self.state.tree, f"log_checkpoints {row['size']}"
        root = tree.root()
        if row["root"] != root:
            self.state.note("root-wrong", where)
        if row["edge"] != tree.edge():
            self.state.note("edge-wrong", where)
        if not is_signed_note(row["note"], self._origin, row["size"], root, self._key):
            self.state.note("checkpoint-wrong", where)
        if not self.state.epoch <= row["epoch"] <= self._epoch:
            self.state.note("epoch-wrong", where)
        self.state.epoch = max(self.state.epoch, min(row["epoch"], self._epoch))
        # One append writes one instant to its entries and its checkpoint: another means that a row or a checkpoint was changed or taken away.
        at = row["at"]
        if any(entry["at"] != at for entry in batch):
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

    async def _check_tail(self, waiting: Sequence[Any]) -> None:
        """Entries after the batch's last checkpoint: the next batch must reach theirs, else they were put in."""
        if not waiting:
            return
        following = await self._connection.fetchrow(
            "SELECT size, at FROM log_checkpoints WHERE size > $1 ORDER BY size LIMIT 1", waiting[-1]["position"]
        )
        if following is None:
            self.state.note(
                "no-checkpoint-covers", f"log_entries {waiting[0]['position']} to {waiting[-1]['position']}"
            )
        elif any(row["at"] != following["at"] for row in waiting):
            self.state.note("instant-wrong", f"log_checkpoints {following['size']}")

    async def _check_tiles(self, tiles: Mapping[tuple[int, int], bytes]) -> None:
        for (level, number), expected in tiles.items():
            stored = await self._connection.fetchval(
                "SELECT hashes FROM log_tiles WHERE level = $1 AND number = $2", level, number
            )
            if stored is None:
                self.state.note("tile-missing", f"log_tiles {level}/{number}")
            elif stored != expected:
                self.state.note("tile-wrong", f"log_tiles {level}/{number}")

    async def _check_ends(self, total: int) -> None:
        """What lies beyond the entries: checkpoints and tiles of a longer log, cosignatures of none, witnesses who saw more."""
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
        for table in ("log_proposals", "log_cosignatures"):
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
